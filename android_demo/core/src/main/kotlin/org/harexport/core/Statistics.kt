package org.harexport.core

import java.util.ArrayDeque
import kotlin.math.floor

/**
 * Returns the [q]-th percentile (0 to 100) with linear interpolation, as numpy.percentile. [values] must not be empty.
 */
fun percentile(values: DoubleArray, q: Double): Double {
    require(values.isNotEmpty() && q in 0.0..100.0) { "a percentile requires values and q between 0 and 100" }
    val sorted = values.sortedArray()
    val place = q / 100.0 * (sorted.size - 1)
    val below = floor(place).toInt()
    val above = minOf(below + 1, sorted.size - 1)
    return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
}

/** Latency per window in microseconds over [runs] single runs: input, inference and output. */
data class Latency(val runs: Int, val min: Double, val p50: Double, val p90: Double, val p99: Double) {
    companion object {
        /** Computes the statistics of at least one time in microseconds. */
        fun of(timesUs: DoubleArray): Latency =
            Latency(timesUs.size, timesUs.min(), percentile(timesUs, 50.0), percentile(timesUs, 90.0), percentile(timesUs, 99.0))
    }
}

/** The most recent times, in microseconds. */
class RecentTimes(private val capacity: Int = 200) {
    private val times = ArrayDeque<Double>()

    fun push(timeUs: Double) {
        if (times.size == capacity) times.removeFirst()
        times.add(timeUs)
    }

    /** Returns the statistics; null before the first time. */
    fun latency(): Latency? = if (times.isEmpty()) null else Latency.of(times.toDoubleArray())
}

/** Sampling rate of one sensor from its timestamps over the last [seconds], without gaps. */
class RateMeter(private val seconds: Double = 3.0) {
    private val times = ArrayDeque<Long>()

    fun push(timeNs: Long) {
        val last = times.peekLast()
        if (last != null && timeNs <= last) {
            if (timeNs < last - GAP_SECONDS * SECOND) times.clear() else return
        }
        times.add(timeNs)
        while (elapsedNs(times.first, timeNs) > seconds * SECOND) times.removeFirst()
    }

    /** The rate in Hz; 0 without two consecutive samples. */
    val hz: Double
        get() {
            var steps = 0
            var spanned = 0L
            var before: Long? = null
            for (time in times) {
                val step = time - (before ?: time)
                if (step > 0 && step <= GAP_SECONDS * SECOND) {
                    steps++
                    spanned += step
                }
                before = time
            }
            return if (steps == 0) 0.0 else steps.toDouble() * SECOND / spanned
        }

    /** Time from the oldest to the newest sample in the range, in seconds. */
    val span: Double
        get() = if (times.isEmpty()) 0.0 else (times.last - times.first).toDouble() / SECOND
}
