package org.harexport.core

import java.util.ArrayDeque
import kotlin.math.abs
import kotlin.math.max

/** Nanoseconds per second. */
const val SECOND: Long = 1_000_000_000

/** Maximum distance between two samples that are interpolated, in seconds. */
const val GAP_SECONDS: Double = 0.2

/** Maximum wait for one sensor, in seconds: phones deliver batches of up to a few seconds. */
const val SENSOR_TIMEOUT_SECONDS: Double = 10.0

/** Samples with larger magnitudes are dropped; no sensor delivers them in any unit. */
const val MAX_PLAUSIBLE: Double = 1e6

/** Output of a [Resampler]. */
sealed interface GridEvent

/** The [values] of all sensors, three axes each, at a time of the grid. */
class GridSample(val timeNs: Long, val values: DoubleArray) : GridEvent

/** The grid ended before [timeNs] and starts again at or after it, because of [cause]. */
data class Restart(val timeNs: Long, val cause: RestartCause) : GridEvent, StreamEvent, RecognitionEvent {
    /** The cause in English. */
    val reason: String get() = cause.reason
}

/**
 * Number of dropped samples of a sensor by reason.
 *
 * @property repeated same timestamp as the previous sample
 * @property late earlier than the previous sample by at most [GAP_SECONDS]
 * @property unreadable NaN, infinite or implausibly large
 */
data class Dropped(val repeated: Int = 0, val late: Int = 0, val unreadable: Int = 0) {
    val total: Int get() = repeated + late + unreadable
}

/** Returns [toNs] - [fromNs], limited to what fits in 64 bits: timestamps of a corrupt recording may be far apart. */
internal fun elapsedNs(fromNs: Long, toNs: Long): Long {
    val difference = toNs - fromNs
    val overflows = (toNs < 0) != (fromNs < 0) && (difference < 0) != (toNs < 0)
    return if (!overflows) difference else if (toNs < 0) -Long.MAX_VALUE else Long.MAX_VALUE
}

/** Returns the number of samples of a sensor to average before resampling: one grid period, at least 1. */
fun averagingLength(sensorHz: Double, gridHz: Double): Int = max(1, Math.rint(sensorHz / gridHz).toInt())

/**
 * Resamples the samples of several sensors to a common grid by linear interpolation.
 *
 * The grid begins at the first time that all sensors cover; its k-th time is rint(k * 1e9 / rateHz) nanoseconds later.
 * The grid restarts if a sensor is silent for more than [gapSeconds], if a sensor does not deliver for
 * [SENSOR_TIMEOUT_SECONDS] while another one does, or if timestamps jump backwards by more than a gap. The result
 * depends on each sensor's samples only, not on their order of arrival (except after a timeout).
 *
 * @param rateHz rate of the grid in Hz
 * @param averageOver per sensor, number of samples to average first (see [averagingLength]); default 1
 */
class Resampler(
    sensors: List<Sensor>,
    private val rateHz: Double,
    averageOver: Map<Sensor, Int> = emptyMap(),
    gapSeconds: Double = GAP_SECONDS,
) {
    private val tracks = sensors.map { Track(it, Math.rint(gapSeconds * SECOND).toLong(), averageOver[it] ?: 1) }
    private var index = 0L

    /** Time of the first grid sample in nanoseconds; null before it. */
    var originNs: Long? = null
        private set

    /** Samples dropped so far, per sensor. */
    val dropped: Map<Sensor, Dropped> get() = tracks.associate { it.sensor to it.dropped }

    /**
     * Processes one sample and returns the grid samples and restarts it caused, in order of time.
     *
     * @param timeNs sensor timestamp in nanoseconds
     * @param values three axes
     */
    fun push(sensor: Sensor, timeNs: Long, values: DoubleArray): List<GridEvent> {
        val out = ArrayList<GridEvent>()
        val track = tracks.first { it.sensor == sensor }
        if (track.isClockReset(timeNs)) {
            tracks.forEach { it.clear() } // timestamps before and after the reset are not comparable
            originNs = null
            out += Restart(timeNs, RestartCause.ClockReset(sensor))
        }
        track.push(timeNs, values)
        advance(out)
        if (track.pending.isNotEmpty() && elapsedNs(track.pending.first.timeNs, track.pending.last.timeNs) > SENSOR_TIMEOUT_SECONDS * SECOND) {
            restartAfterTimeout(track, out)
        }
        return out
    }

    /** Discards all samples; the next one starts a new recording. */
    fun end() {
        tracks.forEach { it.clear() }
        originNs = null
    }

    private fun advance(out: MutableList<GridEvent>) {
        while (true) {
            val origin = originNs ?: begin() ?: return
            val timeNs = origin + Math.rint((index * SECOND).toDouble() / rateHz).toLong()
            val states = tracks.map { it.moveTo(timeNs) }
            val silent = states.indexOf(State.GAP)
            if (silent >= 0) {
                val (before, after) = tracks[silent].skipGap()
                originNs = null
                out += Restart(after, RestartCause.Gap(listOf(tracks[silent].sensor), elapsedNs(before, after).toDouble() / SECOND))
            } else if (State.WAIT in states) {
                return
            } else {
                val values = DoubleArray(3 * tracks.size)
                tracks.forEachIndexed { k, track -> track.interpolate(timeNs).copyInto(values, 3 * k) }
                out += GridSample(timeNs, values)
                index++
            }
        }
    }

    /** Returns the first time that all sensors cover; null if it is not known yet. */
    private fun begin(): Long? {
        while (tracks.all { it.pending.isNotEmpty() }) {
            val startNs = tracks.maxOf { it.pending.first.timeNs }
            val states = tracks.map { it.moveTo(startNs) }
            val silent = states.indexOf(State.GAP)
            if (silent >= 0) {
                tracks[silent].skipGap()
            } else if (State.WAIT in states) {
                return null
            } else {
                originNs = startNs
                index = 0
                return startNs
            }
        }
        return null
    }

    private fun restartAfterTimeout(track: Track, out: MutableList<GridEvent>) {
        val silent = tracks.filter { it !== track }.map { it.sensor }
        val newest = track.pending.last
        track.pending.clear()
        track.pending.add(newest)
        originNs = null
        out += Restart(newest.timeNs, RestartCause.Timeout(silent))
    }
}

private class Point(val timeNs: Long, val values: DoubleArray, val afterGap: Boolean)

private enum class State { READY, WAIT, GAP }

/**
 * Pending samples of one sensor; the first one is at or before the next grid time.
 *
 * A sensor that is much faster than the grid is averaged over [averageOver] samples first to prevent aliasing of
 * frequencies above half the grid rate. The average is assigned to the middle of its samples' times.
 */
private class Track(val sensor: Sensor, private val gapNs: Long, private val averageOver: Int) {
    val pending = ArrayDeque<Point>()
    var dropped = Dropped()
        private set
    private var lastNs: Long? = null
    private val recent = ArrayDeque<Point>()
    private var afterGap = false

    fun clear() {
        pending.clear()
        recent.clear()
        lastNs = null
        afterGap = false
    }

    /** Returns whether [timeNs] is earlier than the last sample by more than a gap. */
    fun isClockReset(timeNs: Long): Boolean = lastNs?.let { elapsedNs(timeNs, it) > gapNs } ?: false

    fun push(timeNs: Long, values: DoubleArray) {
        if (!values.all { abs(it) < MAX_PLAUSIBLE }) { // NaN compares as false
            dropped = dropped.copy(unreadable = dropped.unreadable + 1)
            return
        }
        val last = lastNs
        if (last != null && timeNs <= last) {
            dropped = if (timeNs == last) dropped.copy(repeated = dropped.repeated + 1) else dropped.copy(late = dropped.late + 1)
            return
        }
        if (last != null && elapsedNs(last, timeNs) > gapNs) {
            recent.clear()
            afterGap = true
        }
        lastNs = timeNs
        recent.add(Point(timeNs, values, false))
        if (recent.size < averageOver) return
        val firstNs = recent.first.timeNs
        // The sum of the timestamps may exceed 64 bits.
        val middleNs = firstNs + (timeNs - firstNs) / 2
        val mean = DoubleArray(3)
        for (point in recent) {
            for (axis in 0..2) mean[axis] += point.values[axis]
        }
        for (axis in 0..2) mean[axis] /= averageOver.toDouble()
        pending.add(Point(middleNs, mean, afterGap))
        afterGap = false
        recent.removeFirst()
    }

    /** Drops samples before [timeNs] and returns whether its value is available, pending, or lost in a gap. */
    fun moveTo(timeNs: Long): State {
        while (pending.first.timeNs < timeNs) {
            val second = second() ?: return State.WAIT
            if (second.afterGap) return State.GAP
            if (second.timeNs > timeNs) return State.READY
            pending.removeFirst()
        }
        return State.READY
    }

    /** Returns the values at an available time, interpolated linearly between its neighbors. */
    fun interpolate(timeNs: Long): DoubleArray {
        val left = pending.first
        if (left.timeNs == timeNs) return left.values
        val right = second()!!
        val weight = (right.timeNs - timeNs).toDouble() / (right.timeNs - left.timeNs).toDouble()
        return DoubleArray(3) { right.values[it] - (right.values[it] - left.values[it]) * weight }
    }

    /** Moves to the sample after the gap. Returns the times before and after the gap. */
    fun skipGap(): Pair<Long, Long> {
        val before = pending.removeFirst()
        return before.timeNs to pending.first.timeNs
    }

    private fun second(): Point? {
        val points = pending.iterator()
        points.next()
        return if (points.hasNext()) points.next() else null
    }
}
