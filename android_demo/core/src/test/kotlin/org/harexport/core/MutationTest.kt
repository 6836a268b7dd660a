package org.harexport.core

import java.io.File
import java.util.Random
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Damaged and hostile files are refused with an [InputException], and nothing else is thrown. */
class MutationTest {
    private val assets = File(REPOSITORY, "android_demo/app/src/main/assets")
    private val replacements = listOf<Any>(JSONObject.NULL, -1, 0, 1, 2.5, 1e-300, 1e300, Int.MAX_VALUE, Long.MAX_VALUE, "", "x", true, JSONArray(), JSONObject())

    private fun copyOf(json: JSONObject) = JSONObject(json.toString())

    /** Returns the paths of all values in [json]; of arrays, only that of the first element. */
    private fun paths(json: Any, path: List<Any> = emptyList()): List<List<Any>> =
        when (json) {
            is JSONObject -> json.keySet().flatMap { listOf(path + it) + paths(json.get(it), path + it) }
            is JSONArray -> if (json.length() == 0) emptyList() else listOf(path + 0) + paths(json.get(0), path + 0)
            else -> emptyList()
        }

    private fun replace(json: JSONObject, path: List<Any>, value: Any?): JSONObject {
        var parent: Any = json
        for (key in path.dropLast(1)) parent = if (parent is JSONObject) parent.get(key as String) else (parent as JSONArray).get(key as Int)
        val last = path.last()
        if (parent is JSONObject) parent.put(last as String, value) else (parent as JSONArray).put(last as Int, value)
        return json
    }

    /** Runs [use] with every value of [json] replaced, and with damaged text. Returns how many were refused, of how many. */
    private fun countRefused(json: JSONObject, use: (String) -> Unit): Pair<Int, Int> {
        val mutants = paths(json).flatMap { path -> (replacements + null).map { "$path = $it" to replace(copyOf(json), path, it).toString() } }.toMutableList()
        val random = Random(1)
        val text = json.toString()
        repeat(40) { k ->
            val at = random.nextInt(text.length)
            mutants += "cut at $at" to text.take(at)
            mutants += "damaged at $at" to text.replaceRange(at, minOf(text.length, at + 3), "}\u0000[".take(1 + k % 3))
        }
        return mutants.count { (what, mutant) ->
            try {
                use(mutant)
                false
            } catch (error: InputException) {
                assertTrue("$what: ${error.message}", error.message.orEmpty().length > 15)
                true
            } catch (error: Throwable) {
                throw AssertionError(what, error)
            }
        } to mutants.size
    }

    @Test
    fun `contracts`() {
        val (refused, all) = countRefused(JSONObject(File(assets, "contract.json").readText())) { text ->
            val contract = Contract.parse(text)
            val recognizer = LiveRecognizer(contract, FakeClassifier { FloatArray(contract.labels.size) })
            for ((sensor, timeNs) in samples(50.0, 50.0, 4.0)) recognizer.push(sensor, timeNs, walking(sensor, timeNs))
        }
        assertTrue("$refused of $all", refused > all / 3)
    }

    @Test
    fun `golden vectors`() {
        val contract = Contract.parse(File(assets, "contract.json").readText())
        val json = JSONObject(File(assets, "golden.json").readText())
        for (name in listOf("samples", "windows", "logits")) json.put(name, JSONArray(json.getJSONArray(name).toList().take(if (name == "samples") 300 else 1)))
        val (refused, all) = countRefused(json) { text ->
            val golden = GoldenVectors.parse(text, contract)
            SelfTest(contract).checkParity(FakeClassifier { FloatArray(contract.labels.size) }, golden)
        }
        assertTrue("$refused of $all", refused > all / 3)
    }

    @Test
    fun `samples with extreme times and values`() {
        val contract = Contract.parse(File(assets, "contract.json").readText())
        val random = Random(2)
        val extremes = listOf(Double.NaN, Double.POSITIVE_INFINITY, -1e300, 0.0, 1e-300, Float.MAX_VALUE.toDouble())
        repeat(20) {
            val recognizer = LiveRecognizer(contract, FakeClassifier { FloatArray(contract.labels.size) })
            var timeNs = 0L
            repeat(2_000) {
                timeNs += if (random.nextInt(300) > 0) 10_000_000L else random.nextLong()
                val values = DoubleArray(3) { if (random.nextInt(200) > 0) random.nextGaussian() else extremes[random.nextInt(extremes.size)] }
                try {
                    recognizer.push(Sensor.values()[random.nextInt(2)], timeNs, values)
                } catch (error: InputException) {
                    assertEquals("the window contains", error.message?.take(19))
                }
            }
        }
    }
}
