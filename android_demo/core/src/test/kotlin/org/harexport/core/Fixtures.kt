package org.harexport.core

import java.io.File
import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.sin
import org.junit.Assert.assertTrue
import org.junit.Assert.fail

internal val REPOSITORY = File(System.getProperty("repository") ?: error("-Drepository is missing")).canonicalFile

/** The json that harexport writes, from the repository. */
internal val CONTRACT_JSON: String = File(REPOSITORY, "artifacts/edge/contract.json").readText()

internal val CONTRACT: Contract = Contract.parse(CONTRACT_JSON)

/** The sentence of the [BadInput] that [block] throws; fails where it throws none. */
internal fun refusal(block: () -> Unit): String {
    try {
        block()
    } catch (error: BadInput) {
        return error.message!!
    }
    fail("nothing was refused")
    error("unreachable")
}

internal fun assertSays(sentence: String?, vararg words: String) {
    for (word in words) assertTrue("'$word' is not in: $sentence", sentence != null && word in sentence)
}

/** A sample of somebody who walks with a phone, in m/s2 and rad/s, at a time in nanoseconds. */
internal fun walking(sensor: Sensor, timeNs: Long): DoubleArray {
    val phase = 2 * PI * 1.9 * timeNs / SECOND
    return when (sensor) {
        Sensor.ACCELEROMETER -> doubleArrayOf(9.81 + 3 * sin(phase), 1.2 * sin(2 * phase), 0.7 * sin(phase / 2))
        Sensor.GYROSCOPE -> doubleArrayOf(0.5 * sin(phase), 0.2 * sin(phase + 1), 0.1 * sin(2 * phase))
    }
}

/** Times of a sensor at [hz] from [fromNs] on. */
internal fun times(hz: Double, seconds: Double, fromNs: Long = 0): List<Long> =
    List((seconds * hz).toInt()) { fromNs + Math.rint(it * SECOND / hz).toLong() }

/** Both sensors' samples in the order of their times. */
internal fun samples(accHz: Double, gyroHz: Double, seconds: Double, fromNs: Long = 0): List<Pair<Sensor, Long>> =
    (times(accHz, seconds, fromNs).map { Sensor.ACCELEROMETER to it } + times(gyroHz, seconds, fromNs).map { Sensor.GYROSCOPE to it })
        .sortedBy { it.second }

/** Answers by [answer]; it remembers what it was asked. */
internal class Scripted(private val answer: (FloatArray) -> FloatArray) : Classifier {
    val asked = ArrayList<FloatArray>()
    var closed = false

    override val runtime = RuntimeInfo("scripted", "0", null)

    override fun logits(window: FloatArray): FloatArray {
        asked += window.copyOf()
        return answer(window)
    }

    override fun close() {
        closed = true
    }
}

internal fun largest(one: DoubleArray, other: DoubleArray): Double {
    require(one.size == other.size) { "${one.size} and ${other.size} numbers" }
    return one.indices.maxOf { abs(one[it] - other[it]) }
}
