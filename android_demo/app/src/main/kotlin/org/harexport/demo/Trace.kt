package org.harexport.demo

import android.os.SystemClock
import kotlin.math.abs
import org.harexport.core.GAP_SECONDS
import org.harexport.core.MAX_PLAUSIBLE

/** Ring buffer with the last seconds of one sensor for the plot. Written by the sensor thread, read by the main thread. */
class Trace {
    private val times = LongArray(CAPACITY)
    private val values = Array(AXES) { FloatArray(CAPACITY) }
    private var count = 0L
    private var lagNs = 0L

    @Synchronized
    fun add(
        timeNs: Long,
        sample: DoubleArray,
    ) {
        if (!sample.all { abs(it) < MAX_PLAUSIBLE }) return // preprocessing drops it as well
        val last = ((count + CAPACITY - 1) % CAPACITY).toInt()
        if (count > 0 && timeNs <= times[last]) {
            if (times[last] - timeNs <= GAP_NS) return // repeated or late: preprocessing drops it as well
            count = 0 // the clock was reset
        }
        // Sensors deliver in batches: the plot lags by the age of the oldest sample of a batch to scroll smoothly.
        val lag = SystemClock.elapsedRealtimeNanos() - timeNs
        lagNs = if (count == 0L) lag else maxOf(lag, lagNs - DECAY_NS)
        val place = (count % CAPACITY).toInt()
        times[place] = timeNs
        for (axis in 0 until AXES) values[axis][place] = sample[axis].toFloat()
        count++
    }

    @Synchronized
    fun clear() {
        count = 0
    }

    /**
     * Copies the visible samples and returns their number.
     *
     * @param ages receives seconds before the right edge; negative values are not visible yet
     * @param axes receives the values of the three axes
     */
    @Synchronized
    fun copy(
        ages: FloatArray,
        axes: Array<FloatArray>,
    ): Int {
        if (count == 0L) return 0
        val newest = times[((count + CAPACITY - 1) % CAPACITY).toInt()]
        val edge = (SystemClock.elapsedRealtimeNanos() - lagNs).takeIf { newest - it in 0..SPAN_NS } ?: newest
        var found = 0
        for (index in maxOf(0, count - CAPACITY) until count) {
            val place = (index % CAPACITY).toInt()
            if (edge - times[place] > SPAN_NS) continue
            ages[found] = (edge - times[place]) / SECOND
            for (axis in 0 until AXES) axes[axis][found] = values[axis][place]
            found++
        }
        return found
    }

    companion object {
        const val AXES = 3

        /** Capacity in samples: [SPAN_NS] at the fastest rate without a permission. */
        const val CAPACITY = 1024
        const val SPAN_NS = 5_000_000_000L
        private const val GAP_NS = (GAP_SECONDS * 1e9).toLong()
        private const val SECOND = 1e9f
        private const val DECAY_NS = 50_000L
    }
}
