package org.harexport.core

import java.util.ArrayDeque

/** Output of a [Stream]: a [Window] or a [Restart]. */
sealed interface StreamEvent

/**
 * The complete preprocessing of one phone: sensor samples to windows.
 *
 *     sample -> units -> Resampler -> Mount -> MedianFilter -> SosFilter (noise) -> SosFilter (gravity, drift) -> WindowBuffer
 *
 * Computes the same as harexport/preprocessing/stream.py, up to rounding. The filters start from the steady state of the
 * first second. The median filter needs one sample after its output, so a window is complete one sample after its last. Not
 * thread-safe. Throws [InputException] for unknown units, channels or filters.
 *
 * @param units unit of each sensor's samples
 * @param averageOver see [Resampler]
 * @param gapSeconds see [Resampler]
 * @param mount rotation of the samples into the frame of the model; [rotateTo] changes it later
 */
class Stream(
    private val contract: Contract,
    units: Map<Sensor, String> = Sensor.ANDROID_UNITS,
    averageOver: Map<Sensor, Int> = emptyMap(),
    gapSeconds: Double = GAP_SECONDS,
    mount: Mount = Mount.AS_IS,
) {
    val sensors: List<Sensor> = sensorsOf(contract)
    private val divisors = units.mapValues { (sensor, unit) -> divisorOf(sensor, unit) }
    private val resampler = Resampler(sensors, contract.rateHz, averageOver, gapSeconds)
    private var filters = Filters(contract)
    private var buffer = WindowBuffer(contract)
    private val times = ArrayDeque<Long>() // grid samples that are not in the window buffer yet
    private val first = ArrayList<DoubleArray>() // the first grid samples, until the filters start
    private val firstSamples = maxOf(1, Math.rint(START_SECONDS * contract.rateHz).toInt())
    private var hasStarted = false

    /** The present rotation into the frame of the model. */
    var mount: Mount = mount
        private set

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
                    reset()
                }
                is GridSample -> {
                    times.add(event.timeNs)
                    pushFilters(mount.rotate(event.values), out)
                }
            }
        }
        return out
    }

    /**
     * Uses another mount from the next sample on, as if it had been used from the start (see [Filters.rotate]).
     *
     * Throws [InputException] if the contract's channels are not whole vectors.
     */
    fun rotateTo(mount: Mount) {
        checkVectors(contract)
        val change = mount.after(this.mount.inverse)
        filters.rotate(change)
        buffer.rotate(change)
        for (k in first.indices) first[k] = change.rotate(first[k])
        this.mount = mount
    }

    /** Ends the recording. Returns the window that its last sample completes, if any. The next sample starts a new one. */
    fun flush(): List<StreamEvent> {
        val out = ArrayList<StreamEvent>()
        finish(out)
        resampler.end()
        reset()
        return out
    }

    private fun reset() {
        filters = Filters(contract)
        buffer = WindowBuffer(contract)
        times.clear()
        first.clear()
        hasStarted = false
    }

    private fun pushFilters(values: DoubleArray, out: MutableList<StreamEvent>) {
        if (hasStarted) {
            bufferChannels(filters.push(values), out)
            return
        }
        first += values
        if (first.size >= firstSamples) startFilters(out)
    }

    private fun startFilters(out: MutableList<StreamEvent>) {
        filters.start(first)
        hasStarted = true
        for (values in first) bufferChannels(filters.push(values), out)
        first.clear()
    }

    private fun finish(out: MutableList<StreamEvent>) {
        if (first.isNotEmpty()) startFilters(out)
        if (times.isNotEmpty()) filters.flush().forEach { bufferChannels(it, out) }
    }

    private fun bufferChannels(channels: DoubleArray?, out: MutableList<StreamEvent>) {
        if (channels != null) {
            buffer.push(times.removeFirst(), channels, mount)?.let { out += it }
        }
    }
}
