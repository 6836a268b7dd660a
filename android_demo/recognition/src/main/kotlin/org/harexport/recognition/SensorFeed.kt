package org.harexport.recognition

import android.content.Context
import android.hardware.SensorEvent
import android.hardware.SensorEventListener
import android.hardware.SensorManager
import android.os.Handler
import org.harexport.core.Sensor
import org.harexport.core.SensorProblem

/**
 * Reads the phone's accelerometer and gyroscope.
 *
 * @param handler thread on which [onSample] is called
 * @param onSample receives each sample in m/s2 or rad/s with its timestamp in nanoseconds; the array is reused
 */
public class SensorFeed(
    context: Context,
    private val handler: Handler,
    private val onSample: (sensor: Sensor, timeNs: Long, values: FloatArray) -> Unit,
) : SensorEventListener {
    private val manager = checkNotNull(context.getSystemService(SensorManager::class.java))
    private val sensors: Map<Sensor, android.hardware.Sensor> =
        Sensor.values().mapNotNull { sensor -> manager.getDefaultSensor(type(sensor))?.let { sensor to it } }.toMap()

    /** The sensors of this phone. */
    public val available: Set<Sensor> get() = sensors.keys

    /**
     * Starts [required] at [rateHz] samples per second. Returns the problem, or null on success.
     *
     * @param batchSeconds time for which the phone may collect samples before it delivers them; saves wake-ups
     */
    public fun start(required: Collection<Sensor>, rateHz: Double, batchSeconds: Double = 0.0): SensorProblem? {
        val periodUs = (1e6 / rateHz).toInt().coerceAtLeast(MIN_PERIOD_US)
        val latencyUs = (1e6 * batchSeconds).toInt().coerceAtLeast(MIN_LATENCY_US)
        val missing = required.filter { it !in sensors }
        if (missing.isNotEmpty()) return SensorProblem.Missing(missing)
        for (sensor in required) {
            if (!manager.registerListener(this, sensors.getValue(sensor), periodUs, latencyUs, handler)) {
                stop()
                return SensorProblem.Refused(sensor)
            }
        }
        return null
    }

    /** Passes on the samples that the phone has collected. */
    public fun flush() {
        manager.flush(this)
    }

    public fun stop() {
        manager.unregisterListener(this)
    }

    override fun onSensorChanged(event: SensorEvent) {
        val sensor = Sensor.values().firstOrNull { type(it) == event.sensor.type } ?: return
        if (event.values.size >= AXES) onSample(sensor, event.timestamp, event.values)
    }

    override fun onAccuracyChanged(sensor: android.hardware.Sensor, accuracy: Int): Unit = Unit

    private companion object {
        const val AXES = 3

        /** 200 Hz: higher rates require a permission. */
        const val MIN_PERIOD_US = 5_000

        /** Minimum reporting latency: batches of this length save wake-ups and keep plots smooth. */
        const val MIN_LATENCY_US = 100_000

        fun type(sensor: Sensor) =
            when (sensor) {
                Sensor.ACCELEROMETER -> android.hardware.Sensor.TYPE_ACCELEROMETER
                Sensor.GYROSCOPE -> android.hardware.Sensor.TYPE_GYROSCOPE
            }
    }
}
