package org.harexport.core

import org.json.JSONArray
import org.json.JSONObject

/** The deviceJson, as in `android.os.Build`. [abi] is the first of SUPPORTED_ABIS, [processor] SOC_MODEL or HARDWARE. */
data class Device(val manufacturer: String, val model: String, val android: String, val abi: String, val processor: String? = null)

/** Results for `harexport bench --target adb`, in the JSON format of harexport/targets/selftest.schema.json. */
object SelfTestResult {
    const val SCHEMA: String = "harexport-selftest-2"

    /**
     * Returns the JSON of a completed run. Throws [InputException] if a logit is not finite.
     *
     * @param sha256 hash of the model file
     * @param peakBytes peak memory of the process in bytes; null if unknown
     */
    fun json(
        appVersion: String,
        device: Device,
        runtime: RuntimeInfo,
        sha256: String,
        measured: Measurement,
        peakBytes: Long?,
    ): String {
        val values = measured.logits.asSequence().flatMap { it.asSequence() }
        if (values.any { it.isNaN() || it.isInfinite() }) {
            throw InputException("the model returns NaN or infinite logits; this phone's runtime cannot run it")
        }
        val deviceJson = JSONObject()
        deviceJson.put("manufacturer", device.manufacturer)
        deviceJson.put("model", device.model)
        deviceJson.put("android", device.android)
        deviceJson.put("abi", device.abi)
        device.processor?.let { deviceJson.put("processor", it) }
        val runtimeJson = JSONObject()
        runtimeJson.put("name", runtime.name)
        runtimeJson.put("version", runtime.version)
        runtimeJson.put("xnnpack", runtime.xnnpack ?: JSONObject.NULL)
        val json = JSONObject()
        json.put("schema", SCHEMA)
        json.put("app_version", appVersion)
        json.put("device", deviceJson)
        json.put("runtime", runtimeJson)
        json.put("sha256", sha256)
        json.put("logits", rows(measured.logits.map { row -> DoubleArray(row.size) { row[it].toDouble() } }))
        json.put("times_us", rows(measured.timesUs))
        json.put("load_ms", measured.loadMs)
        json.put("first_prediction_ms", measured.firstInferenceMs)
        json.put("peak_bytes", peakBytes ?: JSONObject.NULL)
        return json.toString()
    }

    /** Returns the JSON of a failed run with an error [message]. */
    fun error(message: String): String {
        val json = JSONObject()
        json.put("schema", SCHEMA)
        json.put("error", message.ifBlank { "the self-test failed without a message" })
        return json.toString()
    }

    private fun rows(values: List<DoubleArray>): JSONArray {
        val rows = JSONArray()
        for (row in values) {
            val json = JSONArray()
            for (value in row) json.put(value)
            rows.put(json)
        }
        return rows
    }
}
