package org.harexport.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

class SampleBatcherTest {
    private val model = FakeClassifier { window -> FloatArray(6) { window[it] } }

    @Test
    fun `predictions do not depend on batches`() {
        val all = samples(52.6, 49.2, 30.0).map { (sensor, t) -> SensorSample(sensor, t, walking(sensor, t)) }
        val expected = LiveRecognizer(CONTRACT, model).let { live -> all.flatMap { live.push(it.sensor, it.timeNs, it.values) } }
        for (seconds in listOf(0.0, 1.0, 2.0)) {
            val live = LiveRecognizer(CONTRACT, model)
            val events = ArrayList<RecognitionEvent>()
            var batches = 0
            val batcher = SampleBatcher(seconds) { batch ->
                batches++
                events += live.push(batch)
            }
            all.forEach(batcher::push)
            batcher.flush()
            batcher.flush() // nothing is left
            assertEquals(expected.map { (it as Prediction).probabilities.toList() }, events.map { (it as Prediction).probabilities.toList() })
            assertTrue("$seconds s: $batches batches", if (seconds == 0.0) batches == all.size else batches in (30 / seconds * 0.9).toInt()..(30 / seconds + 1).toInt())
        }
    }

    @Test
    fun `a clock that jumps backwards ends a batch`() {
        val batches = ArrayList<Int>()
        val batcher = SampleBatcher(10.0) { batches += it.size }
        for (timeNs in listOf(100 * SECOND, 101 * SECOND, 3 * SECOND, 4 * SECOND)) batcher.push(SensorSample(Sensor.GYROSCOPE, timeNs, DoubleArray(3)))
        assertEquals(listOf(3), batches)
    }

    @Test
    fun `sensors whose samples arrive in groups do not end a batch`() {
        val batches = ArrayList<Int>()
        val batcher = SampleBatcher(1.5) { batches += it.size }
        for (group in 0 until 9) {
            for (sensor in Sensor.values()) {
                for (k in 0 until 50) batcher.push(SensorSample(sensor, (group * 50L + k) * SECOND / 50, DoubleArray(3)))
            }
        }
        assertTrue("$batches", batches.size in 4..6)
    }

    @Test
    fun `the first model whose sensors the phone has is chosen`() {
        val accOnly = CONTRACT.copy(channels = CONTRACT.channels.take(3).map { "total_acc_${it.last()}" }, units = List(3) { "g" })
        val all = Sensor.values().toSet()
        val acc = setOf(Sensor.ACCELEROMETER)
        assertEquals(0, chooseModel(listOf(CONTRACT, accOnly), all))
        assertEquals(1, chooseModel(listOf(CONTRACT, accOnly), acc))
        assertNull(chooseModel(listOf(CONTRACT), acc))
        assertNull(chooseModel(listOf(CONTRACT, accOnly), emptySet()))
        assertNull("another task", chooseModel(listOf(CONTRACT, accOnly.copy(labels = listOf("A", "B"))), acc))
    }
}
