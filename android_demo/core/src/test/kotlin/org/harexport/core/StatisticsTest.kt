package org.harexport.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test

class StatisticsTest {
    /** numpy.percentile([15, 20, 35, 40, 50], q) = 15, 23, 35, 46, 49.6 and 50. */
    @Test
    fun `percentiles match numpy`() {
        val values = doubleArrayOf(50.0, 15.0, 40.0, 20.0, 35.0)
        val expected = mapOf(0.0 to 15.0, 15.0 to 18.0, 50.0 to 35.0, 90.0 to 46.0, 99.0 to 49.6, 100.0 to 50.0)
        for ((q, percentile) in expected) assertEquals(percentile, percentile(values, q), 1e-12)
        assertEquals(7.0, percentile(doubleArrayOf(7.0), 99.0), 0.0)
    }

    @Test
    fun `latency covers the most recent times`() {
        val times = RecentTimes(capacity = 3)
        assertEquals(null, times.latency())
        listOf(1000.0, 1.0, 2.0, 3.0).forEach(times::push)
        assertEquals(Latency(3, 1.0, 2.0, 2.8, 2.98), times.latency())
    }

    @Test
    fun `rates exclude gaps`() {
        val meter = RateMeter(seconds = 3.0)
        assertEquals(0.0, meter.hz, 0.0)
        times(52.6, 1.0).forEach(meter::push)
        times(52.6, 1.0, 2 * SECOND).forEach(meter::push)
        assertEquals(52.6, meter.hz, 1e-6)
        times(100.0, 4.0, 4 * SECOND).forEach(meter::push)
        assertEquals("samples older than three seconds are excluded", 100.0, meter.hz, 1e-6)
        times(49.2, 1.0).forEach(meter::push) // clock reset
        assertEquals(49.2, meter.hz, 1e-6)
    }

    @Test
    fun `one contrary window is suppressed, a second one is not`() {
        val smoothing = Smoothing()
        val (walk, sit) = doubleArrayOf(1.0, 0.0) to doubleArrayOf(0.0, 1.0)
        assertArrayEquals(walk, smoothing.push(walk), 0.0)
        assertArrayEquals(doubleArrayOf(0.6, 0.4), smoothing.push(sit), 1e-12)
        assertArrayEquals(doubleArrayOf(0.36, 0.64), smoothing.push(sit), 1e-12)
        assertArrayEquals("a flagged prediction is not smoothed", walk, smoothing.push(walk, isFlagged = true), 0.0)
        assertArrayEquals("and does not affect the next one", sit, smoothing.push(sit), 0.0)
        smoothing.push(walk)
        smoothing.reset()
        assertArrayEquals(sit, smoothing.push(sit), 0.0)
    }

    @Test
    fun `softmax is stable for large logits`() {
        val probabilities = softmax(floatArrayOf(1000f, 999f, -1000f))
        assertEquals(1.0, probabilities.sum(), 1e-12)
        assertEquals(0.7310585786300049, probabilities[0], 1e-12)
        assertEquals(0, argmax(probabilities))
        assertEquals(0, argmax(floatArrayOf(2f, 2f)))
    }
}
