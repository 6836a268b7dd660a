package org.harexport.core

import java.util.ArrayDeque
import kotlin.math.max
import kotlin.math.sqrt

/**
 * Estimates the mounting from level walking, window by window, without cooperation of the user.
 *
 * A window counts as gait if its vertical acceleration is strong and periodic at the stride and its gravity is steady.
 * Gait windows are weighted by their similarity to level walking: on stairs people lean forward, and a belt tilts with
 * them. The estimate is the weighted mean direction of gravity, robust against outliers. If at least [CHANGE_WINDOWS] gait
 * windows in a row deviate from it by more than [CHANGE_DEGREES], with enough level walking among them, the phone was put
 * elsewhere and the estimate restarts from these windows. Mirrors harexport/preprocessing/mount.py. Not thread-safe.
 *
 * @param rateHz sampling rate of the windows in Hz
 * @param hopSeconds time between the starts of two windows
 * @param keep maximum number of gait windows in the estimate
 */
class WalkingMountEstimator(private val rateHz: Double, private val hopSeconds: Double, private val keep: Int = KEPT_WINDOWS) {
    private class Weighted(val gravity: DoubleArray, val weight: Double)

    private val recent = ArrayDeque<Weighted>()
    private val deviating = ArrayList<Weighted>()

    /** The state after the last window. */
    var state: MountState = MountState.UNKNOWN
        private set

    /** The present estimate; null if there is none. */
    var estimate: MountEstimate? = null
        private set

    /**
     * Adds one window, in the order of time, and returns the present estimate, if any.
     *
     * @param acceleration `[samples][3]` in g with gravity, in the axes of the phone
     * @param walkingProbability a model's probability of level walking, multiplied with the weight of the window
     */
    fun push(acceleration: List<DoubleArray>, walkingProbability: Double = 1.0): MountEstimate? {
        val features = GaitFeatures.of(acceleration, rateHz)
        state = stateOfEstimate()
        if (!features.isGait) return estimate
        val window = Weighted(features.gravity, features.levelWeight * walkingProbability)
        if (hasChanged(window)) {
            recent.clear()
            deviating.filter { it.weight >= MIN_WEIGHT }.forEach(::keepWindow)
            deviating.clear()
            estimate = computeEstimate()
            state = MountState.CHANGED
        } else if (deviating.isEmpty() && window.weight >= MIN_WEIGHT) {
            keepWindow(window)
            estimate = computeEstimate()
            state = stateOfEstimate()
        }
        return estimate
    }

    private fun stateOfEstimate() = if (estimate == null) MountState.UNKNOWN else MountState.ESTIMATED

    private fun keepWindow(window: Weighted) {
        if (recent.size == keep) recent.removeFirst()
        recent.add(window)
    }

    /** Returns whether [window] completes a run of deviating gait windows that suffices for a new estimate. */
    private fun hasChanged(window: Weighted): Boolean {
        val current = estimate
        if (current == null || angleDegrees(window.gravity, current.gravity) <= CHANGE_DEGREES) {
            deviating.clear()
            return false
        }
        if (deviating.isNotEmpty() && angleDegrees(window.gravity, deviating.last().gravity) > CHANGE_DEGREES) deviating.clear()
        deviating += window
        val total = deviating.filter { it.weight >= MIN_WEIGHT }.sumOf { it.weight }
        return deviating.size >= CHANGE_WINDOWS && total >= MIN_TOTAL_WEIGHT
    }

    private fun computeEstimate(): MountEstimate? {
        val total = recent.sumOf { it.weight }
        if (total < MIN_TOTAL_WEIGHT) return null
        // Weighted mean direction with Huber's weights: windows far from the mean lose weight.
        var mean = weightedMean { it.weight }
        repeat(ROUNDS) {
            val previous = mean
            mean = weightedMean { it.weight * OUTLIER / max(OUTLIER, chord(it.gravity, previous)) }
        }
        val square = recent.sumOf { it.weight * angleDegrees(it.gravity, mean) * angleDegrees(it.gravity, mean) }
        return MountEstimate(mean, sqrt(square / total), total * hopSeconds)
    }

    private fun weightedMean(factor: (Weighted) -> Double): DoubleArray {
        val sum = DoubleArray(3)
        for (window in recent) {
            val weight = factor(window)
            for (axis in 0..2) sum[axis] += weight * window.gravity[axis]
        }
        return unitVector(sum)
    }

    private fun chord(a: DoubleArray, b: DoubleArray): Double = norm(DoubleArray(3) { a[it] - b[it] })

    companion object {
        /** Minimum angle of a change; stairs tilt gravity by up to 16 degrees from level walking. */
        const val CHANGE_DEGREES: Double = 25.0

        /** Minimum number of consecutive deviating gait windows for a change. */
        const val CHANGE_WINDOWS: Int = 5

        /** Default number of gait windows in the estimate. */
        const val KEPT_WINDOWS: Int = 64
        private const val MIN_WEIGHT = 0.1
        private const val MIN_TOTAL_WEIGHT = 3.0

        /** Chord length on the unit sphere (5.7 degrees) from which windows lose weight. */
        private const val OUTLIER = 0.1
        private const val ROUNDS = 3
    }
}
