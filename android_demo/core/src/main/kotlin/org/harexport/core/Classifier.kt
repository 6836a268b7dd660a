package org.harexport.core

import kotlin.math.exp

/** What runs a model; [xnnpack] is whether it was asked for, null where that is not known. */
data class RuntimeInfo(val name: String, val version: String, val xnnpack: Boolean?)

/** A model, loaded. Not for several threads at once. */
interface Classifier : AutoCloseable {
    val runtime: RuntimeInfo

    /**
     * The logits of one window, `contract.inputSize` numbers, sample after sample. What was asked before has no influence.
     *
     * Throws [BadInput] where the model cannot be run.
     */
    fun logits(window: FloatArray): FloatArray
}

/**
 * [inner], with every input and answer looked at: throws [BadInput] for a window of another size, for numbers in it that
 * are none, and for answers that are none or not one a label.
 */
class Checked(private val inner: Classifier, private val contract: Contract) : Classifier by inner {
    override fun logits(window: FloatArray): FloatArray {
        if (window.size != contract.inputSize) {
            throw BadInput(
                "a window has ${window.size} numbers; the model reads ${contract.inputSize}: ${contract.window} samples of " +
                    "${contract.channels.size} channels",
            )
        }
        val bad = window.indexOfFirst { it.isNaN() || it.isInfinite() }
        if (bad >= 0) {
            throw BadInput(
                "a window holds ${window[bad]} in sample ${bad / contract.channels.size}, " +
                    "channel ${contract.channels[bad % contract.channels.size]}",
            )
        }
        val logits = inner.logits(window)
        if (logits.size != contract.labels.size) {
            throw BadInput("the model answers ${logits.size} numbers, and the contract has ${contract.labels.size} labels")
        }
        if (logits.any { it.isNaN() || it.isInfinite() }) {
            throw BadInput("the model answers numbers that are none (NaN or infinity): this phone's runtime cannot run it")
        }
        return logits
    }
}

/** Probabilities of logits; they sum to 1. */
fun softmax(logits: FloatArray): DoubleArray {
    val largest = logits.fold(Double.NEGATIVE_INFINITY) { most, logit -> maxOf(most, logit.toDouble()) }
    val shares = DoubleArray(logits.size) { exp(logits[it].toDouble() - largest) }
    val sum = shares.sum()
    return DoubleArray(shares.size) { shares[it] / sum }
}

/** Where the largest number is; the first of several. */
fun argmax(numbers: DoubleArray): Int = numbers.indices.fold(0) { best, k -> if (numbers[k] > numbers[best]) k else best }

/** Where the largest number is; the first of several. */
fun argmax(numbers: FloatArray): Int = numbers.indices.fold(0) { best, k -> if (numbers[k] > numbers[best]) k else best }
