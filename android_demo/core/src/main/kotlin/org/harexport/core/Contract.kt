package org.harexport.core

import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/** A causal Butterworth low-pass filter of the preprocessing. */
data class Lowpass(val order: Int, val cutoffHz: Double)

/**
 * The filters of the preprocessing: a median filter over [median] samples, then the [noise] low-pass filter.
 *
 * Body channels are the result minus its [gravity] low-pass (accelerometer) or [drift] low-pass (gyroscope).
 */
data class FilterChain(val median: Int, val noise: Lowpass, val gravity: Lowpass, val drift: Lowpass)

/**
 * The axes in which a model expects acceleration and angular velocity.
 *
 * A contract with a frame has a mount stage: one rotation of all samples into these axes before the filters (see [Mount]). A
 * contract without one expects the axes of the phone as worn for the training data.
 *
 * @property gravity axis along which the accelerometer reads +1 g while the person stands; always "+x"
 * @property heading "free" if the model ignores rotations about that axis, "fixed" otherwise
 */
data class Frame(val gravity: String = "+x", val heading: String = "free") {
    init {
        if (gravity != "+x" || heading !in listOf("free", "fixed")) {
            throw InputException("the contract has an unknown frame (gravity $gravity, heading $heading); update the app")
        }
    }
}

/**
 * Input and output of a model, as in the contract.json that harexport writes next to it.
 *
 * The input `window` is float32 `[1, window, channels]` in physical units; normalization is part of the model. The
 * outputs `logits` and `probabilities` are float32 `[1, labels]`.
 *
 * @property rateHz sampling rate in Hz
 * @property window samples per window
 * @property hop samples from the start of a window to the start of the next one
 * @property channels channel names
 * @property units unit of each channel
 * @property labels class names
 * @property filters the preprocessing filters
 * @property coarseLabels class names of the second head; empty for a model with one head
 * @property frame axes of the model; null for those of the phone as worn for the training data
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
    val frame: Frame? = null,
) {
    init {
        for ((field, names) in listOf("labels" to labels, "channels" to channels)) {
            if (names.toSet().size < names.size || names.isEmpty() || names.any { it.isBlank() || it.any(Char::isISOControl) }) {
                throw InputException("the $field of a contract must be distinct, non-empty and on one line; found $names")
            }
        }
    }

    /** Number of values in a window. */
    val inputSize: Int get() = window * channels.size

    /** The output tensors in order, each with its labels. */
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
        /** Version of contracts with a frame; those without have [VERSION_WITHOUT_FRAME]. */
        const val VERSION: Int = 2
        const val VERSION_WITHOUT_FRAME: Int = 1
        const val INPUT_NAME: String = "window"
        const val LOGITS_NAME: String = "logits"
        const val PROBABILITIES_NAME: String = "probabilities"

        /** Maximum number of samples, and of values, in a window. Prevents allocations for a corrupt contract. */
        private const val MAX_INPUT_SIZE = 1_000_000

        /**
         * Parses a contract.json. Throws [InputException] for an invalid one.
         *
         * @param where name of the file in error messages
         */
        fun parse(text: String, where: String = "contract.json"): Contract {
            val json =
                try {
                    JSONObject(text)
                } catch (error: JSONException) {
                    throw InputException("$where is not valid JSON; export the model again", error)
                }
            val version = json.opt("contract_version")
            if (version != VERSION && version != VERSION_WITHOUT_FRAME) {
                throw InputException("$where is not a harexport contract of version $VERSION_WITHOUT_FRAME or $VERSION; export the model again")
            }
            val contract =
                try {
                    val filters = json.getJSONObject("filters")
                    Contract(
                        rateHz = json.getDouble("rate_hz"),
                        window = json.getInt("window"),
                        hop = json.getInt("hop"),
                        channels = strings(json.getJSONArray("channels")),
                        units = strings(json.getJSONArray("units")),
                        labels = strings(json.getJSONArray("labels")),
                        filters =
                            FilterChain(
                                median = filters.getInt("median"),
                                noise = lowpass(filters.getJSONObject("noise")),
                                gravity = lowpass(filters.getJSONObject("gravity")),
                                drift = lowpass(filters.getJSONObject("drift")),
                            ),
                        coarseLabels = json.optJSONArray("coarse_labels")?.let(::strings) ?: emptyList(),
                        frame = if (version == VERSION) frame(json.getJSONObject("frame")) else null,
                    )
                } catch (error: JSONException) {
                    throw InputException("$where has a missing or invalid entry (${error.message}); export the model again", error)
                }
            val isPositive = contract.rateHz > 0 && contract.rateHz < Double.POSITIVE_INFINITY && contract.window > 0 && contract.hop > 0
            val isInRange = contract.window <= MAX_INPUT_SIZE && contract.window.toLong() * contract.channels.size <= MAX_INPUT_SIZE
            if (contract.units.size != contract.channels.size || !isPositive || !isInRange) {
                throw InputException("$where is inconsistent: rate, window and hop must be positive, with one unit per channel")
            }
            return contract
        }

        private fun strings(array: JSONArray): List<String> = List(array.length()) { array.getString(it) }

        private fun frame(json: JSONObject): Frame = Frame(json.getString("gravity"), json.getString("heading"))

        private fun lowpass(json: JSONObject): Lowpass = Lowpass(json.getInt("order"), json.getDouble("cutoff_hz"))
    }
}
