package org.harexport.core

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.cos
import kotlin.math.hypot
import kotlin.math.sin
import kotlin.math.tan

/**
 * One second-order section: (b0 + b1 z^-1 + b2 z^-2) / (1 + a1 z^-1 + a2 z^-2).
 */
data class Section(val b0: Double, val b1: Double, val b2: Double, val a1: Double, val a2: Double)

/**
 * Digital Butterworth low-passes as second-order sections.
 *
 * The analogue prototype's poles lie on the unit circle at angles pi (2k + n + 1) / 2n (S. Butterworth, "On the Theory of
 * Filter Amplifiers", 1930); the bilinear transform with a prewarped cutoff makes them digital (Oppenheim and Schafer,
 * "Discrete-Time Signal Processing", section 7.2). Poles are grouped into sections as scipy.signal.butter(output="sos")
 * does: the pair next to the unit circle comes last, together with the zeros next to it; the gain is in the first section.
 */
object Butterworth {
    private data class Complex(val re: Double, val im: Double)

    /** The sections of [lowpass] at [rateHz]. Throws [BadInput] where such a filter does not exist. */
    fun sections(lowpass: Lowpass, rateHz: Double): List<Section> {
        val order = lowpass.order
        if (order < 1 || order > LARGEST_ORDER || !(lowpass.cutoffHz > 0.0 && lowpass.cutoffHz < rateHz / 2)) {
            throw BadInput(
                "a low-pass of order $order at ${lowpass.cutoffHz} Hz is impossible at $rateHz samples a second: the order " +
                    "must be at least 1 and the cutoff between 0 and ${rateHz / 2} Hz",
            )
        }
        // Frequencies in units of half the rate, and a sampling rate of 2, as scipy has it.
        val warped = 4.0 * tan(PI * lowpass.cutoffHz / rateHz)
        val poles = ArrayList<Complex>() // one of each conjugate pair, and the real ones
        var gain = 1.0
        for (k in 0 until (order + 1) / 2) {
            val angle = PI * (2 * k + 1 - order) / (2.0 * order)
            val real = 2 * k + 1 == order
            val analogue = Complex(-warped * cos(angle), if (real) 0.0 else -warped * sin(angle))
            gain *= if (real) warped else warped * warped
            // (4 + p) / (4 - p)
            val re = 4.0 - analogue.re
            val norm = re * re + analogue.im * analogue.im
            gain /= if (real) re else norm
            poles += Complex(((4.0 + analogue.re) * re - analogue.im * analogue.im) / norm, 8.0 * analogue.im / norm)
        }
        val zeros = DoubleArray(order) { -1.0 }.toMutableList()
        if (order % 2 == 1) { // what makes the number even changes nothing
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

    private const val LARGEST_ORDER = 100

    /** The zero next to [pole], taken out of [zeros]. */
    private fun take(zeros: MutableList<Double>, pole: Complex): Double {
        val nearest = zeros.minByOrNull { hypot(it - pole.re, pole.im) }!!
        zeros.remove(nearest)
        return nearest
    }
}
