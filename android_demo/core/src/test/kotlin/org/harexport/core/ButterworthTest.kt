package org.harexport.core

import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.hypot
import kotlin.math.pow
import kotlin.math.sin
import kotlin.math.sqrt
import kotlin.math.tan
import org.junit.Assert.assertEquals
import org.junit.Test

class ButterworthTest {
    @Test
    fun `frequency response matches the analytic Butterworth response`() {
        for (order in 1..12) {
            for (cutoff in listOf(0.5, 3.0, 12.5, 20.0, 24.0)) {
                val sections = Butterworth.sections(Lowpass(order, cutoff), 50.0)
                assertEquals((order + 1) / 2, sections.size)
                for (hertz in listOf(0.0, 0.1, 1.0, 5.0, cutoff, 22.0)) {
                    val warped = tan(PI * hertz / 50.0) / tan(PI * cutoff / 50.0)
                    val expected = 1 / sqrt(1 + warped.pow(2 * order))
                    assertEquals("order $order, $cutoff Hz, at $hertz Hz", expected, magnitude(sections, hertz / 50.0), 1e-7)
                }
            }
        }
    }

    /** Reference values: scipy.signal.butter(order, cutoff, fs=50, output="sos"), version 1.17.1. */
    @Test
    fun `odd orders are paired as in scipy`() {
        assertSections(
            Lowpass(1, 5.0),
            listOf(doubleArrayOf(0.24523727525278557, 0.24523727525278557, 0.0, -0.5095254494944288, 0.0)),
        )
        assertSections(
            Lowpass(5, 20.0),
            listOf(
                doubleArrayOf(0.3541641810934298, 0.3541641810934298, 0.0, 0.5095254494944288, 0.0),
                doubleArrayOf(1.0, 2.0, 1.0, 1.0965794655679615, 0.35544676217239046),
                doubleArrayOf(1.0, 2.0, 1.0, 1.3693171946832925, 0.6925691353878632),
            ),
        )
    }

    @Test
    fun `invalid filters are rejected`() {
        assertContains(inputError { Butterworth.sections(Lowpass(0, 1.0), 50.0) }, "order must be at least 1")
        assertContains(inputError { Butterworth.sections(Lowpass(3, 25.0), 50.0) }, "between 0 and 25.0 Hz")
        assertContains(inputError { Butterworth.sections(Lowpass(3, 0.0), 50.0) }, "between 0")
        assertContains(inputError { Butterworth.sections(Lowpass(3, Double.NaN), 50.0) }, "invalid")
        assertContains(inputError { MedianFilter(4) }, "must be odd")
        assertContains(inputError { MedianFilter(0) }, "must be odd")
    }

    @Test
    fun `the median filter pads with zeros before the first sample`() {
        val median = MedianFilter(3)
        assertEquals(listOf(null, 1.0, 2.0, 3.0, 3.0, 3.0), listOf(1.0, 5.0, 2.0, 3.0, 9.0, 0.0).map(median::push))
        val one = MedianFilter(1)
        assertEquals(listOf(4.0, -1.0), listOf(4.0, -1.0).map(one::push))
    }

    private fun assertSections(lowpass: Lowpass, expected: List<DoubleArray>) {
        val sections = Butterworth.sections(lowpass, 50.0).map { doubleArrayOf(it.b0, it.b1, it.b2, it.a1, it.a2) }
        assertEquals(expected.size, sections.size)
        for ((own, row) in sections.zip(expected)) assertEquals(0.0, maxDifference(own, row), 1e-12)
    }

    private fun magnitude(sections: List<Section>, share: Double): Double {
        val (c1, s1) = cos(2 * PI * share) to sin(2 * PI * share)
        val (c2, s2) = cos(4 * PI * share) to sin(4 * PI * share)
        return sections.fold(1.0) { product, it ->
            val above = hypot(it.b0 + it.b1 * c1 + it.b2 * c2, it.b1 * s1 + it.b2 * s2)
            product * above / hypot(1 + it.a1 * c1 + it.a2 * c2, it.a1 * s1 + it.a2 * s2)
        }
    }
}
