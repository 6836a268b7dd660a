package org.harexport.demo

import android.os.SystemClock
import kotlin.math.abs
import org.harexport.core.GAP_SECONDS
import org.harexport.core.IMPLAUSIBLE

/** The last seconds of one sensor, for the plot: written by the sensors' thread, drawn by the main one. */
class Trace {
    private val times = LongArray(ROOM)
    private val values = Array(AXES) { FloatArray(ROOM) }
    private var count = 0L
    private var lagNs = 0L

    @Synchronized
    fun add(
        timeNs: Long,
        sample: DoubleArray,
    ) {
        if (!sample.all { abs(it) < IMPLAUSIBLE }) return // no number: the chain leaves it out too
        val last = ((count + ROOM - 1) % ROOM).toInt()
        if (count > 0 && timeNs <= times[last]) {
            if (times[last] - timeNs <= GAP_NS) return // repeated or late: left out like that
            count = 0 // the clock ran back: what was drawn so far has no place any more
        }
        // Sensors deliver in batches; how late the oldest of a batch is says how far behind the plot must run to be smooth.
        val lag = SystemClock.elapsedRealtimeNanos() - timeNs
        lagNs = if (count == 0L) lag else maxOf(lag, lagNs - DECAY_NS)
        val place = (count % ROOM).toInt()
        times[place] = timeNs
        for (axis in 0 until AXES) values[axis][place] = sample[axis].toFloat()
        count++
    }

    @Synchronized
    fun clear() {
        count = 0
    }

    /**
     * Copies what is to be drawn: ages in seconds before the right edge to [ages] (negative: not in sight yet), and the axes
     * to [axes]. Returns how many samples there are.
     */
    @Synchronized
    fun copy(
        ages: FloatArray,
        axes: Array<FloatArray>,
    ): Int {
        if (count == 0L) return 0
        val newest = times[((count + ROOM - 1) % ROOM).toInt()]
        val edge = (SystemClock.elapsedRealtimeNanos() - lagNs).takeIf { newest - it in 0..SPAN_NS } ?: newest
        var found = 0
        for (index in maxOf(0, count - ROOM) until count) {
            val place = (index % ROOM).toInt()
            if (edge - times[place] > SPAN_NS) continue
            ages[found] = (edge - times[place]) / SECOND
            for (axis in 0 until AXES) axes[axis][found] = values[axis][place]
            found++
        }
        return found
    }

    companion object {
        const val AXES = 3

        /** Samples kept: [SPAN_NS] at the fastest rate that needs no permission. */
        const val ROOM = 1024
        const val SPAN_NS = 5_000_000_000L
        private const val GAP_NS = (GAP_SECONDS * 1e9).toLong()
        private const val SECOND = 1e9f
        private const val DECAY_NS = 50_000L
    }
}
