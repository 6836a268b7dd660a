package org.harexport.core

import java.nio.ByteBuffer
import java.security.MessageDigest
import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/**
 * Reference samples, windows and logits, computed by harexport in Python: the file golden.json next to the model.
 *
 * @property maxLogitDifference tolerance of the logits
 * @property maxSignalDifference tolerance of the windows, in the contract's units
 * @property units unit of each sensor's samples
 * @property averageOver per sensor, number of samples to average before resampling
 * @property samples input of the preprocessing, in order of arrival
 * @property windows output of the preprocessing for [samples], each with `contract.inputSize` values
 * @property logits output of the model file for each window
 */
class GoldenVectors(
    val modelSha256: String,
    val contractSha256: String,
    val maxLogitDifference: Double,
    val maxSignalDifference: Double,
    val units: Map<Sensor, String>,
    val averageOver: Map<Sensor, Int>,
    val samples: List<SensorSample>,
    val windows: List<DoubleArray>,
    val logits: List<DoubleArray>,
) {
    /**
     * Throws [InputException] if the model or the contract is not the one that these vectors were computed with.
     *
     * @param contract content of contract.json
     */
    fun checkFiles(model: ByteBuffer, contract: ByteArray) {
        if (sha256(model) != modelSha256) {
            throw InputException("the model file is corrupt or does not match golden.json; export both together")
        }
        if (sha256(ByteBuffer.wrap(contract)) != contractSha256) {
            throw InputException("contract.json does not match golden.json; export both together")
        }
    }

    companion object {
        const val VERSION: Int = 1

        /**
         * Parses a golden.json for a model with [contract]. Throws [InputException] for an invalid one.
         *
         * @param where name of the file in error messages
         */
        fun parse(json: String, contract: Contract, where: String = "golden.json"): GoldenVectors {
            val golden =
                try {
                    read(JSONObject(json), where)
                } catch (error: JSONException) {
                    throw InputException("$where is corrupt (${error.message}); export the model again", error)
                }
            val windows = golden.windows
            val isConsistent = windows.all { it.size == contract.inputSize } && golden.logits.all { it.size == contract.labels.size }
            if (windows.isEmpty() || golden.logits.size != windows.size || !isConsistent) {
                throw InputException("$where does not match the contract: the sizes of windows or logits differ; export the model again")
            }
            return golden
        }

        private fun read(json: JSONObject, where: String): GoldenVectors {
            if (json.opt("golden_version") != VERSION) {
                throw InputException("$where does not contain golden vectors of version $VERSION; export the model again")
            }
            val units = json.getJSONObject("units")
            val averageOver = json.getJSONObject("mean_of")
            val samples = json.getJSONArray("samples")
            return GoldenVectors(
                modelSha256 = json.getString("model_sha256"),
                contractSha256 = json.getString("contract_sha256"),
                maxLogitDifference = json.getDouble("max_logit_difference"),
                maxSignalDifference = json.getDouble("max_signal_difference"),
                units = Sensor.values().filter { units.has(it.title) }.associateWith { units.getString(it.title) },
                averageOver = Sensor.values().filter { averageOver.has(it.title) }.associateWith { averageOver.getInt(it.title) },
                samples = List(samples.length()) { sample(samples.getJSONArray(it)) },
                windows = rows(json.getJSONArray("windows")),
                logits = rows(json.getJSONArray("logits")),
            )
        }

        private fun sample(json: JSONArray): SensorSample =
            SensorSample(
                Sensor.fromTitle(json.getString(0)),
                json.getLong(1),
                DoubleArray(3) { if (json.isNull(it + 2)) Double.NaN else json.getDouble(it + 2) },
            )

        private fun rows(json: JSONArray): List<DoubleArray> =
            List(json.length()) { k ->
                val row = json.getJSONArray(k)
                DoubleArray(row.length()) { row.getDouble(it) }
            }
    }
}

/** Returns the SHA-256 hash, in hexadecimal, of the bytes from the position to the limit of [bytes]. */
fun sha256(bytes: ByteBuffer): String {
    val digest = MessageDigest.getInstance("SHA-256")
    digest.update(bytes.duplicate())
    return digest.digest().joinToString("") { "%02x".format(it) }
}
