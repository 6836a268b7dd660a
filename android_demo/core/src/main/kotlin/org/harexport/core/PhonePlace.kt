package org.harexport.core

import kotlin.math.abs

/** Where the phone seems to be, apart from being worn. */
enum class PhonePlace {
    /** It lies flat and does not move at all. */
    ON_TABLE,

    /** It is tilted as in front of a person who looks at its screen, and moves slightly. */
    IN_HAND,

    /** None of these, or not known yet. */
    OTHER,
}

/**
 * Recognizes a phone on a table or in the hand from the accelerometer: a phone that is not worn.
 *
 * ON_TABLE: the screen is horizontal, and each axis varies by less than [MAX_TABLE_G] for two seconds. No two seconds of
 * the training recordings do, not even of lying persons; a phone with a noisy accelerometer is not recognized. IN_HAND:
 * gravity has the direction of a screen that is read, in portrait. Lying persons have it too (12 % of the training
 * recordings), so it is a hint for an unlocked phone only. Not thread-safe.
 *
 * @param unit unit of the samples
 */
class PhonePlaceDetector(unit: String = Sensor.ANDROID_UNITS.getValue(Sensor.ACCELEROMETER)) {
    private val divisor = divisorOf(Sensor.ACCELEROMETER, unit)
    private val samples = ArrayList<DoubleArray>()
    private var startNs = 0L
    private var lastNs = 0L

    /** The place in the last two seconds. */
    var place: PhonePlace = PhonePlace.OTHER
        private set

    /** Adds one sample of the accelerometer: sensor timestamp in nanoseconds and three axes. */
    fun push(timeNs: Long, values: DoubleArray) {
        if (samples.isEmpty() || abs(elapsedNs(lastNs, timeNs)) > GAP_SECONDS * SECOND) {
            samples.clear()
            startNs = timeNs
        }
        lastNs = timeNs
        samples += DoubleArray(3) { values[it] / divisor }
        if (timeNs - startNs < SECONDS * SECOND) return
        place = classify()
        samples.clear()
    }

    private fun classify(): PhonePlace {
        val mean = mean(samples)
        val length = norm(mean)
        if (!(abs(length - 1.0) <= GaitFeatures.GRAVITY_TOLERANCE)) return PhonePlace.OTHER
        val deviation = deviation(samples, mean)
        val (x, y, z) = DoubleArray(3) { mean[it] / length }
        return when {
            abs(z) >= MIN_FLAT && deviation > 0.0 && deviation < MAX_TABLE_G -> PhonePlace.ON_TABLE
            z in MIN_READING..MIN_FLAT && y > MIN_UPRIGHT && abs(x) < MAX_SIDEWAYS && deviation in MAX_TABLE_G..MAX_HAND_G -> PhonePlace.IN_HAND
            else -> PhonePlace.OTHER
        }
    }

    companion object {
        /** Below the 0.0041 g of the quietest two seconds of the training recordings. */
        const val MAX_TABLE_G: Double = 0.003
        private const val MAX_HAND_G = 0.1
        private const val SECONDS = 2.0

        // Cosines between gravity and the axes of the phone.
        private const val MIN_FLAT = 0.97
        private const val MIN_READING = 0.35
        private const val MIN_UPRIGHT = 0.2
        private const val MAX_SIDEWAYS = 0.35
    }
}
