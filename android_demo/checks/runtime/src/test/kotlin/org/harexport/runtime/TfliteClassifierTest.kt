package org.harexport.runtime

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Random
import kotlin.math.abs
import kotlin.math.max
import org.harexport.core.Contract
import org.harexport.core.InputException
import org.harexport.core.SelfTest
import org.harexport.core.WindowFile
import org.harexport.core.argmax
import org.harexport.recognition.TfliteClassifier
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test

/** [TfliteClassifier] with the real Java interpreter: TensorFlow Lite 2.6.2, the oldest supported runtime. */
class TfliteClassifierTest {
    private val repository = File(System.getProperty("repository")).canonicalFile
    private val contractJson = File(repository, "artifacts/edge/contract.json").readText()
    private val contract = Contract.parse(contractJson)
    private val shipped = File(repository, "artifacts/edge/edge-unrolled-int8-weights.tflite")
    private val float32 = File(repository, "artifacts/edge/edge-unrolled-float32.tflite")

    /** Windows and reference logits are written by benchmarks/android_fidelity.py and not committed. */
    @Test
    fun `logits of all test windows match Python`() {
        val folder = File(System.getProperty("testData"))
        assertTrue(
            "no windows in $folder; run python benchmarks/android_fidelity.py --write-test-data first",
            File(folder, "test-data.json").exists(),
        )
        val index = JSONObject(File(folder, "test-data.json").readText())
        val windows = WindowFile.parse(mapped(File(folder, index.getString("windows"))))
        windows.check(contract)
        assertEquals(2947, windows.count)
        val models = index.getJSONArray("models")
        assertTrue(models.length() > 0)
        val report = JSONObject()
        for (k in 0 until models.length()) {
            val model = models.getJSONObject(k)
            val name = model.getString("name")
            val expected = File(folder, model.getString("logits")).readBytes().let(ByteBuffer::wrap).order(ByteOrder.LITTLE_ENDIAN)
            var difference = 0.0
            var same = 0
            TfliteClassifier(mapped(File(folder, model.getString("file"))), contract).use { classifier ->
                assertTrue(classifier.runtime.toString(), classifier.runtime.version.startsWith("2.6"))
                for (row in 0 until windows.count) {
                    val logits = classifier.logits(windows[row])
                    val python = FloatArray(logits.size) { expected.float }
                    for (label in logits.indices) difference = max(difference, abs(logits[label].toDouble() - python[label]))
                    if (argmax(logits) == argmax(python)) same++
                }
            }
            assertTrue("$name: the number of reference logits differs", !expected.hasRemaining())
            report.put(name, JSONObject().put("max_logit_difference", difference).put("same_predictions", same))
            if (model.getString("scheme") == "float32") {
                assertTrue("$name: logits differ by $difference", difference <= 1e-4)
                assertEquals("$name: labels", windows.count, same)
            } else {
                // Integer kernels round half-way sums differently in every version.
                assertTrue("$name: $same of ${windows.count} labels", same >= 0.98 * windows.count)
            }
        }
        File(folder, "report.json").writeText(report.toString(1))
    }

    @Test
    fun `predictions do not depend on the previous window`() {
        for (file in listOf(shipped, float32)) {
            TfliteClassifier(mapped(file), contract).use { classifier ->
                val (one, other) = List(2) { noise(it.toLong()) }
                val first = classifier.logits(one)
                classifier.logits(other)
                assertArrayEquals(file.name, first, classifier.logits(one), 1e-6f)
                classifier.logits(FloatArray(contract.inputSize) { Float.NaN })
                assertArrayEquals("${file.name}, after NaN", first, classifier.logits(one), 1e-6f)
            }
        }
    }

    @Test
    fun `models outside a direct buffer are supported`() {
        val bytes = float32.readBytes()
        val shifted = ByteBuffer.allocateDirect(bytes.size + 7)
        shifted.position(7)
        shifted.put(bytes)
        shifted.position(7)
        val window = noise(1)
        val buffers = listOf(mapped(float32), ByteBuffer.wrap(bytes), shifted)
        val outputs = buffers.map { TfliteClassifier(it, contract).use { model -> model.logits(window) } }
        for (logits in outputs) assertArrayEquals(outputs[0], logits, 0f)
    }

    @Test
    fun `the self-test measures latency`() {
        var loads = 0
        val measured =
            SelfTest(contract).measure(
                { TfliteClassifier(mapped(float32), contract).also { loads++ } },
                10,
                { noise(it.toLong()) },
            )
        assertEquals(1, loads)
        assertEquals(10, measured.logits.size)
        assertTrue(measured.latency.runs >= 200)
        assertTrue(measured.loadMs > 0 && measured.firstInferenceMs > 0)
    }

    @Test
    fun `corrupt and unknown models are rejected`() {
        val bytes = float32.readBytes()
        assertContains(loadError(ByteArray(0)), "corrupt")
        assertContains(loadError("this is not a model".toByteArray()), "corrupt")
        assertContains(loadError(bytes.copyOf(bytes.size / 2)), "corrupt")
        assertContains(loadError(ByteArray(bytes.size)), "corrupt")
        assertContains(loadError(bytes.copyOf().also { it.fill(-1, 0, 64) }), "corrupt")
    }

    @Test
    fun `windows of another size and a closed model are refused`() {
        val classifier = TfliteClassifier(mapped(float32), contract)
        for (size in listOf(0, contract.inputSize - 1, contract.inputSize + 1)) {
            assertThrows(IllegalArgumentException::class.java) { classifier.logits(FloatArray(size)) }
        }
        classifier.logits(noise(1))
        repeat(2) { classifier.close() }
        assertThrows(InputException::class.java) { classifier.logits(noise(1)) }
    }

    @Test
    fun `a contract that does not match the model is rejected`() {
        val bytes = float32.readBytes()
        assertContains(loadError(bytes, changed { it.put("window", 64) }), "do not match", "64 samples of 9 channels")
        assertContains(loadError(bytes, changed { it.put("window", 256) }), "do not match")
        assertContains(loadError(bytes, changed { it.put("labels", JSONArray(listOf("UP", "DOWN"))) }), "do not match", "2 labels")
        val seven = changed { it.getJSONArray("labels").put("DANCING") }
        assertContains(loadError(bytes, seven), "do not match", "7 labels")
    }

    private fun loadError(model: ByteArray, contract: Contract = this.contract): String {
        try {
            TfliteClassifier(ByteBuffer.wrap(model), contract).use { it.logits(FloatArray(contract.inputSize)) }
        } catch (error: InputException) {
            return error.message!!
        }
        fail("no InputException was thrown")
        error("unreachable")
    }

    private fun assertContains(text: String, vararg parts: String) {
        for (part in parts) assertTrue("'$part' is not in: $text", part in text)
    }

    private fun changed(change: (JSONObject) -> Unit): Contract = Contract.parse(JSONObject(contractJson).also(change).toString())

    private fun noise(seed: Long): FloatArray {
        val random = Random(seed)
        return FloatArray(contract.inputSize) { random.nextGaussian().toFloat() }
    }
}
