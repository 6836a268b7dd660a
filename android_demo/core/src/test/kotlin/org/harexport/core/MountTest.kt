package org.harexport.core

import java.io.File
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

/** Compares the mount stage with Python on tests/golden/mount.json. */
class MountTest {
    private val golden = JSONObject(File(REPOSITORY, "tests/golden/mount.json").readText())
    private val framed = CONTRACT.copy(frame = Frame())

    @Test
    fun `rotations match Python`() {
        val cases = golden.getJSONArray("mounts")
        for (k in 0 until cases.length()) {
            val mount = Mount.fromGravity(doubles(cases.getJSONObject(k).getJSONArray("gravity")))
            val expected = cases.getJSONObject(k).getJSONArray("matrix")
            for (row in 0..2) assertEquals(0.0, maxDifference(mount.matrix[row], doubles(expected.getJSONArray(row))), 1e-12)
            val identity = mount.after(mount.inverse)
            for (row in 0..2) assertEquals(0.0, maxDifference(identity.matrix[row], Mount.AS_IS.matrix[row]), 1e-12)
        }
        assertEquals(90.0, Mount.fromGravity(doubleArrayOf(0.0, 2.0, 0.0)).tiltDegrees, 1e-9)
        assertContains(inputError { Mount.fromGravity(DoubleArray(3)) }, "no direction")
    }

    @Test
    fun `features and estimates match Python, through unknown, estimated and changed`() {
        val estimator = WalkingMountEstimator(golden.getDouble("rate_hz"), golden.getDouble("hop_s"))
        val windows = golden.getJSONArray("windows")
        val states = HashSet<MountState>()
        for ((k, window) in phoneWindows().withIndex()) {
            val expected = windows.getJSONObject(k)
            val features = GaitFeatures.of(window, golden.getDouble("rate_hz"))
            val actual = features.run {
                gravity + doubleArrayOf(gravityG, verticalG, turnDegrees, stride, periodSeconds, roughness, levelWeight)
            }
            assertEquals("features of window $k", 0.0, maxDifference(actual, doubles(expected.getJSONArray("features"))), 1e-9)
            val estimate = estimator.push(window, standingProbability = expected.getDouble("standing_probability"))
            assertEquals("state of window $k", expected.getString("state"), estimator.state.name.lowercase())
            states += estimator.state
            if (expected.isNull("estimate")) {
                assertNull(estimate)
            } else {
                val values = checkNotNull(estimate).run { gravity + doubleArrayOf(spreadDegrees, seconds) }
                assertEquals("estimate of window $k", 0.0, maxDifference(values, doubles(expected.getJSONArray("estimate"))), 1e-7)
            }
        }
        assertEquals(MountState.values().toSet(), states)
    }

    @Test
    fun `rotated streams match Python`() {
        val expected = golden.getJSONObject("stream")
        val gravities = expected.getJSONArray("gravities")
        val mounts = List(gravities.length()) { Mount.fromGravity(doubles(gravities.getJSONArray(it))) }
        val case = JSONObject(File(REPOSITORY, "tests/golden/stream.json").readText()).getJSONArray("cases").getJSONObject(0)
        val samples = case.getJSONArray("samples")
        val stream = Stream(CONTRACT, mount = mounts[0])
        val events = ArrayList<StreamEvent>()
        for (k in 0 until samples.length()) {
            if (k == expected.getInt("rotate_before")) stream.rotateTo(mounts[1])
            val row = samples.getJSONArray(k)
            val values = DoubleArray(3) { if (row.isNull(it + 2)) Double.NaN else row.getDouble(it + 2) }
            events += stream.push(Sensor.fromTitle(row.getString(0)), row.getLong(1), values)
        }
        val windows = events.filterIsInstance<Window>()
        val rows = expected.getJSONArray("windows")
        assertEquals(rows.length(), windows.size)
        for ((k, window) in windows.withIndex()) {
            assertEquals("window $k", 0.0, maxDifference(window.signals, doubles(rows.getJSONArray(k))), 1e-9)
        }
    }

    @Test
    fun `predictions are flagged until the mounting is known, and windows are rotated into the frame`() {
        val turn = Mount.fromGravity(doubleArrayOf(0.1, -0.8, 0.3)).inverse
        val recognizer = LiveRecognizer(framed, FakeClassifier { FloatArray(6) })
        val walk = phoneSamples(framed.rateHz)
        val events =
            walk.flatMap { (sensor, timeNs, values) -> recognizer.push(sensor, timeNs, turn.rotate(values)) }
        val predictions = events.filterIsInstance<Prediction>()
        val firstKnown = predictions.indexOfFirst { it.qualityFlag == null }
        assertTrue("known from window $firstKnown on", firstKnown in 3..6)
        assertTrue(predictions.take(firstKnown).all { it.qualityFlag in listOf(QualityFlag.SETTLING, QualityFlag.MOUNT) })
        assertTrue(predictions.drop(firstKnown).all { it.qualityFlag == null && it.gravityAlongX!! > 0.95 })
        assertEquals(MountState.ESTIMATED, recognizer.mountState)
        assertEquals(83.3, turn.tiltDegrees, 0.1)
        recognizer.finish()
        assertEquals(MountState.UNKNOWN, recognizer.mountState)
        assertNull(recognizer.mountEstimate)
    }

    @Test
    fun `estimates from standing match Python, errors included`() {
        val cases = golden.getJSONArray("standing")
        val problems = ArrayList<StandingProblem>()
        for (k in 0 until cases.length()) {
            val case = cases.getJSONObject(k)
            val samples = parts()[case.getInt("part")].subList(case.getInt("first"), case.getInt("end"))
            val estimator = StandingMountEstimator(golden.getDouble("rate_hz"))
            for (sample in samples) {
                val source = if (case.getBoolean("is_constant")) samples[0] else sample
                estimator.push(DoubleArray(3) { source[it] * case.getDouble("scale") })
            }
            if (case.isNull("error")) {
                val values = estimator.estimate().run { gravity + doubleArrayOf(spreadDegrees, seconds) }
                assertEquals("estimate $k", 0.0, maxDifference(values, doubles(case.getJSONArray("estimate"))), 1e-7)
            } else {
                val error = standingError(estimator)
                assertEquals(case.getString("error"), error.message)
                problems += error.problem
            }
        }
        assertEquals(StandingProblem.values().toSet() - StandingProblem.NOT_FINITE, problems.toSet())
        val broken = StandingMountEstimator(50.0)
        repeat(100) { broken.push(doubleArrayOf(1.0, Double.NaN, 0.0)) }
        assertEquals(StandingProblem.NOT_FINITE, standingError(broken).problem)
    }

    @Test
    fun `the countdown of standing starts again while the person moves`() {
        val countdown = StandingCountdown()
        val moving = parts()[0].take(200) + parts()[2].take(151)
        val states = moving.mapIndexed { k, g -> countdown.push(k * SECOND / 50, DoubleArray(3) { g[it] * STANDARD_GRAVITY }) }
        assertEquals(3.0, states[0].remainingSeconds, 1e-9)
        assertTrue(states.take(200).all { it.estimate == null && it.remainingSeconds > 1.0 })
        assertTrue(states.take(200).any { it.problem == StandingProblem.MOVING })
        // A rest of walking in the interval delays its end.
        var time = 351L
        var state = states.last()
        for (g in parts()[2].drop(151)) {
            if (state.estimate != null) break
            state = countdown.push(time++ * SECOND / 50, DoubleArray(3) { g[it] * STANDARD_GRAVITY })
        }
        val estimate = checkNotNull(state.estimate)
        assertEquals(0.0, state.remainingSeconds, 0.0)
        assertEquals(3.0, estimate.seconds, 0.15)
        assertTrue(angleDegrees(estimate.gravity, mean(parts()[2])) < 2.0)
    }

    @Test
    fun `a gap and a clock reset start the countdown again`() {
        val still = parts()[2]
        fun push(countdown: StandingCountdown, k: Int, timeNs: Long) = countdown.push(timeNs, DoubleArray(3) { still[k][it] * STANDARD_GRAVITY })
        for (jump in listOf(SECOND, -SECOND)) {
            val countdown = StandingCountdown()
            repeat(100) { push(countdown, it, 10 * SECOND + it * SECOND / 50) }
            assertEquals(3.0, push(countdown, 100, 12 * SECOND + jump).remainingSeconds, 1e-9)
        }
    }

    @Test
    fun `an estimate from standing is used at once, until walking deviates from it`() {
        val turn = Mount.fromGravity(doubleArrayOf(0.1, -0.8, 0.3)).inverse
        val up = turn.rotate(doubleArrayOf(1.0, 0.0, 0.0))
        for ((gravity, isRight) in listOf(up to true, doubleArrayOf(up[1], up[2], up[0]) to false)) {
            val recognizer = LiveRecognizer(framed, FakeClassifier { FloatArray(6) })
            recognizer.startFrom(MountEstimate(gravity, 1.0, 3.0))
            assertEquals(MountState.ESTIMATED, recognizer.mountState)
            val states = ArrayList<MountState>()
            for ((k, sample) in phoneSamples(framed.rateHz).withIndex()) {
                if (k == 300) recognizer.startFrom(MountEstimate(gravity, 1.0, 3.0)) // while the filters run
                recognizer.push(sample.first, sample.second, turn.rotate(sample.third)).filterIsInstance<Prediction>().forEach {
                    assertTrue(it.qualityFlag != QualityFlag.MOUNT)
                    states += checkNotNull(it.mountState)
                }
            }
            assertEquals(if (isRight) 0 else 1, states.count { it == MountState.CHANGED })
            assertEquals(isRight, recognizer.mountEstimate?.seconds == 3.0)
            assertTrue(angleDegrees(checkNotNull(recognizer.mountEstimate).gravity, up) < 5.0)
            assertEquals(1.0, recognizer.mountProgress, 0.0)
        }
    }

    @Test
    fun `the progress of the estimate grows while the person walks`() {
        val recognizer = LiveRecognizer(framed, FakeClassifier { FloatArray(6) })
        val progress = phoneSamples(framed.rateHz).map { (sensor, timeNs, values) ->
            recognizer.push(sensor, timeNs, values)
            recognizer.mountProgress
        }
        assertEquals(0.0, progress.first(), 0.0)
        assertTrue(progress.zipWithNext().all { (before, after) -> after >= before } && progress.distinct().size > 2)
        assertEquals(1.0, progress.last(), 0.0)
    }

    @Test
    fun `models without a frame have no mount stage`() {
        val recognizer = LiveRecognizer(CONTRACT, FakeClassifier { FloatArray(6) })
        phoneSamples(CONTRACT.rateHz).forEach { (sensor, timeNs, values) -> recognizer.push(sensor, timeNs, values) }
        assertNull(recognizer.mountState)
        assertNull(recognizer.mountEstimate)
    }

    @Test
    fun `standing, a table and a falling phone give no estimate`() {
        for (gravity in listOf(doubleArrayOf(0.0, 0.0, 1.0), DoubleArray(3))) {
            val estimator = WalkingMountEstimator(50.0, 1.28)
            repeat(20) { assertNull(estimator.push(List(128) { gravity })) }
            assertEquals(MountState.UNKNOWN, estimator.state)
        }
    }

    @Test
    fun `contracts of version 2 have a frame, those of version 1 have none`() {
        val json = JSONObject(CONTRACT_JSON).put("contract_version", 2)
        json.put("frame", JSONObject(mapOf("gravity" to "+x", "heading" to "free")))
        assertEquals(Frame("+x", "free"), Contract.parse(json.toString()).frame)
        assertNull(CONTRACT.frame)
        assertNotNull(MountTracker(framed).state)
        json.getJSONObject("frame").put("gravity", "-z")
        assertContains(inputError { Contract.parse(json.toString()) }, "unknown frame")
        json.remove("frame")
        assertContains(inputError { Contract.parse(json.toString()) }, "missing or invalid")
        val gyroscopeOnly = framed.copy(channels = listOf("body_gyro_x", "body_gyro_y", "body_gyro_z"), units = List(3) { "rad/s" })
        assertContains(inputError { MountTracker(gyroscopeOnly) }, "cannot be estimated")
        assertContains(inputError { MountTracker(framed.copy(channels = framed.channels.reversed(), units = framed.units.reversed())) }, "whole vectors")
    }

    private fun standingError(estimator: StandingMountEstimator): StandingException =
        try {
            estimator.estimate()
            error("no StandingException was thrown")
        } catch (error: StandingException) {
            error
        }

    private fun doubles(array: JSONArray): DoubleArray = DoubleArray(array.length()) { array.getDouble(it) }

    /** The windows of all parts of the golden vectors. */
    private fun phoneWindows(): List<List<DoubleArray>> =
        parts().flatMap { part ->
            (0..part.size - golden.getInt("window") step golden.getInt("hop")).map { part.subList(it, it + golden.getInt("window")) }
        }

    private fun parts(): List<List<DoubleArray>> {
        val parts = golden.getJSONArray("acceleration")
        return List(parts.length()) { k ->
            parts.getJSONArray(k).let { part -> List(part.length()) { doubles(part.getJSONArray(it)) } }
        }
    }

    /** The level walking as samples in m/s2 with gravity along x, and a gyroscope at rest. */
    private fun phoneSamples(rateHz: Double): List<Triple<Sensor, Long, DoubleArray>> {
        val part = parts()[0]
        val upright = Mount.fromGravity(DoubleArray(3) { axis -> part.sumOf { it[axis] } })
        return part.flatMapIndexed { k, row ->
            val timeNs = Math.rint(k * SECOND / rateHz).toLong()
            val values = upright.rotate(row)
            listOf(
                Triple(Sensor.ACCELEROMETER, timeNs, DoubleArray(3) { values[it] * STANDARD_GRAVITY }),
                Triple(Sensor.GYROSCOPE, timeNs, DoubleArray(3)),
            )
        }
    }
}
