package org.harexport.core

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.sin
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

class SessionTest {
    private val always = Scripted { FloatArray(6) { k -> if (k == 2) 3f else 0f } }

    @Test
    fun `windows of a stream are answered, and the first ones carry a doubt`() {
        val session = Session(CONTRACT, always)
        val answers = samples(50.0, 50.0, 20.0).flatMap { (sensor, t) -> session.push(sensor, t, walking(sensor, t)) } + session.finish()
        val found = answers.map { it as Answer }
        assertEquals((1000 - 128) / 64 + 1, found.size)
        assertEquals(List(4) { Doubt.SETTLING } + List(found.size - 4) { null }, found.map { it.doubt })
        assertEquals("WALKING_DOWNSTAIRS", found.last().label)
        assertEquals("WALKING_DOWNSTAIRS", found.last().smoothedLabel)
        assertEquals(127 * SECOND / 50, found[0].endNs - found[0].startNs)
        assertEquals(1.0, found.last().probabilities.sum(), 1e-12)
        assertTrue("the x axis points up", found.last().upright!! > 0.9)
        assertTrue(found.all { it.inferenceNs >= 0 })
    }

    @Test
    fun `the unit does not change what the model is asked`() {
        val asked =
            listOf("m/s2" to STANDARD_GRAVITY, "g" to 1.0).map { (unit, one) ->
                val model = Scripted { FloatArray(6) }
                val session = Session(CONTRACT, model, mapOf(Sensor.ACCELEROMETER to unit))
                for ((sensor, t) in samples(50.0, 50.0, 4.0)) {
                    val values = walking(sensor, t)
                    if (sensor == Sensor.ACCELEROMETER) for (axis in 0..2) values[axis] *= one / STANDARD_GRAVITY
                    session.push(sensor, t, values)
                }
                model.asked
            }
        assertEquals(asked[0].size, asked[1].size)
        for ((one, other) in asked[0].zip(asked[1])) assertArrayEquals(one, other, 1e-6f)
        assertTrue("in g, with gravity", abs(asked[0].last()[CONTRACT.channels.indexOf("total_acc_x")]) in 0.5f..1.5f)
    }

    @Test
    fun `too few samples are a doubt`() {
        val session = Session(CONTRACT, always)
        val answers = samples(50.0, 25.0, 12.0).flatMap { (sensor, t) -> session.push(sensor, t, walking(sensor, t)) }
        assertEquals(Doubt.SPARSE, (answers.last() as Answer).doubt)
    }

    @Test
    fun `a silence is told, and answers start anew`() {
        val session = Session(CONTRACT, always)
        val all = samples(50.0, 50.0, 8.0) + samples(50.0, 50.0, 4.0, 9 * SECOND)
        val told = all.flatMap { (sensor, t) -> session.push(sensor, t, walking(sensor, t)) }
        val restart = told.indexOfFirst { it is Restart }
        assertSays((told[restart] as Restart).reason, "for 1.02 s")
        assertEquals(Doubt.SETTLING, (told[restart + 1] as Answer).doubt)
    }

    @Test
    fun `windows and answers are looked at`() {
        fun asked(size: Int, value: Float = 0f, answer: FloatArray = FloatArray(6)) =
            refusal { Checked(Scripted { answer }, CONTRACT).logits(FloatArray(size) { value }) }
        assertSays(asked(1151), "1151 numbers", "1152", "128 samples of 9 channels")
        assertSays(asked(1152, Float.NaN), "NaN", "sample 0", "body_acc_x")
        assertSays(asked(1152, Float.POSITIVE_INFINITY), "Infinity")
        assertSays(asked(1152, answer = FloatArray(5)), "5 numbers", "6 labels")
        assertSays(asked(1152, answer = FloatArray(6) { Float.NaN }), "numbers that are none")
    }

    @Test
    fun `a phone's rates are measured before it answers`() {
        for ((acc, gyro) in listOf(52.6 to 49.2, 100.0 to 50.0, 200.0 to 200.0)) {
            val live = Live(CONTRACT, always)
            val told = samples(acc, gyro, 10.0).flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
            assertTrue(live.answering)
            assertEquals(null, live.problem)
            assertEquals(acc, live.rates.getValue(Sensor.ACCELEROMETER), 0.1)
            assertEquals(gyro, live.rates.getValue(Sensor.GYROSCOPE), 0.1)
            assertTrue(told.size in 5..6)
            assertTrue(told.all { it is Answer })
        }
    }

    @Test
    fun `nothing is lost of the seconds that were held back`() {
        val (live, session) = Live(CONTRACT, always) to Session(CONTRACT, always)
        val all = samples(50.0, 50.0, 10.0)
        val one = all.flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) } + live.finish()
        val other = all.flatMap { (sensor, t) -> session.push(sensor, t, walking(sensor, t)) } + session.finish()
        assertEquals(other.map { (it as Answer).endNs }, one.map { (it as Answer).endNs })
        assertFalse(live.answering)
    }

    @Test
    fun `batches of seconds are waited for`() {
        val live = Live(CONTRACT, always)
        val batched = samples(52.6, 49.2, 12.0).sortedWith(compareBy({ it.second / (4 * SECOND) }, { it.first }))
        val told = batched.flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
        assertEquals(null, live.problem)
        assertTrue(told.size > 5)
    }

    @Test
    fun `slow and missing sensors are told, and looked at again`() {
        val live = Live(CONTRACT, always)
        val told = samples(50.0, 30.0, 6.0).flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
        assertEquals(emptyList<Told>(), told)
        assertSays(live.problem, "gyroscope gives only 30.0 samples", "needs 50")
        samples(50.0, 50.0, 6.0, 7 * SECOND).forEach { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
        assertEquals(null, live.problem)
        assertTrue(live.answering)

        val alone = Live(CONTRACT, always)
        times(50.0, 11.0).forEach { t -> alone.push(Sensor.ACCELEROMETER, t, walking(Sensor.ACCELEROMETER, t)) }
        assertSays(alone.problem, "gyroscope gives no two samples")
    }

    @Test
    fun `a clock that runs back in the first seconds begins again`() {
        val live = Live(CONTRACT, always)
        val all = samples(50.0, 50.0, 2.0, 100 * SECOND) + samples(50.0, 50.0, 8.0)
        val told = all.flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
        assertTrue(live.answering)
        assertEquals(Restart(0, "the time of the accelerometer runs back"), told.first())
        assertEquals(0L, live.startNs)
        assertTrue(told.size > 3 && told.drop(1).all { it is Answer && it.endNs < 8 * SECOND })
    }

    @Test
    fun `a rate that changes for good is measured anew`() {
        for ((before, after, batchNs) in listOf(Triple(200.0, 50.0, 1L), Triple(50.0, 200.0, 1L), Triple(200.0, 50.0, 4 * SECOND))) {
            val what = "$before to $after, in batches of $batchNs ns"
            val model = Scripted { FloatArray(6) }
            val live = Live(CONTRACT, model)
            val all = (samples(before, before, 12.0) + samples(after, after, 24.0, 12 * SECOND)).let {
                it.sortedWith(compareBy({ (_, t) -> t / batchNs }, { (sensor, _) -> if (batchNs > 1) sensor.ordinal else 0 }))
            }
            val told = all.flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
            val restart = told.filterIsInstance<Restart>().single()
            assertTrue("$what: ${restart.timeNs}", restart.timeNs in 14 * SECOND..15 * SECOND)
            assertSays(restart.reason, "the accelerometer gives", " ${before.toInt()} before")
            assertTrue(what, live.answering)
            for (hz in live.rates.values) assertEquals(what, after, hz, 0.1)
            assertTrue(what, live.startNs!! in restart.timeNs..restart.timeNs + SECOND)

            // What is asked from then on is what a session would ask that knew the new rate.
            val wanted = Scripted { FloatArray(6) }
            val session = Session(CONTRACT, wanted, meanOf = Sensor.values().associateWith { meanLength(after, 50.0) })
            val rest = all.filter { (_, t) -> t >= restart.timeNs }.flatMap { (sensor, t) -> session.push(sensor, t, walking(sensor, t)) }
            val answers = told.subList(told.indexOf(restart) + 1, told.size)
            assertTrue(what, answers.size > 10)
            assertEquals(what, rest.map { (it as Answer).endNs }, answers.map { (it as Answer).endNs })
            for ((one, other) in model.asked.takeLast(rest.size).zip(wanted.asked)) assertArrayEquals(what, other, one, 0f)
        }
    }

    @Test
    fun `one sensor's rate may change alone, and a short burst changes nothing`() {
        val acc = Sensor.ACCELEROMETER
        val alone = Live(CONTRACT, always)
        val changing = (times(50.0, 30.0).map { acc to it } + (times(100.0, 10.0) + times(50.0, 20.0, 10 * SECOND)).map { Sensor.GYROSCOPE to it })
        val told = changing.sortedBy { it.second }.flatMap { (sensor, t) -> alone.push(sensor, t, walking(sensor, t)) }
        assertSays(told.filterIsInstance<Restart>().single().reason, "the gyroscope gives 50 samples a second now, 100 before")

        val burst = Live(CONTRACT, always)
        val short = samples(50.0, 50.0, 10.0) + samples(200.0, 200.0, 1.0, 10 * SECOND) + samples(50.0, 50.0, 10.0, 11 * SECOND)
        assertTrue(short.flatMap { (sensor, t) -> burst.push(sensor, t, walking(sensor, t)) }.all { it is Answer })
    }

    @Test
    fun `a steady rate between two averages does not flap`() {
        for (hz in listOf(74.0, 75.0, 76.0, 125.0, 175.0)) {
            val live = Live(CONTRACT, always)
            // the rate swings by 4 %, over a minute
            val times = generateSequence(0.0) { it + 1 / (hz * (1 + 0.04 * sin(2 * PI * it / 11))) }.takeWhile { it < 60 }.map { (it * SECOND).toLong() }
            val told = times.toList().flatMap { t -> Sensor.values().flatMap { live.push(it, t, walking(it, t)) } }
            assertTrue("$hz Hz: ${told.filterIsInstance<Restart>()}", told.size > 40 && told.all { it is Answer })
        }
    }

    @Test
    fun `the first time of the grid is told`() {
        val live = Live(CONTRACT, always)
        assertEquals(null, live.startNs)
        val all = samples(50.0, 50.0, 8.0, SECOND) + samples(50.0, 50.0, 8.0, 20 * SECOND)
        val told = all.flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
        assertEquals(SECOND, (told.first() as Answer).startNs)
        val restart = told.indexOfFirst { it is Restart }
        assertEquals(20 * SECOND, live.startNs)
        assertEquals(live.startNs, (told[restart + 1] as Answer).startNs)
        live.finish()
        assertEquals(null, live.startNs)
    }
}
