package org.harexport.core

import kotlin.math.exp

/** Name and version of an inference runtime. [xnnpack] is whether XNNPACK was requested, null if unknown. */
data class RuntimeInfo(val name: String, val version: String, val xnnpack: Boolean?)

/** A loaded model. Not thread-safe. */
interface Classifier : AutoCloseable {
    val runtime: RuntimeInfo

    /**
     * Returns the logits of one window, one per label. The result does not depend on earlier windows.
     *
     * Throws [InputException] if the model cannot be run.
     *
     * @param window `contract.inputSize` values, one sample after the other, in the contract's units
     */
    fun logits(window: FloatArray): FloatArray
}

/**
 * Validates every input and output of [inner].
 *
 * Throws [InputException] for a window of the wrong size or with NaN or infinite values, and for logits that are not
 * finite or not one per label.
 */
class ValidatingClassifier(private val inner: Classifier, private val contract: Contract) : Classifier by inner {
    override fun logits(window: FloatArray): FloatArray {
        if (window.size != contract.inputSize) {
            throw InputException(
                "the window has ${window.size} values; the model requires ${contract.inputSize}: ${contract.window} samples of " +
                    "${contract.channels.size} channels",
            )
        }
        val bad = window.indexOfFirst { it.isNaN() || it.isInfinite() }
        if (bad >= 0) {
            throw InputException(
                "the window contains ${window[bad]} in sample ${bad / contract.channels.size}, " +
                    "channel ${contract.channels[bad % contract.channels.size]}",
            )
        }
        val logits = inner.logits(window)
        if (logits.size != contract.labels.size) {
            throw InputException("the model returns ${logits.size} logits for the ${contract.labels.size} labels of the contract; export both together")
        }
        if (logits.any { it.isNaN() || it.isInfinite() }) {
            throw InputException("the model returns NaN or infinite logits; this phone's runtime cannot run it")
        }
        return logits
    }
}

/** Returns the softmax of [logits]. */
fun softmax(logits: FloatArray): DoubleArray {
    val largest = logits.fold(Double.NEGATIVE_INFINITY) { most, logit -> maxOf(most, logit.toDouble()) }
    val exponentials = DoubleArray(logits.size) { exp(logits[it].toDouble() - largest) }
    val sum = exponentials.sum()
    return DoubleArray(exponentials.size) { exponentials[it] / sum }
}

/** Returns the index of the largest value, the first one of equal values. */
fun argmax(values: DoubleArray): Int = values.indices.fold(0) { best, k -> if (values[k] > values[best]) k else best }

/** Returns the index of the largest value, the first one of equal values. */
fun argmax(values: FloatArray): Int = values.indices.fold(0) { best, k -> if (values[k] > values[best]) k else best }
