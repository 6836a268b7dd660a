package org.harexport.demo

import android.content.Context
import android.hardware.SensorEvent
import android.hardware.SensorEventListener
import android.hardware.SensorManager
import android.os.Handler
import android.os.HandlerThread
import org.harexport.core.Sensor

/** The phone's accelerometer and gyroscope. [onSample] is called on a thread of its own, with m/s2 and rad/s. */
class SensorFeed(
    private val context: Context,
    private val onSample: (sensor: Sensor, timeNs: Long, values: FloatArray) -> Unit,
) : SensorEventListener {
    private val manager = checkNotNull(context.getSystemService(SensorManager::class.java))
    private val handler by lazy { Handler(HandlerThread("sensors").apply { start() }.looper) }
    private val sensors =
        Sensor.values().mapNotNull { sensor -> manager.getDefaultSensor(type(sensor))?.let { sensor to it } }.toMap()

    /** The sensors that this phone has. */
    val available: Set<Sensor> get() = sensors.keys

    /** Asks for [rateHz] samples a second of each of [wanted]. Returns what went wrong, in words, or null. */
    fun start(wanted: Collection<Sensor>, rateHz: Double): String? {
        val periodUs = (1e6 / rateHz).toInt().coerceAtLeast(FASTEST_US)
        for (sensor in wanted) {
            val hardware = sensors[sensor]
            if (hardware == null || !manager.registerListener(this, hardware, periodUs, LATENCY_US, handler)) {
                stop()
                return context.getString(R.string.sensor_refused, sensor.title)
            }
        }
        return null
    }

    fun stop() = manager.unregisterListener(this)

    /** Runs [work] on the thread that samples come on, after those that have come. */
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

        /** 200 Hz: more needs a permission. */
        const val FASTEST_US = 5_000

        /** Samples may come in batches of this length: fewer wake-ups, and the plot still looks alive. */
        const val LATENCY_US = 100_000

        fun type(sensor: Sensor) =
            when (sensor) {
                Sensor.ACCELEROMETER -> android.hardware.Sensor.TYPE_ACCELEROMETER
                Sensor.GYROSCOPE -> android.hardware.Sensor.TYPE_GYROSCOPE
            }
    }
}
