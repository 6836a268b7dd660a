package org.harexport.core

import org.junit.Assert.assertEquals
import org.junit.Test

class GuardTest {
    private val both = listOf(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)

    @Test
    fun `missing sensors are named`() {
        assertEquals(null, Guard.missing(CONTRACT, both.toSet()))
        assertSays(Guard.missing(CONTRACT, setOf(Sensor.ACCELEROMETER)), "no gyroscope")
        assertSays(Guard.missing(CONTRACT, emptySet()), "no accelerometer and no gyroscope")
    }

    @Test
    fun `45 of 50 Hz is enough`() {
        assertEquals(null, Guard.slow(Sensor.ACCELEROMETER, 45.0, 50.0))
        assertSays(Guard.slow(Sensor.ACCELEROMETER, 44.9, 50.0), "44.9 samples", "needs 50")
        assertSays(Guard.slow(Sensor.GYROSCOPE, 0.0, 50.0), "no two samples")
    }

    @Test
    fun `the watch tells silence, slowness and time that runs back`() {
        var now = 0L
        val watch = SensorWatch(both, 50.0) { now }
        fun feed(hz: Double, seconds: Double, fromNs: Long, only: List<Sensor> = both) {
            for (t in times(hz, seconds, fromNs)) {
                now = maxOf(now, t)
                only.forEach { watch.push(it, t) }
            }
        }
        assertEquals(null, watch.problem())
        feed(50.0, 5.0, 0)
        assertEquals(null, watch.problem())
        assertEquals(50.0, watch.hz(Sensor.GYROSCOPE), 1e-6)
        feed(50.0, 4.0, 5 * SECOND, listOf(Sensor.ACCELEROMETER))
        assertSays(watch.problem(), "gyroscope has given nothing for 4 s")
        feed(20.0, 5.0, 9 * SECOND)
        assertSays(watch.problem(), "accelerometer gives only 20.0 samples")
        feed(50.0, 5.0, 14 * SECOND)
        assertEquals(null, watch.problem())
        feed(50.0, 3.0, 0)
        assertSays(watch.problem(), "ran backwards")
        now += 6 * SECOND
        assertSays(watch.problem(), "has given nothing for 6 s")
    }
}
