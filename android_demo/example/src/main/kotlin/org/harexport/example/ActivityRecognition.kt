package org.harexport.example

import android.content.Context
import android.hardware.SensorEvent
import android.hardware.SensorEventListener
import android.hardware.SensorManager
import java.nio.ByteBuffer
import org.harexport.core.Contract
import org.harexport.core.GoldenVectors
import org.harexport.core.InputException
import org.harexport.core.LiveRecognizer
import org.harexport.core.Prediction
import org.harexport.core.SelfTest
import org.harexport.core.Sensor
import org.harexport.core.axes
import org.harexport.demo.TfliteClassifier

// README: from here on
/** Recognizes the user's activity. Problems are reported by InputException or [onProblem]. */
class ActivityRecognition(
    private val context: Context,
    private val onProblem: (message: String) -> Unit,
    private val onActivity: (label: String, probability: Double) -> Unit,
) : SensorEventListener {
    private val sensors = checkNotNull(context.getSystemService(SensorManager::class.java))
    private val contract = Contract.parse(String(asset("contract.json")))
    private val classifier = TfliteClassifier(ByteBuffer.wrap(asset("model.tflite")), contract)
    private val recognizer = LiveRecognizer(contract, classifier)

    init {
        val parity = SelfTest(contract).checkParity(classifier, GoldenVectors.parse(String(asset("golden.json")), contract))
        if (!parity.passed) throw InputException(parity.failures.joinToString())
    }

    fun start() {
        val available = recognizer.sensors.map { sensors.getDefaultSensor(type(it)) ?: throw InputException("this phone has no ${it.title}") }
        for (sensor in available) sensors.registerListener(this, sensor, (1e6 / contract.rateHz).toInt())
    }

    fun stop() {
        sensors.unregisterListener(this)
        recognizer.finish()
    }

    override fun onSensorChanged(event: SensorEvent) {
        val sensor = recognizer.sensors.first { type(it) == event.sensor.type }
        val before = recognizer.problem
        for (result in recognizer.push(sensor, event.timestamp, axes(event.values))) {
            if (result !is Prediction || result.qualityFlag != null) continue // unreliable, for example worn differently
            onActivity(result.smoothedLabel, result.smoothedProbabilities[result.smoothedLabelIndex])
        }
        recognizer.problem?.let { if (it != before) onProblem(it.message) } // a sensor is missing or too slow
    }

    override fun onAccuracyChanged(sensor: android.hardware.Sensor, accuracy: Int) = Unit

    private fun asset(name: String): ByteArray = context.assets.open(name).use { it.readBytes() }

    private fun type(sensor: Sensor): Int =
        if (sensor == Sensor.GYROSCOPE) android.hardware.Sensor.TYPE_GYROSCOPE else android.hardware.Sensor.TYPE_ACCELEROMETER
}
