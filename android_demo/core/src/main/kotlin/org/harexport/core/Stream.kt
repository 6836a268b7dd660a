package org.harexport.core

import java.util.ArrayDeque

/** What a [Stream] tells: a [Window] or a [Restart]. */
sealed interface StreamEvent

/**
 * The whole chain for one phone: samples at their sensors' own times in, windows and restarts out.
 *
 *     sample -> units -> Resampler -> Median -> Sections (noise) -> Sections (gravity, drift) -> WindowBuffer -> window
 *
 * The same answers as harexport/preprocessing/stream.py, to rounding. Everything is causal except the median, which looks one
 * sample ahead; so a window is whole one sample after its last. [units] says what each sensor's samples are in, [meanOf]
 * what the [Resampler] takes first. Not for several threads at once. Throws [BadInput] for units, channels or filters that
 * do not exist.
 */
class Stream(
    private val contract: Contract,
    units: Map<Sensor, String> = Sensor.ANDROID_UNITS,
    meanOf: Map<Sensor, Int> = emptyMap(),
    gapSeconds: Double = GAP_SECONDS,
) {
    val sensors: List<Sensor> = sensorsOf(contract)
    private val divisor = units.mapValues { (sensor, unit) -> divisorOf(sensor, unit) }
    private val resampler = Resampler(sensors, contract.rateHz, meanOf, gapSeconds)
    private var filters = Filters(contract)
    private var buffer = WindowBuffer(contract)
    private val times = ArrayDeque<Long>() // of grid samples that the median still holds back

    /** The first time of the grid since it last began; null where it has not begun. */
    val startNs: Long? get() = resampler.originNs

    /** What was left out so far, a sensor. */
    val dropped: Map<Sensor, Dropped> get() = resampler.dropped

    /**
     * One sample of [sensor], three axes in its unit. Returns the windows it completed and the restarts it caused.
     *
     * A sample with NaN or infinity is left out, as if it had been lost on the way. Sensors that the contract does not
     * need are ignored.
     */
    fun push(sensor: Sensor, timeNs: Long, values: DoubleArray): List<StreamEvent> {
        if (sensor !in sensors) return emptyList()
        val by = divisor[sensor] ?: 1.0
        val out = ArrayList<StreamEvent>()
        for (event in resampler.push(sensor, timeNs, DoubleArray(3) { values[it] / by })) {
            when (event) {
                is Restart -> {
                    finish(out)
                    out += event
                    start()
                }
                is GridSample -> {
                    times.add(event.timeNs)
                    filtered(filters.push(event.values), out)
                }
            }
        }
        return out
    }

    /** The stream has ended: the window, if any, that its very last sample completes. What follows starts anew. */
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
            filters.flush().forEach { filtered(it, out) }
        }
    }

    private fun filtered(channels: DoubleArray?, out: MutableList<StreamEvent>) {
        if (channels != null) {
            buffer.push(times.removeFirst(), channels)?.let { out += it }
        }
    }
}
