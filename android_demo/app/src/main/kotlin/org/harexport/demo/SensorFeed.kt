package org.harexport.demo

import android.content.Context
import android.hardware.SensorEvent
import android.hardware.SensorEventListener
import android.hardware.SensorManager
import android.os.Handler
import android.os.HandlerThread
import org.harexport.core.Sensor

/** Reads the phone's accelerometer and gyroscope. [onSample] is called on a separate thread with m/s2 and rad/s. */
class SensorFeed(
    private val context: Context,
    private val onSample: (sensor: Sensor, timeNs: Long, values: FloatArray) -> Unit,
) : SensorEventListener {
    private val manager = checkNotNull(context.getSystemService(SensorManager::class.java))
    private val handler by lazy { Handler(HandlerThread("sensors").apply { start() }.looper) }
    private val sensors =
        Sensor.values().mapNotNull { sensor -> manager.getDefaultSensor(type(sensor))?.let { sensor to it } }.toMap()

    /** The sensors of this phone. */
    val available: Set<Sensor> get() = sensors.keys

    /** Starts [required] at [rateHz] samples per second. Returns an error message, or null on success. */
    fun start(required: Collection<Sensor>, rateHz: Double): String? {
        val periodUs = (1e6 / rateHz).toInt().coerceAtLeast(MIN_PERIOD_US)
        for (sensor in required) {
            val hardware = sensors[sensor]
            if (hardware == null || !manager.registerListener(this, hardware, periodUs, MAX_LATENCY_US, handler)) {
                stop()
                return context.getString(R.string.sensor_refused, sensor.title)
            }
        }
        return null
    }

    fun stop() = manager.unregisterListener(this)

    /** Runs [work] on the sensor thread, after the samples received so far. */
    fun post(work: () -> Unit) {
        handler.post(work)
    }

    override fun onSensorChanged(event: SensorEvent) {
        val sensor = Sensor.values().firstOrNull { type(it) == event.sensor.type } ?: return
        if (event.values.size >= AXES) onSample(sensor, event.timestamp, event.values)
    }

    override fun onAccuracyChanged(sensor: android.hardware.Sensor, accuracy: Int) = Unit

    private companion object {
        const val AXES = 3

        /** 200 Hz: higher rates require a permission. */
        const val MIN_PERIOD_US = 5_000

        /** Maximum reporting latency: batches of this length save wake-ups and keep the plot smooth. */
        const val MAX_LATENCY_US = 100_000

        fun type(sensor: Sensor) =
            when (sensor) {
                Sensor.ACCELEROMETER -> android.hardware.Sensor.TYPE_ACCELEROMETER
                Sensor.GYROSCOPE -> android.hardware.Sensor.TYPE_GYROSCOPE
            }
    }
}
