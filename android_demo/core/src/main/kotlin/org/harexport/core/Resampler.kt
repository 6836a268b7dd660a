package org.harexport.core

import java.util.ArrayDeque
import java.util.Locale
import kotlin.math.abs
import kotlin.math.max

/** Nanoseconds. */
const val SECOND: Long = 1_000_000_000

/** A longer silence is not bridged. */
const val GAP_SECONDS: Double = 0.2

/** How long one sensor is waited for: phones deliver in batches, of a few seconds at most. */
const val PATIENCE_SECONDS: Double = 10.0

/** No phone measures this in any unit; a number that large is no measurement. */
const val IMPLAUSIBLE: Double = 1e6

/** What a [Resampler] tells. */
sealed interface GridEvent

/** The [values] of all sensors (three axes each, one sensor after the other) at a time of the grid. */
class GridSample(val timeNs: Long, val values: DoubleArray) : GridEvent

/** The grid ended before [timeNs] and starts anew at or after it; [reason] says why, in words for people. */
data class Restart(val timeNs: Long, val reason: String) : GridEvent, StreamEvent, Told

/**
 * Samples of a sensor that were left out, by what was wrong with them: [repeated] had the time of the sample before,
 * [late] were earlier by no more than a gap, [unreadable] were NaN, infinity, or implausibly large.
 */
data class Dropped(val repeated: Int = 0, val late: Int = 0, val unreadable: Int = 0) {
    val total: Int get() = repeated + late + unreadable
}

/** Of how many samples of a sensor to take the mean before its values go to the grid: one period of the grid. */
fun meanLength(sensorHz: Double, gridHz: Double): Int = max(1, Math.rint(sensorHz / gridHz).toInt())

/**
 * Samples of [sensors] in, grid samples and restarts out.
 *
 * The grid begins at the first time that all sensors cover, and its k-th time is rint(k * 1e9 / rateHz) nanoseconds later.
 * It ends, and begins anew, where a sensor is silent for more than [GAP_SECONDS], where one sensor is waited for longer
 * than [PATIENCE_SECONDS], and where time runs back by more than a gap. [meanOf] says, a sensor, of how many samples the
 * mean is taken first (see [meanLength]); 1 means none. What comes out depends on each sensor's samples alone, not on how
 * those of two sensors are interleaved (unless one is given up).
 */
class Resampler(
    sensors: List<Sensor>,
    private val rateHz: Double,
    meanOf: Map<Sensor, Int> = emptyMap(),
    gapSeconds: Double = GAP_SECONDS,
) {
    private val tracks = sensors.map { Track(it, Math.rint(gapSeconds * SECOND).toLong(), meanOf[it] ?: 1) }
    private var index = 0L

    /** The first time of the grid; null where it has not begun. */
    var originNs: Long? = null
        private set

    /** What was left out so far, a sensor. */
    val dropped: Map<Sensor, Dropped> get() = tracks.associate { it.sensor to it.dropped }

    /** One sample of one sensor: three axes. Returns what became known by it, in the order of time. */
    fun push(sensor: Sensor, timeNs: Long, values: DoubleArray): List<GridEvent> {
        val out = ArrayList<GridEvent>()
        val track = tracks.first { it.sensor == sensor }
        if (track.runsBack(timeNs)) {
            tracks.forEach { it.clear() } // nothing recorded by the old clock fits to the new one
            originNs = null
            out += Restart(timeNs, "the time of the ${sensor.title} runs back")
        }
        track.push(timeNs, values)
        advance(out)
        if (track.pending.isNotEmpty() && track.pending.last.timeNs - track.pending.first.timeNs > PATIENCE_SECONDS * SECOND) {
            giveUpWaiting(track, out)
        }
        return out
    }

    /** Forget all samples: what comes next is a new recording. A grid never reaches beyond its last samples. */
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
                val seconds = (after - before).toDouble() / SECOND
                out += Restart(after, String.format(Locale.ROOT, "no %s for %.2f s", tracks[silent].sensor.title, seconds))
            } else if (State.WAIT in states) {
                return
            } else {
                val values = DoubleArray(3 * tracks.size)
                tracks.forEachIndexed { k, track -> track.at(timeNs).copyInto(values, 3 * k) }
                out += GridSample(timeNs, values)
                index++
            }
        }
    }

    /** Find the first time that all sensors cover, if it is known already. */
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

    private fun giveUpWaiting(track: Track, out: MutableList<GridEvent>) {
        val silent = tracks.filter { it !== track }.joinToString(" and ") { it.sensor.title }
        val newest = track.pending.last
        track.pending.clear()
        track.pending.add(newest)
        originNs = null
        out += Restart(newest.timeNs, String.format(Locale.ROOT, "no %s for %.0f s", silent, PATIENCE_SECONDS))
    }
}

private class Point(val timeNs: Long, val values: DoubleArray, val afterGap: Boolean)

private enum class State { READY, WAIT, GAP }

/**
 * One sensor's samples that the grid has not passed yet; the first one is at or before the grid's next time.
 *
 * A sensor that is much faster than the grid is averaged over [meanOf] samples first: values above half the grid's rate
 * would otherwise fold back as slow motion that never was. The mean belongs to the middle of its samples' times.
 */
private class Track(val sensor: Sensor, private val gapNs: Long, private val meanOf: Int) {
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

    /** Whether the sensor's clock has jumped back by more than a gap, as when a recording starts again. */
    fun runsBack(timeNs: Long): Boolean = lastNs?.let { timeNs < it - gapNs } ?: false

    fun push(timeNs: Long, values: DoubleArray) {
        if (!values.all { abs(it) < IMPLAUSIBLE }) { // NaN compares as false
            dropped = dropped.copy(unreadable = dropped.unreadable + 1)
            return
        }
        val last = lastNs
        if (last != null && timeNs <= last) {
            dropped = if (timeNs == last) dropped.copy(repeated = dropped.repeated + 1) else dropped.copy(late = dropped.late + 1)
            return
        }
        if (last != null && timeNs - last > gapNs) {
            recent.clear()
            afterGap = true
        }
        lastNs = timeNs
        recent.add(Point(timeNs, values, false))
        if (recent.size < meanOf) return
        val firstNs = recent.first.timeNs
        // Not the mean of the times themselves: their sum may not fit into 64 bits.
        val middleNs = firstNs + (timeNs - firstNs) / 2
        val mean = DoubleArray(3)
        for (point in recent) {
            for (axis in 0..2) mean[axis] += point.values[axis]
        }
        for (axis in 0..2) mean[axis] /= meanOf.toDouble()
        pending.add(Point(middleNs, mean, afterGap))
        afterGap = false
        recent.removeFirst()
    }

    /** Drop what lies before [timeNs], and say whether its value is ready, to wait for, or lost in a gap. */
    fun moveTo(timeNs: Long): State {
        while (pending.first.timeNs < timeNs) {
            val second = second() ?: return State.WAIT
            if (second.afterGap) return State.GAP
            if (second.timeNs > timeNs) return State.READY
            pending.removeFirst()
        }
        return State.READY
    }

    /** The values at a time that is ready: linear between the neighbours, a sample itself at its own time. */
    fun at(timeNs: Long): DoubleArray {
        val left = pending.first
        if (left.timeNs == timeNs) return left.values
        val right = second()!!
        val share = (right.timeNs - timeNs).toDouble() / (right.timeNs - left.timeNs).toDouble()
        return DoubleArray(3) { right.values[it] - (right.values[it] - left.values[it]) * share }
    }

    /** Go to the sample after the gap; answers the times before and after it. */
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
