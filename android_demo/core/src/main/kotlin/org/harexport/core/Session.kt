package org.harexport.core

import java.util.ArrayDeque
import kotlin.math.max
import kotlin.math.sqrt

/** What a [Session] or [Live] tells: an [Answer] or a [Restart]. */
sealed interface Told

/** Why an answer may be wrong. */
enum class Doubt {
    /** The filters have just started. */
    SETTLING,

    /** A sensor gave too few samples: it is interpolation that was judged. */
    SPARSE,
}

/**
 * What a window was taken for; times in nanoseconds by the phone's clock.
 *
 * [activity] and [smoothed] are places in [labels], by [probabilities] and by [smoothedProbabilities]. [inferenceNs] is what
 * the model took. [upright] is the part of gravity along the phone's x axis, -1 to 1: the phones of the data set were worn
 * at the waist with that axis up; null for a model without total acceleration.
 */
class Answer(
    val startNs: Long,
    val endNs: Long,
    val labels: List<String>,
    val probabilities: DoubleArray,
    val smoothedProbabilities: DoubleArray,
    val doubt: Doubt?,
    val inferenceNs: Long,
    val upright: Double?,
) : Told {
    val activity: Int = argmax(probabilities)
    val smoothed: Int = argmax(smoothedProbabilities)
    val label: String get() = labels[activity]
    val smoothedLabel: String get() = labels[smoothed]
}

/**
 * Samples in, answers and restarts out: the chain, the model and the smoothing of one phone whose units and rates are known.
 *
 * [Live] finds out the rates by itself. The classifier's answers are checked; closing it is the caller's. Not for several
 * threads at once. Throws [BadInput] for units, channels or filters that do not exist.
 */
class Session(
    private val contract: Contract,
    classifier: Classifier,
    units: Map<Sensor, String> = Sensor.ANDROID_UNITS,
    meanOf: Map<Sensor, Int> = emptyMap(),
    newest: Double = Smoothing.NEWEST,
) {
    private val model = Checked(classifier, contract)
    private val stream = Stream(contract, units, meanOf)
    private val smoothing = Smoothing(newest)
    private val arrivals = stream.sensors.associateWith { Arrivals() }
    private val gravity = listOf("total_acc_x", "total_acc_y", "total_acc_z").map(contract.channels::indexOf)

    /** The first time of the grid since it last began: settling counts from here. Null where it has not begun. */
    val startNs: Long? get() = stream.startNs

    /** What was left out so far, a sensor. */
    val dropped: Map<Sensor, Dropped> get() = stream.dropped

    /** One sample, three axes. Throws [BadInput] where the model cannot answer. */
    fun push(sensor: Sensor, timeNs: Long, values: DoubleArray): List<Told> {
        if (values.none { it.isNaN() }) arrivals[sensor]?.push(timeNs)
        return told(stream.push(sensor, timeNs, values))
    }

    /** The recording has ended. */
    fun finish(): List<Told> = told(stream.flush())

    private fun told(events: List<StreamEvent>): List<Told> =
        events.map { event ->
            when (event) {
                is Restart -> event.also { smoothing.reset() }
                is Window -> answer(event)
            }
        }

    private fun answer(window: Window): Answer {
        val signals = window.floats()
        val began = System.nanoTime()
        val logits = model.logits(signals)
        val taken = System.nanoTime() - began
        val probabilities = softmax(logits)
        val doubt = if (!window.settled) Doubt.SETTLING else if (isSparse(window)) Doubt.SPARSE else null
        return Answer(
            startNs = window.startNs,
            endNs = window.endNs,
            labels = contract.labels,
            probabilities = probabilities,
            smoothedProbabilities = smoothing.push(probabilities, doubtful = doubt != null),
            doubt = doubt,
            inferenceNs = taken,
            upright = upright(window),
        )
    }

    private fun isSparse(window: Window): Boolean =
        arrivals.values.minOf { it.within(window.startNs, window.endNs) } < SPARSE * contract.window

    private fun upright(window: Window): Double? {
        if (gravity.any { it < 0 }) return null
        val width = contract.channels.size
        val mean =
            DoubleArray(3) { axis ->
                (0 until contract.window).sumOf { window.signals[it * width + gravity[axis]] } / contract.window
            }
        return mean[0] / max(sqrt(mean.sumOf { it * it }), 1e-9)
    }

    /** The times of one sensor's samples, as far as windows still to come may ask for them. */
    private class Arrivals {
        private val times = ArrayDeque<Long>()
        private var lastNs: Long? = null

        fun push(timeNs: Long) {
            val last = lastNs
            if (last != null && timeNs <= last) {
                if (timeNs >= last - GAP_SECONDS * SECOND) return
                times.clear() // the clock ran back
            }
            times.add(timeNs)
            lastNs = timeNs
        }

        fun within(startNs: Long, endNs: Long): Int {
            while (times.isNotEmpty() && times.first < startNs) times.removeFirst()
            return times.count { it <= endNs }
        }
    }

    private companion object {
        /** Of the samples that a window should be made of; fewer, and it is made of interpolation. */
        const val SPARSE = 0.9
    }
}
