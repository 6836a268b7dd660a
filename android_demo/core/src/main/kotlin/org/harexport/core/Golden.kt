package org.harexport.core

import java.nio.ByteBuffer
import java.security.MessageDigest
import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/** One sample of [Golden], in the order of arrival; [values] may hold NaN. */
class GoldenSample(val sensor: Sensor, val timeNs: Long, val values: DoubleArray)

/**
 * What Python's chain and Python's runtime made of some samples: the file `golden.json` beside the model.
 *
 * [windows] are those that come out of [samples], [logits] the model file's answers to them. Kotlin may differ by
 * [maxSignalDifference] in the contract's units, and the runtime here by [maxLogitDifference].
 */
class Golden(
    val modelSha256: String,
    val contractSha256: String,
    val maxLogitDifference: Double,
    val maxSignalDifference: Double,
    val units: Map<Sensor, String>,
    val meanOf: Map<Sensor, Int>,
    val samples: List<GoldenSample>,
    val windows: List<DoubleArray>,
    val logits: List<DoubleArray>,
) {
    /** Throws [BadInput] where model, contract and this do not belong together. [contract] are the bytes of the file. */
    fun checkFiles(model: ByteBuffer, contract: ByteArray) {
        if (sha256(model) != modelSha256) {
            throw BadInput("the model file is damaged, or another one than its golden.json was made for; export them together")
        }
        if (sha256(ByteBuffer.wrap(contract)) != contractSha256) {
            throw BadInput("contract.json is not the one that golden.json was made with; export them together")
        }
    }

    companion object {
        const val VERSION: Int = 1

        /** Reads what harexport wrote for a model of [contract]; [where] names it in errors. Throws [BadInput]. */
        fun parse(json: String, contract: Contract, where: String = "golden.json"): Golden {
            val golden =
                try {
                    read(JSONObject(json), where)
                } catch (error: JSONException) {
                    throw BadInput("$where is damaged: ${error.message}; export the model again", error)
                }
            val windows = golden.windows
            val fits = windows.all { it.size == contract.inputSize } && golden.logits.all { it.size == contract.labels.size }
            if (windows.isEmpty() || golden.logits.size != windows.size || !fits) {
                throw BadInput("$where does not fit the contract: its windows or logits have other sizes; export the model again")
            }
            return golden
        }

        private fun read(plain: JSONObject, where: String): Golden {
            if (plain.opt("golden_version") != VERSION) {
                throw BadInput("$where: no golden vectors of version $VERSION; export the model again")
            }
            val units = plain.getJSONObject("units")
            val meanOf = plain.getJSONObject("mean_of")
            val samples = plain.getJSONArray("samples")
            return Golden(
                modelSha256 = plain.getString("model_sha256"),
                contractSha256 = plain.getString("contract_sha256"),
                maxLogitDifference = plain.getDouble("max_logit_difference"),
                maxSignalDifference = plain.getDouble("max_signal_difference"),
                units = Sensor.values().filter { units.has(it.title) }.associateWith { units.getString(it.title) },
                meanOf = Sensor.values().filter { meanOf.has(it.title) }.associateWith { meanOf.getInt(it.title) },
                samples = List(samples.length()) { sample(samples.getJSONArray(it)) },
                windows = rows(plain.getJSONArray("windows")),
                logits = rows(plain.getJSONArray("logits")),
            )
        }

        private fun sample(plain: JSONArray): GoldenSample =
            GoldenSample(
                Sensor.named(plain.getString(0)),
                plain.getLong(1),
                DoubleArray(3) { if (plain.isNull(it + 2)) Double.NaN else plain.getDouble(it + 2) },
            )

        private fun rows(plain: JSONArray): List<DoubleArray> =
            List(plain.length()) { k ->
                val row = plain.getJSONArray(k)
                DoubleArray(row.length()) { row.getDouble(it) }
            }
    }
}

/** Of the bytes from the buffer's position to its limit; neither is changed. */
fun sha256(bytes: ByteBuffer): String {
    val digest = MessageDigest.getInstance("SHA-256")
    digest.update(bytes.duplicate())
    return digest.digest().joinToString("") { "%02x".format(it) }
}
