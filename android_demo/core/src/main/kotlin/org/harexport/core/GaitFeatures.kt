package org.harexport.core

import kotlin.math.abs
import kotlin.math.sqrt

/**
 * Features of one window of acceleration that do not depend on the orientation of the phone.
 *
 * @property gravity unit vector of the mean acceleration
 * @property gravityG length of the mean acceleration in g
 * @property verticalG standard deviation of the acceleration along gravity in g
 * @property turnDegrees angle between the mean accelerations of the two halves
 * @property stride largest autocorrelation of the vertical acceleration at lags of one stride, -1 to 1
 * @property periodSeconds lag of that autocorrelation
 * @property roughness root mean square of the change of the vertical acceleration within 20 ms, divided by [verticalG]
 */
class GaitFeatures internal constructor(
    val gravity: DoubleArray,
    val gravityG: Double,
    val verticalG: Double,
    val turnDegrees: Double,
    val stride: Double,
    val periodSeconds: Double,
    val roughness: Double,
) {
    /** Whether the person walks, on level ground or on stairs. */
    val isGait: Boolean
        get() =
            abs(gravityG - 1.0) <= GRAVITY_TOLERANCE && verticalG >= MIN_VERTICAL_G && turnDegrees <= MAX_TURN_DEGREES &&
                stride >= MIN_STRIDE

    /** Whether the person does not move. */
    val isStill: Boolean
        get() =
            abs(gravityG - 1.0) <= GRAVITY_TOLERANCE && verticalG <= MAX_STILL_G && turnDegrees <= MAX_STILL_TURN_DEGREES

    /** Weight from 0 (no gait, or stairs) to 1 (level walking). */
    val levelWeight: Double
        get() {
            if (!isGait) return 0.0
            val score =
                SCORE_BIAS + SCORE_ROUGHNESS * roughness + SCORE_VERTICAL * verticalG + SCORE_STRIDE * stride +
                    SCORE_PERIOD * periodSeconds
            val share = (0.5 + score / SCORE_RANGE).coerceIn(0.0, 1.0)
            return share * share
        }

    companion object {
        /** Maximum deviation of the length of gravity from 1 g; scale errors of phones are below 0.1 g. */
        const val GRAVITY_TOLERANCE: Double = 0.2
        private const val MIN_VERTICAL_G = 0.08
        private const val MAX_TURN_DEGREES = 8.0
        private const val MIN_STRIDE = 0.6
        private const val MAX_STILL_G = 0.03
        private const val MAX_STILL_TURN_DEGREES = 3.0
        private const val MIN_STRIDE_SECONDS = 0.8
        private const val MAX_STRIDE_SECONDS = 1.5

        // Logistic regression of level walking against stairs on the training subjects (preprocessing/mount_estimator.py).
        private const val SCORE_BIAS = -10.5
        private const val SCORE_ROUGHNESS = 23.5
        private const val SCORE_VERTICAL = -19.6
        private const val SCORE_STRIDE = 13.2
        private const val SCORE_PERIOD = -5.4
        private const val SCORE_RANGE = 6.0

        /**
         * Computes the features of one window.
         *
         * @param acceleration `[samples][3]` in g with gravity, in any axes
         * @param rateHz sampling rate in Hz
         */
        fun of(acceleration: List<DoubleArray>, rateHz: Double): GaitFeatures {
            val mean = meanOf(acceleration, 0, acceleration.size)
            val length = norm(mean)
            if (length < 1e-6) return GaitFeatures(doubleArrayOf(1.0, 0.0, 0.0), length, 0.0, 0.0, 0.0, 0.0, 0.0)
            val gravity = DoubleArray(3) { mean[it] / length }
            val vertical =
                DoubleArray(acceleration.size) { k ->
                    (0..2).sumOf { (acceleration[k][it] - mean[it]) * gravity[it] }
                }
            val variance = vertical.sumOf { it * it } / vertical.size
            val half = acceleration.size / 2
            val turn = angleDegrees(meanOf(acceleration, 0, half), meanOf(acceleration, half, acceleration.size))
            var stride = 0.0
            var period = 0.0
            var roughness = 0.0
            if (variance > 0.0) {
                val steps = vertical.size - 1
                val change = (0 until steps).sumOf { (vertical[it + 1] - vertical[it]) * (vertical[it + 1] - vertical[it]) }
                roughness = sqrt(change / steps / variance) * rateHz / 50.0
                val (correlation, lagSeconds) = findStride(vertical, rateHz)
                stride = correlation
                period = lagSeconds
            }
            return GaitFeatures(gravity, length, sqrt(variance), turn, stride, period, roughness)
        }

        /** Returns the largest autocorrelation at lags of one stride, and its lag in seconds. */
        private fun findStride(vertical: DoubleArray, rateHz: Double): Pair<Double, Double> {
            val shortest = Math.rint(MIN_STRIDE_SECONDS * rateHz).toInt()
            val longest = Math.rint(MAX_STRIDE_SECONDS * rateHz).toInt()
            var best = -1.0
            var period = 0.0
            for (lag in shortest..minOf(longest, vertical.size - 2)) {
                var early = 0.0
                var late = 0.0
                var product = 0.0
                for (k in 0 until vertical.size - lag) {
                    early += vertical[k] * vertical[k]
                    late += vertical[k + lag] * vertical[k + lag]
                    product += vertical[k] * vertical[k + lag]
                }
                val energy = sqrt(early * late)
                val correlation = if (energy > 0.0) product / energy else 0.0
                if (correlation > best) {
                    best = correlation
                    period = lag / rateHz
                }
            }
            return best to period
        }

        private fun meanOf(samples: List<DoubleArray>, from: Int, to: Int): DoubleArray {
            val sum = DoubleArray(3)
            for (k in from until to) for (axis in 0..2) sum[axis] += samples[k][axis]
            return DoubleArray(3) { sum[it] / (to - from) }
        }
    }
}
