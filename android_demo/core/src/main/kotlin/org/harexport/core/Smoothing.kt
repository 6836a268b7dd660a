package org.harexport.core

/**
 * Exponential smoothing of probabilities.
 *
 * One contrary answer, however certain, stays below a half; a second one is above it. So a lone slip is not shown, and a
 * change of activity is shown one hop after its first window. A [newest] of 1 smooths nothing.
 */
class Smoothing(private val newest: Double = NEWEST) {
    private var smoothed: DoubleArray? = null

    /** The smoothed probabilities. A [doubtful] answer is shown as it is, and has no say in the next one. */
    fun push(probabilities: DoubleArray, doubtful: Boolean = false): DoubleArray {
        val before = smoothed.takeUnless { doubtful } ?: probabilities
        val now = DoubleArray(probabilities.size) { newest * probabilities[it] + (1.0 - newest) * before[it] }
        smoothed = if (doubtful) null else now
        return now
    }

    /** Forget what was before. */
    fun reset() {
        smoothed = null
    }

    companion object {
        /** The share of the newest answer, as in harexport predict. */
        const val NEWEST: Double = 0.4
    }
}
