package org.harexport.core

import java.util.ArrayDeque

/** Output of a [Stream]: a [Window] or a [Restart]. */
sealed interface StreamEvent

/**
 * The complete preprocessing of one phone: sensor samples to windows.
 *
 *     sample -> units -> Resampler -> MedianFilter -> SosFilter (noise) -> SosFilter (gravity, drift) -> WindowBuffer
 *
 * Computes the same as harexport/preprocessing/stream.py, up to rounding. The median filter needs one sample after its
 * output, so a window is complete one sample after its last. Not thread-safe. Throws [InputException] for unknown
 * units, channels or filters.
 *
 * @param units unit of each sensor's samples
 * @param averageOver see [Resampler]
 * @param gapSeconds see [Resampler]
 */
class Stream(
    private val contract: Contract,
    units: Map<Sensor, String> = Sensor.ANDROID_UNITS,
    averageOver: Map<Sensor, Int> = emptyMap(),
    gapSeconds: Double = GAP_SECONDS,
) {
    val sensors: List<Sensor> = sensorsOf(contract)
    private val divisors = units.mapValues { (sensor, unit) -> divisorOf(sensor, unit) }
    private val resampler = Resampler(sensors, contract.rateHz, averageOver, gapSeconds)
    private var filters = Filters(contract)
    private var buffer = WindowBuffer(contract)
    private val times = ArrayDeque<Long>() // grid samples that are still inside the median filter

    /** Time of the first grid sample since the last restart, in nanoseconds; null before it. */
    val startNs: Long? get() = resampler.originNs

    /** Samples dropped so far, per sensor. */
    val dropped: Map<Sensor, Dropped> get() = resampler.dropped

    /**
     * Processes one sample and returns the windows it completed and the restarts it caused.
     *
     * Samples with NaN or infinite values are dropped. Sensors that the contract does not need are ignored.
     *
     * @param timeNs sensor timestamp in nanoseconds
     * @param values three axes in the sensor's unit
     */
    fun push(sensor: Sensor, timeNs: Long, values: DoubleArray): List<StreamEvent> {
        if (sensor !in sensors) return emptyList()
        val divisor = divisors[sensor] ?: 1.0
        val out = ArrayList<StreamEvent>()
        for (event in resampler.push(sensor, timeNs, DoubleArray(3) { values[it] / divisor })) {
            when (event) {
                is Restart -> {
                    finish(out)
                    out += event
                    start()
                }
                is GridSample -> {
                    times.add(event.timeNs)
                    bufferChannels(filters.push(event.values), out)
                }
            }
        }
        return out
    }

    /**
     * Ends the recording. Returns the window that its last sample completes, if any. The next sample starts a new one.
     */
    fun flush(): List<StreamEvent> {
        val out = ArrayList<StreamEvent>()
        finish(out)
        resampler.end()
        start()
        return out
    }

    private fun start() {
        filters = Filters(contract)
        buffer = WindowBuffer(contract)
        times.clear()
    }

    private fun finish(out: MutableList<StreamEvent>) {
        if (times.isNotEmpty()) {
            filters.flush().forEach { bufferChannels(it, out) }
        }
    }

    private fun bufferChannels(channels: DoubleArray?, out: MutableList<StreamEvent>) {
        if (channels != null) {
            buffer.push(times.removeFirst(), channels)?.let { out += it }
        }
    }
}
