package org.harexport.core

import java.util.ArrayDeque
import kotlin.math.max
import kotlin.math.sqrt

/**
 * Estimates the mounting from level walking, refined by standing, window by window, without cooperation of the user.
 *
 * A window counts as gait if its vertical acceleration is strong and periodic at the stride and its gravity is steady.
 * Gait windows are weighted by their similarity to level walking: on stairs people lean forward, and a belt tilts with
 * them. The estimate is the weighted mean direction of gravity, robust against outliers. People also lean a little on level
 * ground: where a model recognizes enough standing still, the estimate is the gravity of these windows instead.
 *
 * If at least [CHANGE_WINDOWS] gait windows in a row deviate from the estimate by more than [CHANGE_DEGREES], with enough
 * level walking among them, the phone was put elsewhere and the estimate restarts from these windows. Mirrors
 * harexport/preprocessing/mount_estimator.py. Not thread-safe.
 *
 * @param rateHz sampling rate of the windows in Hz
 * @param hopSeconds time between the starts of two windows
 * @param capacity maximum number of windows in the estimate
 */
class WalkingMountEstimator(
    private val rateHz: Double,
    private val hopSeconds: Double,
    private val capacity: Int = CAPACITY,
) {
    private class Direction(val gravity: DoubleArray, val weight: Double)

    private val walkingWindows = ArrayDeque<Direction>()
    private val standingWindows = ArrayDeque<Direction>()
    private val deviating = ArrayList<Direction>()
    private var walking: MountEstimate? = null

    /** The state after the last window. */
    var state: MountState = MountState.UNKNOWN
        private set

    /** The present estimate; null if there is none. */
    var estimate: MountEstimate? = null
        private set

    /** Share of the level walking that the first estimate requires, 0 to 1. */
    val progress: Double get() = (walkingWindows.sumOf { it.weight } / MIN_TOTAL_WEIGHT).coerceIn(0.0, 1.0)

    /**
     * Adds one window, in the order of time, and returns the present estimate, if any.
     *
     * @param acceleration `[samples][3]` in g with gravity, in the axes of the phone
     * @param walkingProbability a model's probability of level walking, multiplied with the weight of the window
     * @param standingProbability a model's probability of standing, under the present estimate
     */
    fun push(
        acceleration: List<DoubleArray>,
        walkingProbability: Double = 1.0,
        standingProbability: Double = 0.0,
    ): MountEstimate? {
        val features = GaitFeatures.of(acceleration, rateHz)
        state = stateOfEstimate()
        val current = walking
        if (features.isGait) {
            pushGait(Direction(features.gravity, features.levelWeight * walkingProbability))
        } else if (current != null && isStanding(features, standingProbability, current)) {
            add(standingWindows, Direction(features.gravity, standingProbability))
            refine()
        }
        return estimate
    }

    private fun pushGait(window: Direction) {
        if (hasChanged(window)) {
            walkingWindows.clear()
            standingWindows.clear()
            deviating.filter { it.weight >= MIN_WEIGHT }.forEach { add(walkingWindows, it) }
            deviating.clear()
            walking = estimateWalking()
            estimate = walking
            state = MountState.CHANGED
        } else if (deviating.isEmpty() && window.weight >= MIN_WEIGHT) {
            add(walkingWindows, window)
            walking = estimateWalking()
            refine()
            state = stateOfEstimate()
        }
    }

    private fun stateOfEstimate() = if (estimate == null) MountState.UNKNOWN else MountState.ESTIMATED

    private fun add(windows: ArrayDeque<Direction>, window: Direction) {
        if (windows.size == capacity) windows.removeFirst()
        windows.add(window)
    }

    private fun isStanding(features: GaitFeatures, probability: Double, walking: MountEstimate): Boolean =
        probability >= MIN_STANDING_PROBABILITY && features.isStill &&
            angleDegrees(features.gravity, walking.gravity) <= MAX_STANDING_DEGREES

    /** Returns whether [window] completes a run of deviating gait windows that suffices for a new estimate. */
    private fun hasChanged(window: Direction): Boolean {
        val current = walking
        if (current == null || angleDegrees(window.gravity, current.gravity) <= CHANGE_DEGREES) {
            deviating.clear()
            return false
        }
        if (deviating.isNotEmpty() && angleDegrees(window.gravity, deviating.last().gravity) > CHANGE_DEGREES) deviating.clear()
        deviating += window
        val total = deviating.filter { it.weight >= MIN_WEIGHT }.sumOf { it.weight }
        return deviating.size >= CHANGE_WINDOWS && total >= MIN_TOTAL_WEIGHT
    }

    private fun estimateWalking(): MountEstimate? {
        val total = walkingWindows.sumOf { it.weight }
        return if (total < MIN_TOTAL_WEIGHT) null else estimateDirection(walkingWindows, total * hopSeconds)
    }

    /** Sets the estimate: from standing if there is enough of it, otherwise from walking. */
    private fun refine() {
        val current = walking
        estimate =
            if (current == null || standingWindows.sumOf { it.weight } < MIN_STANDING_WEIGHT) current
            else estimateDirection(standingWindows, current.seconds)
    }

    /** Returns the weighted mean direction with Huber's weights (windows far from the mean lose weight), and its spread. */
    private fun estimateDirection(windows: Collection<Direction>, seconds: Double): MountEstimate {
        var mean = weightedMean(windows) { it.weight }
        repeat(ROUNDS) {
            val previous = mean
            mean = weightedMean(windows) { it.weight * OUTLIER / max(OUTLIER, chord(it.gravity, previous)) }
        }
        val square = windows.sumOf { it.weight * angleDegrees(it.gravity, mean) * angleDegrees(it.gravity, mean) }
        return MountEstimate(mean, sqrt(square / windows.sumOf { it.weight }), seconds)
    }

    private fun weightedMean(windows: Collection<Direction>, factor: (Direction) -> Double): DoubleArray {
        val sum = DoubleArray(3)
        for (window in windows) {
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

        /** Default number of windows in the estimate. */
        const val CAPACITY: Int = 64
        private const val MIN_WEIGHT = 0.1
        private const val MIN_TOTAL_WEIGHT = 3.0

        /** Maximum angle between gravity while standing and while walking; at most 17 degrees in the training recordings. */
        private const val MAX_STANDING_DEGREES = 25.0
        private const val MIN_STANDING_PROBABILITY = 0.7
        private const val MIN_STANDING_WEIGHT = 3.0

        /** Chord length on the unit sphere (5.7 degrees) from which windows lose weight. */
        private const val OUTLIER = 0.1
        private const val ROUNDS = 3
    }
}
