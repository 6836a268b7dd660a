package org.harexport.core

import java.util.ArrayDeque
import kotlin.math.floor

/** The [q]-th percentile, 0 to 100, linear between the sorted values, as numpy.percentile has it. Values must not be empty. */
fun percentile(values: DoubleArray, q: Double): Double {
    require(values.isNotEmpty() && q in 0.0..100.0) { "a percentile needs values, and q between 0 and 100" }
    val sorted = values.sortedArray()
    val place = q / 100.0 * (sorted.size - 1)
    val below = floor(place).toInt()
    val above = minOf(below + 1, sorted.size - 1)
    return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
}

/** Per-window latency in microseconds over [runs] single runs: input in, inference, logits out. */
data class Latency(val runs: Int, val min: Double, val p50: Double, val p90: Double, val p99: Double) {
    companion object {
        /** Of times in microseconds, at least one. */
        fun of(timesUs: DoubleArray): Latency =
            Latency(timesUs.size, timesUs.min(), percentile(timesUs, 50.0), percentile(timesUs, 90.0), percentile(timesUs, 99.0))
    }
}

/** The latest times of something that goes on for long, in microseconds. */
class RecentTimes(private val most: Int = 200) {
    private val times = ArrayDeque<Double>()

    fun push(timeUs: Double) {
        if (times.size == most) times.removeFirst()
        times.add(timeUs)
    }

    /** Null before the first time. */
    fun latency(): Latency? = if (times.isEmpty()) null else Latency.of(times.toDoubleArray())
}

/** Samples a second of one sensor, by its own timestamps over the last [seconds], gaps left out. */
class RateMeter(private val seconds: Double = 3.0) {
    private val times = ArrayDeque<Long>()

    fun push(timeNs: Long) {
        val last = times.peekLast()
        if (last != null && timeNs <= last) {
            if (timeNs < last - GAP_SECONDS * SECOND) times.clear() else return
        }
        times.add(timeNs)
        while (timeNs - times.first > seconds * SECOND) times.removeFirst()
    }

    /** Hz; 0 where fewer than two samples follow one another without a gap. */
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

    /** The time from the oldest to the newest sample that is looked at, in seconds. */
    val span: Double
        get() = if (times.isEmpty()) 0.0 else (times.last - times.first).toDouble() / SECOND
}
