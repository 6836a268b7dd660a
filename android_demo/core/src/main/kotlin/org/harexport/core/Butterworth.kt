package org.harexport.core

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.cos
import kotlin.math.hypot
import kotlin.math.sin
import kotlin.math.tan

/** Second-order section with the transfer function (b0 + b1 z^-1 + b2 z^-2) / (1 + a1 z^-1 + a2 z^-2). */
data class Section(val b0: Double, val b1: Double, val b2: Double, val a1: Double, val a2: Double)

/**
 * Designs digital Butterworth low-pass filters as second-order sections.
 *
 * The poles of the analog prototype are on the unit circle at angles pi (2k + n + 1) / 2n (S. Butterworth, "On the
 * Theory of Filter Amplifiers", 1930). The bilinear transform with a prewarped cutoff maps them to the z plane
 * (Oppenheim and Schafer, "Discrete-Time Signal Processing", section 7.2). Sections are paired as in
 * scipy.signal.butter(output="sos"): the pole pair closest to the unit circle is in the last section, with the zeros
 * closest to it; the gain is in the first section.
 */
object Butterworth {
    private data class Complex(val re: Double, val im: Double)

    /** Returns the sections of [lowpass] at [rateHz]. Throws [InputException] if no such filter exists. */
    fun sections(lowpass: Lowpass, rateHz: Double): List<Section> {
        val order = lowpass.order
        if (order < 1 || order > MAX_ORDER || !(lowpass.cutoffHz > 0.0 && lowpass.cutoffHz < rateHz / 2)) {
            throw InputException(
                "a low-pass filter of order $order at ${lowpass.cutoffHz} Hz is invalid for $rateHz Hz: the order must be at least 1 " +
                    "and the cutoff between 0 and ${rateHz / 2} Hz",
            )
        }
        // Frequencies relative to the Nyquist frequency and a sampling rate of 2, as in scipy.
        val warped = 4.0 * tan(PI * lowpass.cutoffHz / rateHz)
        val poles = ArrayList<Complex>() // one of each conjugate pair, and the real poles
        var gain = 1.0
        for (k in 0 until (order + 1) / 2) {
            val angle = PI * (2 * k + 1 - order) / (2.0 * order)
            val real = 2 * k + 1 == order
            val analog = Complex(-warped * cos(angle), if (real) 0.0 else -warped * sin(angle))
            gain *= if (real) warped else warped * warped
            // (4 + p) / (4 - p)
            val re = 4.0 - analog.re
            val norm = re * re + analog.im * analog.im
            gain /= if (real) re else norm
            poles += Complex(((4.0 + analog.re) * re - analog.im * analog.im) / norm, 8.0 * analog.im / norm)
        }
        val zeros = DoubleArray(order) { -1.0 }.toMutableList()
        if (order % 2 == 1) { // a pole and a zero at the origin cancel and make the number even
            poles += Complex(0.0, 0.0)
            zeros += 0.0
        }
        val sections = ArrayList<Section>()
        while (poles.isNotEmpty()) {
            val pole = poles.minByOrNull { abs(1.0 - hypot(it.re, it.im)) }!!
            poles.remove(pole)
            val (a1, a2) =
                if (pole.im != 0.0) {
                    -2.0 * pole.re to pole.re * pole.re + pole.im * pole.im
                } else {
                    val other = poles.filter { it.im == 0.0 }.minByOrNull { abs(1.0 - abs(it.re)) }!!
                    poles.remove(other)
                    -(pole.re + other.re) to pole.re * other.re
                }
            val (z1, z2) = List(2) { take(zeros, pole) }
            sections.add(0, Section(1.0, -(z1 + z2), z1 * z2, a1, a2))
        }
        val first = sections[0]
        sections[0] = first.copy(b0 = gain * first.b0, b1 = gain * first.b1, b2 = gain * first.b2)
        return sections
    }

    private const val MAX_ORDER = 100

    /** Removes and returns the zero closest to [pole]. */
    private fun take(zeros: MutableList<Double>, pole: Complex): Double {
        val nearest = zeros.minByOrNull { hypot(it - pole.re, pole.im) }!!
        zeros.remove(nearest)
        return nearest
    }
}
