package org.harexport.core

import org.json.JSONArray
import org.json.JSONObject

/** The phone, as `android.os.Build` names it; [abi] is the first of SUPPORTED_ABIS, [processor] SOC_MODEL or HARDWARE. */
data class Device(val manufacturer: String, val model: String, val android: String, val abi: String, val processor: String? = null)

/** What `harexport bench --target adb` reads: json by harexport/targets/selftest.schema.json. */
object SelfTestResult {
    const val SCHEMA: String = "harexport-selftest-1"

    /** The json of a run; [sha256] is of the model file. Throws [BadInput] where a number is none. */
    fun json(
        appVersion: String,
        device: Device,
        runtime: RuntimeInfo,
        sha256: String,
        measured: Measured,
        peakBytes: Long?,
    ): String {
        val numbers = measured.logits.asSequence().flatMap { it.asSequence() }
        if (numbers.any { it.isNaN() || it.isInfinite() }) {
            throw BadInput("the model answers numbers that are none (NaN or infinity): this phone's runtime cannot run it")
        }
        val phone = JSONObject()
        phone.put("manufacturer", device.manufacturer)
        phone.put("model", device.model)
        phone.put("android", device.android)
        phone.put("abi", device.abi)
        device.processor?.let { phone.put("processor", it) }
        val runs = JSONObject()
        runs.put("name", runtime.name)
        runs.put("version", runtime.version)
        runs.put("xnnpack", runtime.xnnpack ?: JSONObject.NULL)
        val plain = JSONObject()
        plain.put("schema", SCHEMA)
        plain.put("app_version", appVersion)
        plain.put("device", phone)
        plain.put("runtime", runs)
        plain.put("sha256", sha256)
        plain.put("logits", rows(measured.logits.map { row -> DoubleArray(row.size) { row[it].toDouble() } }))
        plain.put("times_us", rows(measured.timesUs))
        plain.put("load_ms", measured.loadMs)
        plain.put("first_answer_ms", measured.firstAnswerMs)
        plain.put("peak_bytes", peakBytes ?: JSONObject.NULL)
        return plain.toString()
    }

    /** The json where nothing could be run: [sentence] says why. */
    fun error(sentence: String): String {
        val plain = JSONObject()
        plain.put("schema", SCHEMA)
        plain.put("error", sentence.ifBlank { "the self-test failed, and said nothing" })
        return plain.toString()
    }

    private fun rows(numbers: List<DoubleArray>): JSONArray {
        val rows = JSONArray()
        for (row in numbers) {
            val plain = JSONArray()
            for (number in row) plain.put(number)
            rows.put(plain)
        }
        return rows
    }
}
