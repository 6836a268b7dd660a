package org.harexport.core

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.sqrt

/** Why an interval gives no estimate of the mounting. */
enum class StandingProblem {
    /** It is shorter than [StandingMountEstimator.MIN_SECONDS]. */
    TOO_SHORT,

    /** It contains NaN or infinite values. */
    NOT_FINITE,

    /** Its mean acceleration is not about 1 g: wrong unit, or a falling or spinning phone. */
    NO_GRAVITY,

    /** The sensor repeats one value. */
    CONSTANT,

    /** The person moves, or the phone turns. */
    MOVING,
}

/** The interval gives no estimate, because of [problem]. */
class StandingException(val problem: StandingProblem, message: String) : InputException(message)

/**
 * Estimates the mounting from an interval in which the person stands still. Mirrors `StandingMountEstimator` in
 * harexport/preprocessing/mount.py. Not thread-safe.
 *
 * @param rateHz samples per second
 */
class StandingMountEstimator(private val rateHz: Double) {
    private val samples = ArrayList<DoubleArray>()

    /** Adds one sample of acceleration with gravity: x, y, z in g, in the axes of the phone. */
    fun push(acceleration: DoubleArray) {
        samples += acceleration.copyOf(3)
    }

    /** Returns the estimate from the samples so far. Throws [StandingException] if there is none. */
    fun estimate(): MountEstimate {
        val seconds = samples.size / rateHz
        if (seconds < MIN_SECONDS) {
            fail(StandingProblem.TOO_SHORT, "the standing interval holds %.2f s of samples; at least %.0f s are needed", seconds, MIN_SECONDS)
        }
        if (samples.any { sample -> sample.any { it.isNaN() || it.isInfinite() } }) {
            fail(StandingProblem.NOT_FINITE, "the standing interval holds NaN or infinity; choose another interval")
        }
        val mean = mean(samples)
        val length = norm(mean)
        if (abs(length - 1.0) > GaitFeatures.GRAVITY_TOLERANCE) {
            fail(
                StandingProblem.NO_GRAVITY,
                "the mean acceleration of the standing interval is %.2f g instead of 1 g (wrong unit, linear acceleration, " +
                    "or a falling or spinning phone). Give the accelerometer with gravity and its unit",
                length,
            )
        }
        if (samples.all { it.contentEquals(samples[0]) }) {
            fail(StandingProblem.CONSTANT, "the acceleration is constant in the standing interval: the sensor delivers no measurements")
        }
        val deviation = deviation(samples, mean)
        val half = samples.size / 2
        val turn = angleDegrees(mean(samples.subList(0, half)), mean(samples.subList(half, samples.size)))
        if (deviation > MAX_DEVIATION_G || turn > MAX_TURN_DEGREES) {
            fail(
                StandingProblem.MOVING,
                "the person does not stand still in the standing interval (the acceleration varies by %.2f g, gravity turns " +
                    "by %.0f degrees). Choose an interval of standing still",
                deviation,
                turn,
            )
        }
        val gravity = unitVector(mean)
        val square = samples.sumOf { sample -> angleDegrees(sample, gravity).let { it * it } } / samples.size
        return MountEstimate(gravity, sqrt(square), seconds)
    }

    private fun fail(problem: StandingProblem, message: String, vararg values: Any): Nothing =
        throw StandingException(problem, String.format(java.util.Locale.ROOT, message, *values))

    companion object {
        /** Minimum duration in seconds. */
        const val MIN_SECONDS: Double = 1.0

        /** Of each axis: in intervals of 5 s, standing training subjects reach 0.084 g, and walking ones start at 0.14 g. */
        private const val MAX_DEVIATION_G = 0.09

        /** 5.6 degrees in the same intervals. */
        private const val MAX_TURN_DEGREES = 6.0
    }
}

/**
 * The state of a [StandingCountdown].
 *
 * @property remainingSeconds time for which the person must still stand
 * @property problem why the countdown started again at the last sample; null if it did not
 * @property estimate the mounting; not null as soon as [remainingSeconds] is 0
 */
class StandingProgress(val remainingSeconds: Double, val problem: StandingProblem?, val estimate: MountEstimate?)

/**
 * Counts down while a person stands still, and starts again if the person moves. Uses the accelerometer at any rate. Not
 * thread-safe.
 *
 * @param seconds time to stand still
 * @param unit unit of the samples
 */
class StandingCountdown(private val seconds: Double = SECONDS, unit: String = Sensor.ANDROID_UNITS.getValue(Sensor.ACCELEROMETER)) {
    private val divisor = divisorOf(Sensor.ACCELEROMETER, unit)
    private val times = ArrayList<Long>()
    private val samples = ArrayList<DoubleArray>()
    private var checkedNs = 0L
    private var done: StandingProgress? = null

    /**
     * Adds one sample of the accelerometer and returns the state after it.
     *
     * @param timeNs sensor timestamp in nanoseconds
     * @param values three axes
     */
    fun push(timeNs: Long, values: DoubleArray): StandingProgress {
        done?.let { return it }
        val last = times.lastOrNull()
        if (last != null && abs(elapsedNs(last, timeNs)) > GAP_SECONDS * SECOND) clear()
        if (times.isNotEmpty() && timeNs <= times.last()) return progress()
        if (times.isEmpty()) checkedNs = timeNs
        times += timeNs
        samples += DoubleArray(3) { values[it] / divisor }
        if (timeNs - checkedNs < CHECK_SECONDS * SECOND) return progress()
        checkedNs = timeNs
        val elapsed = elapsedSeconds()
        if (elapsed < StandingMountEstimator.MIN_SECONDS) return progress()
        return try {
            val estimator = StandingMountEstimator((times.size - 1) / elapsed)
            samples.forEach(estimator::push)
            val estimate = estimator.estimate()
            if (elapsed < seconds) progress() else StandingProgress(0.0, null, estimate).also { done = it }
        } catch (error: StandingException) {
            clear()
            StandingProgress(seconds, error.problem, null)
        }
    }

    private fun clear() {
        times.clear()
        samples.clear()
    }

    private fun progress() = StandingProgress(max(0.0, seconds - elapsedSeconds()), null, null)

    private fun elapsedSeconds(): Double = if (times.isEmpty()) 0.0 else (times.last() - times[0]).toDouble() / SECOND

    companion object {
        /** Default duration of the countdown. */
        const val SECONDS: Double = 3.0
        private const val CHECK_SECONDS = 0.1
    }
}

internal fun mean(samples: List<DoubleArray>): DoubleArray {
    val sum = DoubleArray(3)
    for (sample in samples) for (axis in 0..2) sum[axis] += sample[axis]
    return DoubleArray(3) { sum[it] / samples.size }
}

/** Returns the largest standard deviation of the three axes. */
internal fun deviation(samples: List<DoubleArray>, mean: DoubleArray): Double =
    (0..2).maxOf { axis -> sqrt(samples.sumOf { (it[axis] - mean[axis]) * (it[axis] - mean[axis]) } / samples.size) }
