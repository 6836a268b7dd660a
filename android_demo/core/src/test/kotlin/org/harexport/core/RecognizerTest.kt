package org.harexport.core

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.sin
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

class RecognizerTest {
    private val constant = FakeClassifier { FloatArray(6) { k -> if (k == 2) 3f else 0f } }

    @Test
    fun `all windows are classified, and the first ones are flagged as settling`() {
        val recognizer = Recognizer(CONTRACT, constant)
        val predictions = samples(50.0, 50.0, 20.0).flatMap { (sensor, t) -> recognizer.push(sensor, t, walking(sensor, t)) } + recognizer.finish()
        val found = predictions.map { it as Prediction }
        assertEquals((1000 - 128) / 64 + 1, found.size)
        assertEquals(listOf(QualityFlag.SETTLING) + List(found.size - 1) { null }, found.map { it.qualityFlag })
        assertEquals("WALKING_DOWNSTAIRS", found.last().label)
        assertEquals("WALKING_DOWNSTAIRS", found.last().smoothedLabel)
        assertEquals(127 * SECOND / 50, found[0].endNs - found[0].startNs)
        assertEquals(1.0, found.last().probabilities.sum(), 1e-12)
        assertTrue("the x axis points up", found.last().gravityAlongX!! > 0.9)
        assertTrue(found.all { it.inferenceNs >= 0 })
    }

    @Test
    fun `the model input does not depend on the unit`() {
        val inputs =
            listOf("m/s2" to STANDARD_GRAVITY, "g" to 1.0).map { (unit, one) ->
                val model = FakeClassifier { FloatArray(6) }
                val recognizer = Recognizer(CONTRACT, model, mapOf(Sensor.ACCELEROMETER to unit))
                for ((sensor, t) in samples(50.0, 50.0, 4.0)) {
                    val values = walking(sensor, t)
                    if (sensor == Sensor.ACCELEROMETER) for (axis in 0..2) values[axis] *= one / STANDARD_GRAVITY
                    recognizer.push(sensor, t, values)
                }
                model.inputs
            }
        assertEquals(inputs[0].size, inputs[1].size)
        for ((one, other) in inputs[0].zip(inputs[1])) assertArrayEquals(one, other, 1e-6f)
        assertTrue("in g, with gravity", abs(inputs[0].last()[CONTRACT.channels.indexOf("total_acc_x")]) in 0.5f..1.5f)
    }

    @Test
    fun `windows with too few samples are flagged`() {
        val recognizer = Recognizer(CONTRACT, constant)
        val predictions = samples(50.0, 25.0, 12.0).flatMap { (sensor, t) -> recognizer.push(sensor, t, walking(sensor, t)) }
        assertEquals(QualityFlag.SPARSE, (predictions.last() as Prediction).qualityFlag)
    }

    @Test
    fun `a phone in another orientation than the training data is flagged`() {
        fun flags(label: String, vararg gravityAlongX: Double): List<Boolean> {
            val check = OrientationCheck(CONTRACT)
            return gravityAlongX.map { check.isViolated(label, it) }
        }
        assertEquals(listOf(false, true), flags("WALKING", 0.95, 0.3))
        assertEquals(listOf(true, true), flags("LAYING", 0.0, -1.0))
        assertEquals("lying after the orientation was confirmed", listOf(false, false, false), flags("LAYING", 0.9, 0.0, 0.0))
        assertEquals(listOf(true, false), flags("STANDING", -0.9, 0.8))
        val other = OrientationCheck(CONTRACT.copy(labels = listOf("A", "B")))
        assertFalse("only for models of the UCI HAR activities", other.isViolated("A", 0.0))

        val recognizer = Recognizer(CONTRACT, constant)
        val predictions =
            samples(50.0, 50.0, 12.0).flatMap { (sensor, t) ->
                val (x, y, z) = walking(sensor, t).toList()
                recognizer.push(sensor, t, doubleArrayOf(-y, x, z)) // portrait: gravity along y
            }
        assertEquals(QualityFlag.MOUNT, (predictions.last() as Prediction).qualityFlag)
    }

    @Test
    fun `recognition restarts after a gap`() {
        val recognizer = Recognizer(CONTRACT, constant)
        val all = samples(50.0, 50.0, 8.0) + samples(50.0, 50.0, 4.0, 9 * SECOND)
        val events = all.flatMap { (sensor, t) -> recognizer.push(sensor, t, walking(sensor, t)) }
        val restart = events.indexOfFirst { it is Restart }
        assertContains((events[restart] as Restart).reason, "for 1.02 s")
        assertEquals(QualityFlag.SETTLING, (events[restart + 1] as Prediction).qualityFlag)
    }

    @Test
    fun `model inputs and outputs are validated`() {
        fun validationError(size: Int, value: Float = 0f, logits: FloatArray = FloatArray(6)) =
            inputError { ValidatingClassifier(FakeClassifier { logits }, CONTRACT).logits(FloatArray(size) { value }) }
        assertContains(validationError(1151), "1151 values", "1152", "128 samples of 9 channels")
        assertContains(validationError(1152, Float.NaN), "NaN", "sample 0", "body_acc_x")
        assertContains(validationError(1152, Float.POSITIVE_INFINITY), "Infinity")
        assertContains(validationError(1152, logits = FloatArray(5)), "5 logits", "6 labels")
        assertContains(validationError(1152, logits = FloatArray(6) { Float.NaN }), "NaN or infinite")
    }

    @Test
    fun `rates are measured before the first prediction`() {
        for ((acc, gyro) in listOf(52.6 to 49.2, 100.0 to 50.0, 200.0 to 200.0)) {
            val live = LiveRecognizer(CONTRACT, constant)
            val events = samples(acc, gyro, 10.0).flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
            assertTrue(live.isReady)
            assertEquals(null, live.problem)
            assertEquals(acc, live.rates.getValue(Sensor.ACCELEROMETER), 0.1)
            assertEquals(gyro, live.rates.getValue(Sensor.GYROSCOPE), 0.1)
            assertTrue(events.size in 5..6)
            assertTrue(events.all { it is Prediction })
        }
    }

    @Test
    fun `buffered samples are not lost`() {
        val (live, recognizer) = LiveRecognizer(CONTRACT, constant) to Recognizer(CONTRACT, constant)
        val all = samples(50.0, 50.0, 10.0)
        val one = all.flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) } + live.finish()
        val other = all.flatMap { (sensor, t) -> recognizer.push(sensor, t, walking(sensor, t)) } + recognizer.finish()
        assertEquals(other.map { (it as Prediction).endNs }, one.map { (it as Prediction).endNs })
        assertFalse(live.isReady)
    }

    @Test
    fun `batches of several seconds are supported`() {
        val live = LiveRecognizer(CONTRACT, constant)
        val batched = samples(52.6, 49.2, 12.0).sortedWith(compareBy({ it.second / (4 * SECOND) }, { it.first }))
        val events = batched.flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
        assertEquals(null, live.problem)
        assertTrue(events.size > 5)
    }

    @Test
    fun `slow and missing sensors are reported and measured again`() {
        val live = LiveRecognizer(CONTRACT, constant)
        val events = samples(50.0, 30.0, 6.0).flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
        assertEquals(emptyList<RecognitionEvent>(), events)
        assertContains(live.problem?.message, "gyroscope delivers only 30.0 samples", "requires 50")
        samples(50.0, 50.0, 6.0, 7 * SECOND).forEach { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
        assertEquals(null, live.problem)
        assertTrue(live.isReady)

        val alone = LiveRecognizer(CONTRACT, constant)
        times(50.0, 11.0).forEach { t -> alone.push(Sensor.ACCELEROMETER, t, walking(Sensor.ACCELEROMETER, t)) }
        assertContains(alone.problem?.message, "gyroscope delivers no two samples")
    }

    @Test
    fun `a clock reset in the first seconds restarts the measurement`() {
        val live = LiveRecognizer(CONTRACT, constant)
        val all = samples(50.0, 50.0, 2.0, 100 * SECOND) + samples(50.0, 50.0, 8.0)
        val events = all.flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
        assertTrue(live.isReady)
        assertEquals(Restart(0, RestartCause.ClockReset(Sensor.ACCELEROMETER)), events.first())
        assertEquals(0L, live.startNs)
        assertTrue(events.size > 3 && events.drop(1).all { it is Prediction && it.endNs < 8 * SECOND })
    }

    @Test
    fun `a lasting rate change restarts recognition`() {
        for ((before, after, batchNs) in listOf(Triple(200.0, 50.0, 1L), Triple(50.0, 200.0, 1L), Triple(200.0, 50.0, 4 * SECOND))) {
            val what = "$before to $after, in batches of $batchNs ns"
            val model = FakeClassifier { FloatArray(6) }
            val live = LiveRecognizer(CONTRACT, model)
            val all = (samples(before, before, 12.0) + samples(after, after, 24.0, 12 * SECOND)).let {
                it.sortedWith(compareBy({ (_, t) -> t / batchNs }, { (sensor, _) -> if (batchNs > 1) sensor.ordinal else 0 }))
            }
            val events = all.flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
            val restart = events.filterIsInstance<Restart>().single()
            assertTrue("$what: ${restart.timeNs}", restart.timeNs in 14 * SECOND..15 * SECOND)
            assertContains(restart.reason, "the accelerometer rate changed from ${before.toInt()} to")
            assertTrue(what, live.isReady)
            for (hz in live.rates.values) assertEquals(what, after, hz, 0.1)
            assertTrue(what, live.startNs!! in restart.timeNs..restart.timeNs + SECOND)

            // From then on, the model inputs match those of a recognizer that knows the new rate.
            val expected = FakeClassifier { FloatArray(6) }
            val recognizer = Recognizer(CONTRACT, expected, averageOver = Sensor.values().associateWith { averagingLength(after, 50.0) })
            val rest = all.filter { (_, t) -> t >= restart.timeNs }.flatMap { (sensor, t) -> recognizer.push(sensor, t, walking(sensor, t)) }
            val predictions = events.subList(events.indexOf(restart) + 1, events.size)
            assertTrue(what, predictions.size > 10)
            assertEquals(what, rest.map { (it as Prediction).endNs }, predictions.map { (it as Prediction).endNs })
            for ((one, other) in model.inputs.takeLast(rest.size).zip(expected.inputs)) assertArrayEquals(what, other, one, 0f)
        }
    }

    @Test
    fun `a rate change of one sensor restarts recognition, a short burst does not`() {
        val acc = Sensor.ACCELEROMETER
        val alone = LiveRecognizer(CONTRACT, constant)
        val changing = (times(50.0, 30.0).map { acc to it } + (times(100.0, 10.0) + times(50.0, 20.0, 10 * SECOND)).map { Sensor.GYROSCOPE to it })
        val events = changing.sortedBy { it.second }.flatMap { (sensor, t) -> alone.push(sensor, t, walking(sensor, t)) }
        assertContains(events.filterIsInstance<Restart>().single().reason, "the gyroscope rate changed from 100 to 50 Hz")

        val burst = LiveRecognizer(CONTRACT, constant)
        val short = samples(50.0, 50.0, 10.0) + samples(200.0, 200.0, 1.0, 10 * SECOND) + samples(50.0, 50.0, 10.0, 11 * SECOND)
        assertTrue(short.flatMap { (sensor, t) -> burst.push(sensor, t, walking(sensor, t)) }.all { it is Prediction })
    }

    @Test
    fun `a steady rate between two averaging lengths causes no restarts`() {
        for (hz in listOf(74.0, 75.0, 76.0, 125.0, 175.0)) {
            val live = LiveRecognizer(CONTRACT, constant)
            // the rate swings by 4 %, over a minute
            val times = generateSequence(0.0) { it + 1 / (hz * (1 + 0.04 * sin(2 * PI * it / 11))) }.takeWhile { it < 60 }.map { (it * SECOND).toLong() }
            val events = times.toList().flatMap { t -> Sensor.values().flatMap { live.push(it, t, walking(it, t)) } }
            assertTrue("$hz Hz: ${events.filterIsInstance<Restart>()}", events.size > 40 && events.all { it is Prediction })
        }
    }

    @Test
    fun `the start time of the grid is reported`() {
        val live = LiveRecognizer(CONTRACT, constant)
        assertEquals(null, live.startNs)
        val all = samples(50.0, 50.0, 8.0, SECOND) + samples(50.0, 50.0, 8.0, 20 * SECOND)
        val events = all.flatMap { (sensor, t) -> live.push(sensor, t, walking(sensor, t)) }
        assertEquals(SECOND, (events.first() as Prediction).startNs)
        val restart = events.indexOfFirst { it is Restart }
        assertEquals(20 * SECOND, live.startNs)
        assertEquals(live.startNs, (events[restart + 1] as Prediction).startNs)
        live.finish()
        assertEquals(null, live.startNs)
    }
}
