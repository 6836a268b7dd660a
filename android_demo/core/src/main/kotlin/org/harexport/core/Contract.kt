package org.harexport.core

import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/** A causal Butterworth low-pass of the preprocessing. */
data class Lowpass(val order: Int, val cutoffHz: Double)

/**
 * The preprocessing: [median] samples of median filter, then [noise]; the body channels additionally subtract the
 * [gravity] (acceleration) and [drift] (gyroscope) low-passes of the result.
 */
data class FilterChain(val median: Int, val noise: Lowpass, val gravity: Lowpass, val drift: Lowpass)

/**
 * Input and output of a model: the json that harexport writes beside it.
 *
 * The input `window` is float32 [1, [window], [channels]] in physical units ([units], one a channel), sampled at [rateHz];
 * a stream hands over a window every [hop] samples. The outputs `logits` and `probabilities` are float32 [1, [labels]].
 * Normalisation is inside the graph. [coarseLabels] is empty for a model with one head.
 */
data class Contract(
    val rateHz: Double,
    val window: Int,
    val hop: Int,
    val channels: List<String>,
    val units: List<String>,
    val labels: List<String>,
    val filters: FilterChain,
    val coarseLabels: List<String> = emptyList(),
) {
    init {
        for ((what, names) in listOf("labels" to labels, "channels" to channels)) {
            if (names.toSet().size < names.size || names.isEmpty() || names.any { it.isBlank() || it.any(Char::isISOControl) }) {
                throw BadInput("the $what of a contract must be different words of one line, got $names")
            }
        }
    }

    /** How many numbers a window has. */
    val inputSize: Int get() = window * channels.size

    /** The output tensors in their order, each with its labels. */
    val outputs: Map<String, List<String>>
        get() {
            val fine = linkedMapOf(LOGITS_NAME to labels, PROBABILITIES_NAME to labels)
            if (coarseLabels.isNotEmpty()) {
                fine["coarse_$LOGITS_NAME"] = coarseLabels
                fine["coarse_$PROBABILITIES_NAME"] = coarseLabels
            }
            return fine
        }

    companion object {
        const val VERSION: Int = 1
        const val INPUT_NAME: String = "window"
        const val LOGITS_NAME: String = "logits"
        const val PROBABILITIES_NAME: String = "probabilities"

        /** A window of more samples, or of more channels, is no phone's: memory is not asked for in vain. */
        private const val LARGEST = 1_000_000

        /** Reads what harexport wrote; [where] names it in errors. Throws [BadInput]. */
        fun parse(json: String, where: String = "contract.json"): Contract {
            val plain =
                try {
                    JSONObject(json)
                } catch (error: JSONException) {
                    throw BadInput("$where is damaged: it is not json; export the model again", error)
                }
            if (plain.opt("contract_version") != VERSION) {
                throw BadInput("$where: not a harexport contract of version $VERSION")
            }
            val contract =
                try {
                    val filters = plain.getJSONObject("filters")
                    Contract(
                        rateHz = plain.getDouble("rate_hz"),
                        window = plain.getInt("window"),
                        hop = plain.getInt("hop"),
                        channels = words(plain.getJSONArray("channels")),
                        units = words(plain.getJSONArray("units")),
                        labels = words(plain.getJSONArray("labels")),
                        filters =
                            FilterChain(
                                median = filters.getInt("median"),
                                noise = lowpass(filters.getJSONObject("noise")),
                                gravity = lowpass(filters.getJSONObject("gravity")),
                                drift = lowpass(filters.getJSONObject("drift")),
                            ),
                        coarseLabels = plain.optJSONArray("coarse_labels")?.let(::words) ?: emptyList(),
                    )
                } catch (error: JSONException) {
                    throw BadInput("$where: the contract lacks or misstates something: ${error.message}", error)
                }
            val positive = contract.rateHz > 0 && contract.rateHz < Double.POSITIVE_INFINITY && contract.window > 0 && contract.hop > 0
            val sane = contract.window <= LARGEST && contract.window.toLong() * contract.channels.size <= LARGEST
            if (contract.units.size != contract.channels.size || !positive || !sane) {
                throw BadInput("$where: the contract's rate, window, hop, channels and units do not fit together")
            }
            return contract
        }

        private fun words(array: JSONArray): List<String> = List(array.length()) { array.getString(it) }

        private fun lowpass(plain: JSONObject): Lowpass = Lowpass(plain.getInt("order"), plain.getDouble("cutoff_hz"))
    }
}
