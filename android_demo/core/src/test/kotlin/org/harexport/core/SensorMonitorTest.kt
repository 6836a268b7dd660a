package org.harexport.core

import org.junit.Assert.assertEquals
import org.junit.Test

class SensorMonitorTest {
    private val both = listOf(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)

    @Test
    fun `missing sensors are named`() {
        assertEquals(null, SensorMonitor.findMissing(CONTRACT, both.toSet()))
        assertContains(SensorMonitor.findMissing(CONTRACT, setOf(Sensor.ACCELEROMETER))?.message, "no gyroscope")
        assertContains(SensorMonitor.findMissing(CONTRACT, emptySet())?.message, "no accelerometer and no gyroscope")
    }

    @Test
    fun `45 Hz is sufficient for a model at 50 Hz`() {
        assertEquals(null, SensorMonitor.findSlowness(Sensor.ACCELEROMETER, 45.0, 50.0))
        assertContains(SensorMonitor.findSlowness(Sensor.ACCELEROMETER, 44.9, 50.0)?.message, "44.9 samples", "requires 50")
        assertContains(SensorMonitor.findSlowness(Sensor.GYROSCOPE, 0.0, 50.0)?.message, "no two samples")
    }

    @Test
    fun `silence, low rates and clock resets are reported`() {
        var now = 0L
        val monitor = SensorMonitor(both, 50.0) { now }
        fun feed(hz: Double, seconds: Double, fromNs: Long, only: List<Sensor> = both) {
            for (t in times(hz, seconds, fromNs)) {
                now = maxOf(now, t)
                only.forEach { monitor.push(it, t) }
            }
        }
        assertEquals(null, monitor.problem())
        feed(50.0, 5.0, 0)
        assertEquals(null, monitor.problem())
        assertEquals(50.0, monitor.hz(Sensor.GYROSCOPE), 1e-6)
        feed(50.0, 4.0, 5 * SECOND, listOf(Sensor.ACCELEROMETER))
        assertContains(monitor.problem()?.message, "gyroscope has delivered no sample for 4 s")
        feed(20.0, 5.0, 9 * SECOND)
        assertContains(monitor.problem()?.message, "accelerometer delivers only 20.0 samples")
        feed(50.0, 5.0, 14 * SECOND)
        assertEquals(null, monitor.problem())
        feed(50.0, 3.0, 0)
        assertContains(monitor.problem()?.message, "jumped backwards")
        now += 6 * SECOND
        assertContains(monitor.problem()?.message, "has delivered no sample for 6 s")
    }
}
