package org.harexport.runtime

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Random
import kotlin.math.abs
import kotlin.math.max
import org.harexport.core.BadInput
import org.harexport.core.Contract
import org.harexport.core.HarwWindows
import org.harexport.core.SelfTest
import org.harexport.core.argmax
import org.harexport.demo.TfliteClassifier
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test

/** The app's classifier over the real Java Interpreter: TensorFlow Lite 2.6.2, the oldest runtime we promise. */
class TfliteClassifierTest {
    private val repository = File(System.getProperty("repository")).canonicalFile
    private val contractJson = File(repository, "artifacts/edge/contract.json").readText()
    private val contract = Contract.parse(contractJson)
    private val shipped = File(repository, "harexport/pretrained/edge.tflite")
    private val float32 = File(repository, "artifacts/edge/edge-unrolled-float32.tflite")

    /** Windows and Python's answers are made by Python, and never committed. */
    @Test
    fun `all test windows get Python's logits`() {
        val handed = File(System.getProperty("handed"))
        assertTrue(
            "no windows in $handed: run `python benchmarks/android_fidelity.py --hand` in the repository first",
            File(handed, "handed.json").exists(),
        )
        val told = JSONObject(File(handed, "handed.json").readText())
        val windows = HarwWindows.parse(mapped(File(handed, told.getString("windows"))))
        windows.check(contract)
        assertEquals(2947, windows.count)
        val models = told.getJSONArray("models")
        assertTrue(models.length() > 0)
        val report = JSONObject()
        for (k in 0 until models.length()) {
            val model = models.getJSONObject(k)
            val name = model.getString("name")
            val wanted = File(handed, model.getString("logits")).readBytes().let(ByteBuffer::wrap).order(ByteOrder.LITTLE_ENDIAN)
            var difference = 0.0
            var same = 0
            TfliteClassifier(mapped(File(handed, model.getString("file"))), contract).use { classifier ->
                assertTrue(classifier.runtime.toString(), classifier.runtime.version.startsWith("2.6"))
                for (row in 0 until windows.count) {
                    val logits = classifier.logits(windows[row])
                    val python = FloatArray(logits.size) { wanted.float }
                    for (label in logits.indices) difference = max(difference, abs(logits[label].toDouble() - python[label]))
                    if (argmax(logits) == argmax(python)) same++
                }
            }
            assertTrue("$name: all of Python's logits were read", !wanted.hasRemaining())
            report.put(name, JSONObject().put("max_logit_difference", difference).put("same_answers", same))
            if (model.getString("scheme") == "float32") {
                assertTrue("$name: logits differ by $difference", difference <= 1e-4)
                assertEquals("$name: answers", windows.count, same)
            } else {
                // Integer kernels round a sum that lies half way to another integer, differently in every version.
                assertTrue("$name: $same of ${windows.count} answers", same >= 0.98 * windows.count)
            }
        }
        File(handed, "report.json").writeText(report.toString(1))
    }

    @Test
    fun `the window before has no influence`() {
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
    fun `a model that does not lie in a direct buffer is run too`() {
        val bytes = float32.readBytes()
        val shifted = ByteBuffer.allocateDirect(bytes.size + 7)
        shifted.position(7)
        shifted.put(bytes)
        shifted.position(7)
        val window = noise(1)
        val buffers = listOf(mapped(float32), ByteBuffer.wrap(bytes), shifted)
        val answers = buffers.map { TfliteClassifier(it, contract).use { model -> model.logits(window) } }
        for (answer in answers) assertArrayEquals(answers[0], answer, 0f)
    }

    @Test
    fun `the self-test measures it`() {
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
        assertTrue(measured.loadMs > 0 && measured.firstAnswerMs > 0)
    }

    @Test
    fun `damaged and foreign models are refused in words`() {
        val bytes = float32.readBytes()
        assertSays(refused(ByteArray(0)), "damaged")
        assertSays(refused("this is no model".toByteArray()), "damaged")
        assertSays(refused(bytes.copyOf(bytes.size / 2)), "damaged")
        assertSays(refused(ByteArray(bytes.size)), "damaged")
        assertSays(refused(bytes.copyOf().also { it.fill(-1, 0, 64) }), "damaged")
    }

    @Test
    fun `a contract that disagrees with the model is refused`() {
        val bytes = float32.readBytes()
        assertSays(refused(bytes, changed { it.put("window", 64) }), "disagree", "64 samples of 9 channels")
        assertSays(refused(bytes, changed { it.put("window", 256) }), "disagree")
        assertSays(refused(bytes, changed { it.put("labels", JSONArray(listOf("UP", "DOWN"))) }), "disagree", "2 labels")
        val seven = changed { it.getJSONArray("labels").put("DANCING") }
        assertSays(refused(bytes, seven), "disagree", "7 labels")
    }

    private fun refused(model: ByteArray, contract: Contract = this.contract): String {
        try {
            TfliteClassifier(ByteBuffer.wrap(model), contract).use { it.logits(FloatArray(contract.inputSize)) }
        } catch (error: BadInput) {
            return error.message!!
        }
        fail("it was not refused")
        error("unreachable")
    }

    private fun assertSays(sentence: String, vararg words: String) {
        for (word in words) assertTrue("'$word' is not in: $sentence", word in sentence)
    }

    private fun changed(change: (JSONObject) -> Unit): Contract = Contract.parse(JSONObject(contractJson).also(change).toString())

    private fun noise(seed: Long): FloatArray {
        val random = Random(seed)
        return FloatArray(contract.inputSize) { random.nextGaussian().toFloat() }
    }
}
