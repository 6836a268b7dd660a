package org.harexport.example

import android.content.Context
import android.hardware.SensorEvent
import android.hardware.SensorEventListener
import android.hardware.SensorManager
import java.nio.ByteBuffer
import org.harexport.core.Answer
import org.harexport.core.BadInput
import org.harexport.core.Contract
import org.harexport.core.Golden
import org.harexport.core.Live
import org.harexport.core.SelfTest
import org.harexport.core.Sensor
import org.harexport.core.axes
import org.harexport.demo.TfliteClassifier

// README: from here on
/** Tells what the phone's owner does. Where this phone cannot tell, BadInput or onProblem say why, in a sentence. */
class ActivityRecognition(
    private val context: Context,
    private val onProblem: (sentence: String) -> Unit,
    private val onActivity: (label: String, probability: Double) -> Unit,
) : SensorEventListener {
    private val sensors = checkNotNull(context.getSystemService(SensorManager::class.java))
    private val contract = Contract.parse(String(asset("contract.json")))
    private val classifier = TfliteClassifier(ByteBuffer.wrap(asset("model.tflite")), contract)
    private val live = Live(contract, classifier)

    init {
        val proof = SelfTest(contract).parity(classifier, Golden.parse(String(asset("golden.json")), contract))
        if (!proof.passed) throw BadInput(proof.failures.joinToString())
    }

    fun start() {
        val found = live.sensors.map { sensors.getDefaultSensor(type(it)) ?: throw BadInput("this phone has no ${it.title}") }
        for (sensor in found) sensors.registerListener(this, sensor, (1e6 / contract.rateHz).toInt())
    }

    fun stop() {
        sensors.unregisterListener(this)
        live.finish()
    }

    override fun onSensorChanged(event: SensorEvent) {
        val sensor = live.sensors.first { type(it) == event.sensor.type }
        val before = live.problem
        for (told in live.push(sensor, event.timestamp, axes(event.values))) {
            if (told is Answer && told.doubt == null) onActivity(told.smoothedLabel, told.smoothedProbabilities[told.smoothed])
        }
        live.problem?.let { if (it != before) onProblem(it) } // a sensor is too slow, or silent
    }

    override fun onAccuracyChanged(sensor: android.hardware.Sensor, accuracy: Int) = Unit

    private fun asset(name: String): ByteArray = context.assets.open(name).use { it.readBytes() }

    private fun type(sensor: Sensor): Int =
        if (sensor == Sensor.GYROSCOPE) android.hardware.Sensor.TYPE_GYROSCOPE else android.hardware.Sensor.TYPE_ACCELEROMETER
}
