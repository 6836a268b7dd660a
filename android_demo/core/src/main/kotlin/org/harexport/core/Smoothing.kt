package org.harexport.core

/**
 * Exponential smoothing of probabilities over windows.
 *
 * With the default weight, one contrary window stays below 0.5 and a second one exceeds it: single errors are
 * suppressed and a change of activity is reported one hop after its first window. A [newestWeight] of 1 disables
 * smoothing.
 */
class Smoothing(private val newestWeight: Double = NEWEST_WEIGHT) {
    private var smoothed: DoubleArray? = null

    /**
     * Returns the smoothed probabilities. A flagged prediction is returned unchanged and does not affect later ones.
     */
    fun push(probabilities: DoubleArray, isFlagged: Boolean = false): DoubleArray {
        val before = smoothed.takeUnless { isFlagged } ?: probabilities
        val now = DoubleArray(probabilities.size) { newestWeight * probabilities[it] + (1.0 - newestWeight) * before[it] }
        smoothed = if (isFlagged) null else now
        return now
    }

    /** Discards the history. */
    fun reset() {
        smoothed = null
    }

    companion object {
        /** Weight of the newest window, as in harexport predict. */
        const val NEWEST_WEIGHT: Double = 0.4
    }
}
