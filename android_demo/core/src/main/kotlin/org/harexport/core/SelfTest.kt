package org.harexport.core

import java.io.File
import java.io.IOException
import kotlin.math.abs
import kotlin.math.max

/**
 * Comparison with the golden vectors that were computed in Python.
 *
 * @property windows number of golden windows
 * @property matchingLabels windows with the same predicted label (a tie need not match)
 * @property maxSignalDifference largest difference of the preprocessing, in the contract's units
 * @property maxLogitDifference largest difference of a logit
 * @property stateResidual largest change of a window's logits after another window was run in between
 * @property failures one message per failed check; empty if all passed
 */
data class Parity(
    val windows: Int,
    val matchingLabels: Int,
    val maxSignalDifference: Double,
    val maxLogitDifference: Double,
    val stateResidual: Double,
    val failures: List<String>,
) {
    val passed: Boolean get() = failures.isEmpty()
}

/**
 * Measurements of a model on this phone.
 *
 * @property logits logits of each window
 * @property timesUs latency of single runs in microseconds, by rounds of the same length
 * @property loadMs time to load the model in milliseconds
 * @property firstInferenceMs time of the first inference after loading, in milliseconds
 */
class Measurement(
    val logits: List<FloatArray>,
    val timesUs: List<DoubleArray>,
    val loadMs: Double,
    val firstInferenceMs: Double,
) {
    val latency: Latency get() = Latency.of(timesUs.flatMap { it.asIterable() }.toDoubleArray())
}

/** Compares a phone with Python and measures latency. [clock] is in nanoseconds. */
class SelfTest(private val contract: Contract, private val clock: () -> Long = System::nanoTime) {
    /** Runs [golden] through the preprocessing and [classifier]. Throws [InputException] if the model cannot be run. */
    fun checkParity(classifier: Classifier, golden: GoldenVectors): Parity {
        val model = ValidatingClassifier(classifier, contract)
        val failures = ArrayList<String>()
        val windows = preprocess(golden)
        var signals = 0.0
        if (windows.size == golden.windows.size) {
            for ((actual, expected) in windows.zip(golden.windows)) signals = max(signals, maxDifference(actual.signals, expected))
        } else {
            signals = Double.POSITIVE_INFINITY
            failures += "Preprocessing produced ${windows.size} windows instead of ${golden.windows.size}."
        }
        if (windows.size == golden.windows.size && !(signals <= golden.maxSignalDifference)) {
            failures +=
                "Preprocessed signals differ from Python by ${format(signals)}; " +
                    "the tolerance is ${format(golden.maxSignalDifference)}."
        }
        val inputs = golden.windows.map { window -> FloatArray(window.size) { window[it].toFloat() } }
        val outputs = inputs.map { model.logits(it) }
        var logits = 0.0
        var matching = 0
        var mismatches = 0
        for ((output, expected) in outputs.zip(golden.logits)) {
            logits = max(logits, maxDifference(DoubleArray(output.size) { output[it].toDouble() }, expected))
            if (argmax(output) == argmax(expected)) {
                matching++
            } else if (margin(expected) > 2 * golden.maxLogitDifference) { // within the tolerance, the order may change
                mismatches++
            }
        }
        if (!(logits <= golden.maxLogitDifference)) {
            failures +=
                "Logits differ from Python by ${format(logits)}; " +
                    "the tolerance is ${format(golden.maxLogitDifference)}."
        }
        if (mismatches > 0) {
            failures += "Only $matching of ${outputs.size} windows have the same label as in Python."
        }
        val stateResidual = inputs.indices.maxOf { k ->
            model.logits(inputs[k])
            model.logits(inputs[(k + 1) % inputs.size])
            maxDifference(model.logits(inputs[k]), outputs[k])
        }
        if (!(stateResidual <= STATE_TOLERANCE)) {
            failures += "Predictions depend on the previous window: logits changed by ${format(stateResidual)}."
        }
        return Parity(outputs.size, matching, signals, logits, stateResidual, failures)
    }

    /** Returns the windows that the preprocessing computes from the golden samples. */
    fun preprocess(golden: GoldenVectors): List<Window> {
        val stream = Stream(contract, golden.units, golden.averageOver)
        val events = golden.samples.flatMap { stream.push(it.sensor, it.timeNs, it.values) } + stream.flush()
        return events.filterIsInstance<Window>()
    }

    /**
     * Loads a model, runs every window once, then measures the latency of single windows.
     *
     * After a warm-up, at least [MIN_ROUNDS] rounds of [RUNS] runs are measured, more for a fast model. The model is
     * closed. Throws [InputException].
     *
     * @param load loads the model
     * @param count number of windows
     * @param window returns a window by index
     * @param progress receives the completed share, 0 to 1; it may throw to cancel
     */
    fun measure(load: () -> Classifier, count: Int, window: (Int) -> FloatArray, progress: (Double) -> Unit = {}): Measurement {
        require(count > 0) { "no windows" }
        val start = clock()
        val classifier = load()
        val loaded = clock()
        return classifier.use {
            val model = ValidatingClassifier(it, contract)
            val first = window(0)
            val firstStart = clock()
            model.logits(first)
            val firstEnd = clock()
            val logits = List(count) { k ->
                progress(HALF * k / count)
                model.logits(window(k))
            }
            val timedWindows = List(minOf(count, TIMED_WINDOWS), window)
            repeat(WARM_UP) { k -> model.logits(timedWindows[k % timedWindows.size]) }
            val times = ArrayList<DoubleArray>()
            val until = clock() + BUDGET_NS
            while (times.size < MIN_ROUNDS || (times.size < MAX_ROUNDS && clock() < until)) {
                val done = times.size
                times += DoubleArray(RUNS) { k -> measureRun(it, timedWindows[(done * RUNS + k) % timedWindows.size]) }
                progress(HALF + HALF * minOf(1.0, times.size.toDouble() / MAX_ROUNDS))
            }
            progress(1.0)
            Measurement(logits, times, ms(loaded - start), ms(firstEnd - firstStart))
        }
    }

    private fun measureRun(classifier: Classifier, window: FloatArray): Double {
        val start = clock()
        classifier.logits(window)
        return max(1L, clock() - start) / 1e3
    }

    private fun maxDifference(actual: FloatArray, expected: FloatArray): Double =
        actual.indices.fold(0.0) { largest, k -> max(largest, abs(actual[k].toDouble() - expected[k].toDouble())) }

    private fun maxDifference(actual: DoubleArray, expected: DoubleArray): Double =
        actual.indices.fold(0.0) { largest, k -> max(largest, abs(actual[k] - expected[k])) }

    /** Returns the difference of the largest and the second largest value. */
    private fun margin(values: DoubleArray): Double {
        val sorted = values.sortedArray()
        return if (sorted.size < 2) Double.POSITIVE_INFINITY else sorted[sorted.size - 1] - sorted[sorted.size - 2]
    }

    private fun ms(ns: Long): Double = ns / 1e6

    private fun format(value: Double): String = String.format(java.util.Locale.ROOT, "%.2g", value)

    companion object {
        const val MIN_ROUNDS: Int = 8
        const val MAX_ROUNDS: Int = 40
        const val RUNS: Int = 25
        private const val WARM_UP = 50
        private const val TIMED_WINDOWS = 256
        private const val HALF = 0.5

        /** Time limit for rounds beyond [MIN_ROUNDS]. */
        private const val BUDGET_NS = 5 * SECOND

        /** Maximum change of a logit caused by the previous window. */
        const val STATE_TOLERANCE: Double = 1e-6

        /**
         * Returns the peak memory of this process in bytes (VmHWM of /proc/self/status); null if it is not available.
         */
        fun peakBytes(status: File = File("/proc/self/status")): Long? =
            try {
                val line = status.readLines().firstOrNull { it.startsWith("VmHWM:") }
                line?.filter(Char::isDigit)?.toLongOrNull()?.let { it * 1024 }
            } catch (_: IOException) {
                null
            }
    }
}
