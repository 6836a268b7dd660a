package org.harexport.core

import java.io.File
import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.sin
import org.junit.Assert.assertTrue
import org.junit.Assert.fail

internal val REPOSITORY = File(System.getProperty("repository") ?: error("-Drepository is missing")).canonicalFile

/** The contract.json of the edge model, written by harexport. */
internal val CONTRACT_JSON: String = File(REPOSITORY, "artifacts/edge/contract.json").readText()

internal val CONTRACT: Contract = Contract.parse(CONTRACT_JSON)

/** Returns the message of the [InputException] that [block] throws; fails if it throws none. */
internal fun inputError(block: () -> Unit): String {
    try {
        block()
    } catch (error: InputException) {
        return error.message!!
    }
    fail("no InputException was thrown")
    error("unreachable")
}

internal fun assertContains(text: String?, vararg parts: String) {
    for (part in parts) assertTrue("'$part' is not in: $text", text != null && part in text)
}

/** Returns a synthetic sample of walking at [timeNs], in m/s2 or rad/s, with the x axis up. */
internal fun walking(sensor: Sensor, timeNs: Long): DoubleArray {
    val phase = 2 * PI * 1.9 * timeNs / SECOND
    return when (sensor) {
        Sensor.ACCELEROMETER -> doubleArrayOf(9.81 + 3 * sin(phase), 1.2 * sin(2 * phase), 0.7 * sin(phase / 2))
        Sensor.GYROSCOPE -> doubleArrayOf(0.5 * sin(phase), 0.2 * sin(phase + 1), 0.1 * sin(2 * phase))
    }
}

/** Returns the timestamps of a sensor with rate [hz] from [fromNs] on, in nanoseconds. */
internal fun times(hz: Double, seconds: Double, fromNs: Long = 0): List<Long> =
    List((seconds * hz).toInt()) { fromNs + Math.rint(it * SECOND / hz).toLong() }

/** Returns both sensors' timestamps in order of time. */
internal fun samples(accHz: Double, gyroHz: Double, seconds: Double, fromNs: Long = 0): List<Pair<Sensor, Long>> =
    (times(accHz, seconds, fromNs).map { Sensor.ACCELEROMETER to it } + times(gyroHz, seconds, fromNs).map { Sensor.GYROSCOPE to it })
        .sortedBy { it.second }

/** Computes logits with [predict] and stores its inputs. */
internal class FakeClassifier(private val predict: (FloatArray) -> FloatArray) : Classifier {
    val inputs = ArrayList<FloatArray>()
    var closed = false

    override val runtime = RuntimeInfo("fake", "0", null)

    override fun logits(window: FloatArray): FloatArray {
        inputs += window.copyOf()
        return predict(window)
    }

    override fun close() {
        closed = true
    }
}

internal fun maxDifference(actual: DoubleArray, expected: DoubleArray): Double {
    require(actual.size == expected.size) { "${actual.size} and ${expected.size} values" }
    return actual.indices.maxOf { abs(actual[it] - expected[it]) }
}
