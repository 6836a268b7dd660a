package org.harexport.core

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class SelfTestTest {
    @get:Rule val folder = TemporaryFolder()

    /** Six logits that depend on the window. */
    private val predict = { window: FloatArray -> FloatArray(6) { k -> (0 until 9).sumOf { window[9 * k + it].toDouble() }.toFloat() } }

    @Test
    fun `parity passes for identical results`() {
        val parity = SelfTest(CONTRACT).checkParity(FakeClassifier(predict), golden())
        assertEquals(emptyList<String>(), parity.failures)
        assertTrue(parity.passed)
        assertEquals(parity.windows, parity.matchingLabels)
        assertTrue(parity.windows > 5)
        assertEquals(0.0, parity.stateResidual, 0.0)
    }

    @Test
    fun `different signals, different logits and hidden state are detected`() {
        val test = SelfTest(CONTRACT)
        val signals = test.checkParity(FakeClassifier(predict), golden { it.getJSONArray("windows").getJSONArray(1).put(7, 0.5) })
        assertContains(signals.failures.first(), "signals differ from Python")
        val fewer = golden { json -> listOf("windows", "logits").forEach { json.getJSONArray(it).remove(0) } }
        assertContains(test.checkParity(FakeClassifier(predict), fewer).failures.first(), "Preprocessing produced")
        val other = test.checkParity(FakeClassifier { window -> predict(window).also { it[3] += 0.01f } }, golden())
        assertContains(other.failures.single(), "Logits differ from Python by 0.010")
        val wrong = test.checkParity(FakeClassifier { window -> predict(window).also { it.reverse() } }, golden())
        assertTrue(wrong.failures.any { "have the same label" in it })
        var calls = 0
        val leaking = FakeClassifier { window -> predict(window).also { it[0] += 2e-6f * ++calls } }
        assertContains(test.checkParity(leaking, golden()).failures.single(), "depend on the previous window")
        assertContains(inputError { test.checkParity(FakeClassifier { FloatArray(6) { Float.NaN } }, golden()) }, "NaN or infinite")
    }

    @Test
    fun `ties within the tolerance pass`() {
        val reversed = FakeClassifier { window -> predict(window).also { it.reverse() } }
        val parity = SelfTest(CONTRACT).checkParity(reversed, golden { it.put("max_logit_difference", 1e3) })
        assertEquals(emptyList<String>(), parity.failures)
        assertTrue(parity.matchingLabels < parity.windows)
    }

    @Test
    fun `model and contract must match the golden vectors`() {
        val (model, contract) = byteArrayOf(1, 2, 3) to CONTRACT_JSON.toByteArray()
        val golden =
            golden {
                it.put("model_sha256", sha256(ByteBuffer.wrap(model)))
                it.put("contract_sha256", sha256(ByteBuffer.wrap(contract)))
            }
        golden.checkFiles(ByteBuffer.wrap(model), contract)
        assertContains(inputError { golden.checkFiles(ByteBuffer.wrap(byteArrayOf(1, 2, 4)), contract) }, "model file is corrupt")
        assertContains(inputError { golden.checkFiles(ByteBuffer.wrap(model), contract + 10) }, "contract.json does not match")
        assertEquals("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", sha256(ByteBuffer.wrap("abc".toByteArray())))
    }

    @Test
    fun `corrupt golden vectors are rejected`() {
        assertContains(inputError { GoldenVectors.parse("{", CONTRACT) }, "golden.json is corrupt")
        assertContains(inputError { GoldenVectors.parse("{}", CONTRACT) }, "version 1")
        for (key in listOf("windows", "samples", "logits", "units", "mean_of", "model_sha256", "max_logit_difference")) {
            assertContains(inputError { golden { it.remove(key) } }, "corrupt", key)
        }
        assertContains(inputError { golden { it.getJSONArray("logits").remove(0) } }, "does not match the contract")
        assertContains(inputError { golden { it.getJSONArray("logits").getJSONArray(0).remove(0) } }, "does not match the contract")
        assertContains(inputError { golden { it.getJSONArray("windows").getJSONArray(0).remove(0) } }, "does not match the contract")
        val none = golden { it.getJSONArray("samples").getJSONArray(3).put(2, JSONObject.NULL) }
        assertTrue(none.samples[3].values[0].isNaN())
    }

    @Test
    fun `measure runs every window and times single runs`() {
        val model = FakeClassifier(predict)
        val windows = List(3) { k -> FloatArray(1152) { it + k.toFloat() } }
        val progress = ArrayList<Double>()
        var now = 0L
        val test = SelfTest(CONTRACT) { now.also { now += 1_000_000 } }
        val measured = test.measure({ model }, windows.size, windows::get, progress::add)
        assertEquals(3, measured.logits.size)
        assertArrayEquals(predict(windows[2]), measured.logits[2], 0f)
        assertTrue(measured.timesUs.size in 8..40)
        assertTrue(measured.timesUs.all { it.size == 25 && it.all { time -> time == 1000.0 } })
        assertEquals(measured.timesUs.size * 25, measured.latency.runs)
        assertEquals(1.0, measured.loadMs, 0.0)
        assertEquals(1.0, measured.firstInferenceMs, 0.0)
        assertTrue(progress == progress.sorted() && progress.last() == 1.0)
        assertTrue("the model was not closed", model.closed)
    }

    @Test
    fun `a slow model gets the minimum number of rounds, and a failing one is closed`() {
        var now = 0L
        val slow = SelfTest(CONTRACT) { now.also { now += SECOND } }.measure({ FakeClassifier(predict) }, 1, { FloatArray(1152) })
        assertEquals(SelfTest.MIN_ROUNDS, slow.timesUs.size)
        val broken = FakeClassifier { FloatArray(1) }
        assertContains(inputError { SelfTest(CONTRACT).measure({ broken }, 1, { FloatArray(1152) }) }, "1 logits")
        assertTrue(broken.closed)
    }

    @Test
    fun `the JSON matches the schema`() {
        val schema = JSONObject(File(REPOSITORY, "harexport/targets/selftest.schema.json").readText())
        val measured = SelfTest(CONTRACT).measure({ FakeClassifier(predict) }, 2, { FloatArray(1152) { it / 7f } })
        val device = Device("Maker", "Phone 1", "15", "arm64-v8a", "SoC")
        val runtime = RuntimeInfo("TensorFlow Lite", "2.6.2", true)
        val json = JSONObject(SelfTestResult.json("1.0", device, runtime, "a".repeat(64), measured, 123L))
        check(json, schema)
        val required = schema.getJSONObject("then").getJSONArray("required")
        for (k in 0 until required.length()) assertTrue(required.getString(k), json.has(required.getString(k)))
        assertEquals("harexport-selftest-2", json.getString("schema"))
        assertEquals(measured.logits[1][5].toDouble(), json.getJSONArray("logits").getJSONArray(1).getDouble(5), 1e-6)
        assertEquals(123L, json.getLong("peak_bytes"))
        val (otherDevice, otherRuntime) = device.copy(processor = null) to runtime.copy(xnnpack = null)
        val unknown = JSONObject(SelfTestResult.json("1.0", otherDevice, otherRuntime, "a".repeat(64), measured, null))
        check(unknown, schema)
        assertTrue(unknown.isNull("peak_bytes") && unknown.getJSONObject("runtime").isNull("xnnpack"))
        val error = JSONObject(SelfTestResult.error("the model is \"damaged\""))
        check(error, schema)
        assertEquals("the model is \"damaged\"", error.getString("error"))
        val none = Measurement(listOf(floatArrayOf(Float.NaN)), measured.timesUs, 1.0, 1.0)
        assertContains(inputError { SelfTestResult.json("1.0", device, runtime, "a".repeat(64), none, null) }, "NaN or infinite")
    }

    @Test
    fun `reads windows files written by harexport`() {
        val windows = WindowFile.parse(packed(2, 3, 2))
        assertEquals(listOf(2, 3, 2), listOf(windows.count, windows.samples, windows.channels))
        assertArrayEquals(floatArrayOf(6f, 7f, 8f, 9f, 10f, 11f), windows[1], 0f)
        assertContains(inputError { windows.check(CONTRACT) }, "3 samples of 2 channels", "128 samples of 9")
        WindowFile.parse(packed(1, 128, 9)).check(CONTRACT)
    }

    @Test
    fun `other files are rejected`() {
        assertContains(inputError { WindowFile.parse(ByteBuffer.allocate(3)) }, "truncated in its header")
        assertContains(inputError { WindowFile.parse(ByteBuffer.allocate(100)) }, "HARW")
        val cut = packed(2, 3, 2).apply { limit(limit() - 1) }
        assertContains(inputError { WindowFile.parse(cut) }, "47 bytes", "48")
        assertContains(inputError { WindowFile.parse(header(0, 128, 9)) }, "0 windows")
        assertContains(inputError { WindowFile.parse(header(-1, 128, 9)) }, "is empty")
        assertContains(inputError { WindowFile.parse(header(Int.MAX_VALUE, Int.MAX_VALUE, Int.MAX_VALUE)) }, "push it again")
    }

    @Test
    fun `files are written atomically`() {
        val file = File(folder.root, "result.json")
        AtomicFile.write(file, "one")
        AtomicFile.write(file, "two é")
        assertEquals("two é", file.readText())
        assertEquals(listOf("result.json"), folder.root.list()!!.toList())
        assertContains(inputError { AtomicFile.write(File(folder.root, "missing/result.json"), "x") }, "result.json cannot be written")
        File(folder.root, "taken/inside").mkdirs()
        assertContains(inputError { AtomicFile.write(File(folder.root, "taken"), "x") }, "cannot be written")
        assertFalse(File(folder.root, ".taken.part").exists())
    }

    @Test
    fun `peak memory is read, or null if unavailable`() {
        val status = folder.newFile().apply { writeText("Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t   12345 kB\n") }
        assertEquals(12345L * 1024, SelfTest.peakBytes(status))
        assertEquals(null, SelfTest.peakBytes(File(folder.root, "none")))
        assertNotEquals(0L, SelfTest.peakBytes())
    }

    /** Golden vectors in the format of Python, for the samples and the model of this test. */
    private val goldenJson: String by lazy {
        val stream = Stream(CONTRACT)
        val samples = samples(52.6, 49.2, 10.0)
        val windows =
            (samples.flatMap { (sensor, t) -> stream.push(sensor, t, walking(sensor, t)) } + stream.flush()).filterIsInstance<Window>()
        val json = JSONObject()
        json.put("golden_version", 1)
        json.put("model_sha256", "0".repeat(64))
        json.put("contract_sha256", "0".repeat(64))
        json.put("max_logit_difference", 1e-4)
        json.put("max_signal_difference", 1e-9)
        json.put("units", JSONObject(mapOf("accelerometer" to "m/s2", "gyroscope" to "rad/s")))
        json.put("mean_of", JSONObject(mapOf("accelerometer" to 1, "gyroscope" to 1)))
        json.put("samples", JSONArray(samples.map { (sensor, t) -> JSONArray(listOf(sensor.title, t) + walking(sensor, t).toList()) }))
        json.put("windows", JSONArray(windows.map { JSONArray(it.signals.toList()) }))
        json.put("logits", JSONArray(windows.map { window -> JSONArray(predict(window.floats()).map(Float::toDouble)) }))
        json.toString()
    }

    private fun golden(change: (JSONObject) -> Unit = {}): GoldenVectors =
        GoldenVectors.parse(JSONObject(goldenJson).also(change).toString(), CONTRACT)

    private fun header(vararg sizes: Int): ByteBuffer {
        val bytes = ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN)
        bytes.put("HARW".toByteArray())
        sizes.forEach(bytes::putInt)
        bytes.rewind()
        return bytes
    }

    private fun packed(count: Int, samples: Int, channels: Int): ByteBuffer {
        val total = count * samples * channels
        val bytes = ByteBuffer.allocate(16 + 4 * total).order(ByteOrder.LITTLE_ENDIAN)
        bytes.put(header(count, samples, channels))
        repeat(total) { bytes.putFloat(it.toFloat()) }
        bytes.rewind()
        return bytes
    }

    /** The part of JSON Schema that selftest.schema.json uses. */
    private fun check(value: Any, schema: JSONObject, where: String = "result") {
        if (schema.has("const")) assertEquals(where, schema.get("const"), value)
        if (schema.has("type")) {
            val types = schema.opt("type").let { type -> if (type is JSONArray) type.toList() else listOf(type) }
            val found =
                when (value) {
                    is JSONObject -> "object"
                    is JSONArray -> "array"
                    is String -> "string"
                    is Boolean -> "boolean"
                    is Int, is Long -> "integer"
                    is Number -> "number"
                    else -> "null"
                }
            assertTrue("$where is $found", found in types || (found == "integer" && "number" in types))
        }
        if (schema.has("pattern")) assertTrue(where, Regex(schema.getString("pattern")).containsMatchIn(value as String))
        if (schema.has("exclusiveMinimum")) assertTrue(where, (value as Number).toDouble() > schema.getDouble("exclusiveMinimum"))
        if (value is JSONArray) {
            assertTrue(where, value.length() >= schema.optInt("minItems", 0))
            for (k in 0 until value.length()) check(value.get(k), schema.getJSONObject("items"), "$where[$k]")
        }
        if (value is JSONObject) {
            val properties = schema.getJSONObject("properties")
            for (key in value.keys()) {
                assertTrue("$where.$key is not in the schema", properties.has(key))
                check(value.get(key), properties.getJSONObject(key), "$where.$key")
            }
            val required = schema.optJSONArray("required") ?: JSONArray()
            for (k in 0 until required.length()) assertTrue("$where lacks ${required.getString(k)}", value.has(required.getString(k)))
        }
    }
}
