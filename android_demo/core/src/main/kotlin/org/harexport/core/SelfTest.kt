package org.harexport.core

import java.io.File
import java.io.IOException
import kotlin.math.abs
import kotlin.math.max

/**
 * How this phone compares with Python on the golden vectors. [maxSignalDifference] is the chain's, [maxLogitDifference] the
 * model's; [sameAnswers] of [windows] got the same label (a tie need not); [moved] is how far logits of a window move when
 * another one was asked in between. [failures] are sentences; without any, everything held.
 */
data class Parity(
    val windows: Int,
    val sameAnswers: Int,
    val maxSignalDifference: Double,
    val maxLogitDifference: Double,
    val moved: Double,
    val failures: List<String>,
) {
    val passed: Boolean get() = failures.isEmpty()
}

/**
 * What a phone measured: [logits] of each window, [timesUs] of single runs by rounds, all of the same length; [loadMs] is the
 * loading of the model and [firstAnswerMs] its first window after that.
 */
class Measured(
    val logits: List<FloatArray>,
    val timesUs: List<DoubleArray>,
    val loadMs: Double,
    val firstAnswerMs: Double,
) {
    val latency: Latency get() = Latency.of(timesUs.flatMap { it.asIterable() }.toDoubleArray())
}

/** The self-test: parity with Python, and latency. [clock] is in nanoseconds. */
class SelfTest(private val contract: Contract, private val clock: () -> Long = System::nanoTime) {
    /** Runs [golden] through the chain and through [classifier]. Throws [BadInput] where the model cannot be run at all. */
    fun parity(classifier: Classifier, golden: Golden): Parity {
        val model = Checked(classifier, contract)
        val failures = ArrayList<String>()
        val windows = chain(golden)
        var signals = 0.0
        if (windows.size == golden.windows.size) {
            for ((made, wanted) in windows.zip(golden.windows)) signals = max(signals, difference(made.signals, wanted))
        } else {
            signals = Double.POSITIVE_INFINITY
            failures += "The chain made ${windows.size} windows of the golden samples; Python made ${golden.windows.size}."
        }
        if (windows.size == golden.windows.size && !(signals <= golden.maxSignalDifference)) {
            failures +=
                "The chain's signals differ from Python's by ${short(signals)}; " +
                    "at most ${short(golden.maxSignalDifference)} is right."
        }
        val asked = golden.windows.map { window -> FloatArray(window.size) { window[it].toFloat() } }
        val answers = asked.map { model.logits(it) }
        var logits = 0.0
        var same = 0
        var slips = 0
        for ((answer, wanted) in answers.zip(golden.logits)) {
            logits = max(logits, difference(DoubleArray(answer.size) { answer[it].toDouble() }, wanted))
            if (argmax(answer) == argmax(wanted)) {
                same++
            } else if (lead(wanted) > 2 * golden.maxLogitDifference) { // nearer, two logits may change places and be right
                slips++
            }
        }
        if (!(logits <= golden.maxLogitDifference)) {
            failures +=
                "The model's answers differ from Python's by ${short(logits)}; " +
                    "at most ${short(golden.maxLogitDifference)} is right."
        }
        if (slips > 0) {
            failures += "Only $same of ${answers.size} windows got the same answer as in Python."
        }
        val moved = asked.indices.maxOf { k ->
            model.logits(asked[k])
            model.logits(asked[(k + 1) % asked.size])
            difference(model.logits(asked[k]), answers[k])
        }
        if (!(moved <= STATELESS)) {
            failures += "The model remembers the window before: the same window's answer moved by ${short(moved)}."
        }
        return Parity(answers.size, same, signals, logits, moved, failures)
    }

    /** The windows that the chain makes of the golden samples. */
    fun chain(golden: Golden): List<Window> {
        val stream = Stream(contract, golden.units, golden.meanOf)
        val events = golden.samples.flatMap { stream.push(it.sensor, it.timeNs, it.values) } + stream.flush()
        return events.filterIsInstance<Window>()
    }

    /**
     * Loads a model by [load], asks it every window once, then times single windows: a warm-up, and at least [LEAST_ROUNDS]
     * rounds of [RUNS] runs, more for a quick model. [window] gives the k-th of [count] windows. [progress] is told the share
     * that is done, 0 to 1, and may throw to end everything. The model is closed. Throws [BadInput].
     */
    fun measure(load: () -> Classifier, count: Int, window: (Int) -> FloatArray, progress: (Double) -> Unit = {}): Measured {
        require(count > 0) { "no windows" }
        val began = clock()
        val classifier = load()
        val loaded = clock()
        return classifier.use {
            val model = Checked(it, contract)
            val first = window(0)
            val asked = clock()
            model.logits(first)
            val answered = clock()
            val logits = List(count) { k ->
                progress(HALF * k / count)
                model.logits(window(k))
            }
            val timed = List(minOf(count, TIMED_WINDOWS), window)
            repeat(WARM_UP) { k -> model.logits(timed[k % timed.size]) }
            val times = ArrayList<DoubleArray>()
            val until = clock() + BUDGET_NS
            while (times.size < LEAST_ROUNDS || (times.size < MOST_ROUNDS && clock() < until)) {
                val done = times.size
                times += DoubleArray(RUNS) { k -> timed(it, timed[(done * RUNS + k) % timed.size]) }
                progress(HALF + HALF * minOf(1.0, times.size.toDouble() / MOST_ROUNDS))
            }
            progress(1.0)
            Measured(logits, times, ms(loaded - began), ms(answered - asked))
        }
    }

    private fun timed(classifier: Classifier, window: FloatArray): Double {
        val began = clock()
        classifier.logits(window)
        return max(1L, clock() - began) / 1e3
    }

    private fun difference(one: FloatArray, other: FloatArray): Double =
        one.indices.fold(0.0) { most, k -> max(most, abs(one[k].toDouble() - other[k].toDouble())) }

    private fun difference(one: DoubleArray, other: DoubleArray): Double =
        one.indices.fold(0.0) { most, k -> max(most, abs(one[k] - other[k])) }

    /** By how much the largest number leads. */
    private fun lead(numbers: DoubleArray): Double {
        val sorted = numbers.sortedArray()
        return if (sorted.size < 2) Double.POSITIVE_INFINITY else sorted[sorted.size - 1] - sorted[sorted.size - 2]
    }

    private fun ms(ns: Long): Double = ns / 1e6

    private fun short(number: Double): String = String.format(java.util.Locale.ROOT, "%.2g", number)

    companion object {
        const val LEAST_ROUNDS: Int = 8
        const val MOST_ROUNDS: Int = 40
        const val RUNS: Int = 25
        private const val WARM_UP = 50
        private const val TIMED_WINDOWS = 256
        private const val HALF = 0.5

        /** A model that takes longer than this for [MOST_ROUNDS] gets fewer. */
        private const val BUDGET_NS = 5 * SECOND

        /** What a window may owe to the one before. */
        const val STATELESS: Double = 1e-6

        /** The most memory that this process has held (VmHWM of /proc/self/status), in bytes; null where it is not told. */
        fun peakBytes(status: File = File("/proc/self/status")): Long? =
            try {
                val line = status.readLines().firstOrNull { it.startsWith("VmHWM:") }
                line?.filter(Char::isDigit)?.toLongOrNull()?.let { it * 1024 }
            } catch (_: IOException) {
                null
            }
    }
}
