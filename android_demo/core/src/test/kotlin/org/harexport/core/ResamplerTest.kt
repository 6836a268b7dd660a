package org.harexport.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class ResamplerTest {
    private val acc = Sensor.ACCELEROMETER
    private val gyro = Sensor.GYROSCOPE
    private val step = SECOND / 50

    @Test
    fun `samples on the grid are unchanged`() {
        val out = run(Resampler(listOf(acc), 50.0), List(5) { acc to 7 + it * step })
        assertEquals(List(5) { 7 + it * step }, grid(out).map { it.timeNs })
        assertEquals(listOf(0.0, 1.0, 2.0, 3.0, 4.0), grid(out).map { it.values[0] })
    }

    @Test
    fun `interpolation is linear, and the grid starts when both sensors have started`() {
        val resampler = Resampler(listOf(acc, gyro), 50.0)
        val out = run(resampler, listOf(acc to 0L, acc to step, acc to 2 * step, gyro to step / 2, gyro to 5 * step / 2))
        assertEquals(listOf(step / 2, 3 * step / 2), grid(out).map { it.timeNs })
        assertEquals(0.5, grid(out)[0].values[0], 1e-12)
        assertEquals(1.5, grid(out)[1].values[0], 1e-12)
        assertEquals(3.5, grid(out)[1].values[3], 1e-12) // half way between samples 3 and 4
    }

    @Test
    fun `the result does not depend on the order of arrival`() {
        val mixed = samples(52.6, 49.2, 4.0)
        val batched = mixed.sortedWith(compareBy({ it.second / SECOND }, { it.first }))
        val one = resampleWalking(mixed)
        val other = resampleWalking(batched)
        assertTrue(one.size > 190)
        assertEquals(one.map { it.timeNs }, other.map { it.timeNs })
        for ((a, b) in one.zip(other)) assertEquals(0.0, maxDifference(a.values, b.values), 0.0)
    }

    @Test
    fun `the grid restarts after a gap and bridges shorter ones`() {
        for ((silence, restarts) in listOf(9 * step to 0, 10 * step to 0, 10 * step + 1 to 1, SECOND to 1)) {
            val out = run(Resampler(listOf(acc), 50.0), listOf(0L, step, step + silence, 2 * step + silence).map { acc to it })
            assertEquals("$silence ns", restarts, out.filterIsInstance<Restart>().size)
        }
        val out = run(Resampler(listOf(acc), 50.0), listOf(0L, step, SECOND, SECOND + step).map { acc to it })
        val restart = out.filterIsInstance<Restart>().single()
        assertEquals(SECOND to "no accelerometer for 0.98 s", restart.timeNs to restart.reason)
        assertEquals(listOf(0L, step, SECOND, SECOND + step), grid(out).map { it.timeNs })
    }

    @Test
    fun `the grid restarts after a clock reset`() {
        val out = run(Resampler(listOf(acc), 50.0), listOf(SECOND, SECOND + step, 0L, step).map { acc to it })
        assertEquals("the accelerometer timestamps jumped backwards", out.filterIsInstance<Restart>().single().reason)
        assertEquals(listOf(SECOND, SECOND + step, 0L, step), grid(out).map { it.timeNs })
    }

    @Test
    fun `repeated, late and unreadable samples are dropped and counted`() {
        val resampler = Resampler(listOf(acc), 50.0)
        val times = listOf(0L, step, step, step - 5, 2 * step)
        run(resampler, times.map { acc to it })
        for (bad in listOf(Double.NaN, Double.POSITIVE_INFINITY, -1e6)) {
            assertEquals(emptyList<GridEvent>(), resampler.push(acc, 3 * step, doubleArrayOf(0.0, bad, 0.0)))
        }
        val dropped = resampler.dropped.getValue(acc)
        assertEquals(Dropped(repeated = 1, late = 1, unreadable = 3), dropped)
        assertEquals(5, dropped.total)
    }

    @Test
    fun `the grid restarts when one sensor times out`() {
        val out = run(Resampler(listOf(acc, gyro), 50.0), times(50.0, 25.0).map { acc to it })
        assertEquals(listOf("no gyroscope for 10 s", "no gyroscope for 10 s"), out.map { (it as Restart).reason })
    }

    @Test
    fun `a fast sensor is averaged over one grid period`() {
        assertEquals(listOf(1, 1, 2, 4), listOf(20.0, 52.6, 100.0, 200.0).map { averagingLength(it, 50.0) })
        val resampler = Resampler(listOf(acc), 50.0, mapOf(acc to 4))
        val out = run(resampler, List(9) { acc to it * step / 4 })
        // the mean of samples 0..3 is at time 1.5; the next grid time is 4 samples later
        assertEquals(listOf(3 * step / 8, 3 * step / 8 + step), grid(out).map { it.timeNs })
        assertEquals(listOf(1.5, 5.5), grid(out).map { it.values[0] })
    }

    @Test
    fun `timestamps near the maximum of Long do not overflow`() {
        val late = Long.MAX_VALUE - SECOND
        val out = run(Resampler(listOf(acc), 50.0, mapOf(acc to 2)), List(4) { acc to late + it * step / 2 })
        assertEquals(late + step / 4, grid(out).first().timeNs)
    }

    @Test
    fun `grid times are rounded to nanoseconds`() {
        val out = run(Resampler(listOf(acc), 30.0), times(60.0, 1.0).map { acc to it })
        assertEquals(listOf(0L, 33333333L, 66666667L, 100000000L), grid(out).take(4).map { it.timeNs })
    }

    /** Pushes samples with the values 0, 1, 2, ... */
    private fun run(resampler: Resampler, samples: List<Pair<Sensor, Long>>): List<GridEvent> =
        samples.flatMapIndexed { k, (sensor, timeNs) -> resampler.push(sensor, timeNs, DoubleArray(3) { k.toDouble() }) }

    private fun resampleWalking(samples: List<Pair<Sensor, Long>>): List<GridSample> {
        val resampler = Resampler(listOf(acc, gyro), 50.0)
        return grid(samples.flatMap { (sensor, timeNs) -> resampler.push(sensor, timeNs, walking(sensor, timeNs)) })
    }

    private fun grid(events: List<GridEvent>): List<GridSample> = events.filterIsInstance<GridSample>()
}
