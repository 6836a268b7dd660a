package org.harexport.core

import java.util.ArrayDeque
import kotlin.math.max
import kotlin.math.sqrt

/** Output of a [Recognizer] or [LiveRecognizer]: a [Prediction] or a [Restart]. */
sealed interface RecognitionEvent

/** Reason why a prediction may be wrong. */
enum class QualityFlag {
    /** The window begins before the filters have settled. */
    SETTLING,

    /** A sensor delivered too few samples; the window consists largely of interpolated values. */
    SPARSE,

    /** The mounting of the phone is not known yet, or differs from the training data of a model without a mount stage. */
    MOUNT,
}

/**
 * The classification of one window.
 *
 * @property startNs time of the first sample, in nanoseconds of the sensor clock
 * @property endNs time of the last sample, in nanoseconds of the sensor clock
 * @property labels the contract's labels
 * @property probabilities one per label
 * @property smoothedProbabilities [probabilities] after exponential smoothing over windows
 * @property qualityFlag why the prediction may be wrong; null if no reason is known
 * @property inferenceNs duration of the inference in nanoseconds
 * @property gravityAlongX cosine of the angle between gravity and the x axis of the model, -1 to 1; null for a model
 *   without total acceleration. About 1 while upright and 0 while lying, if the mounting is right.
 * @property mountState whether the mounting is known; null for a model without a mount stage
 */
class Prediction(
    val startNs: Long,
    val endNs: Long,
    val labels: List<String>,
    val probabilities: DoubleArray,
    val smoothedProbabilities: DoubleArray,
    val qualityFlag: QualityFlag?,
    val inferenceNs: Long,
    val gravityAlongX: Double?,
    val mountState: MountState? = null,
) : RecognitionEvent {
    /** Index of the most probable label. */
    val labelIndex: Int = argmax(probabilities)

    /** Index of the label with the largest smoothed probability. */
    val smoothedLabelIndex: Int = argmax(smoothedProbabilities)
    val label: String get() = labels[labelIndex]
    val smoothedLabel: String get() = labels[smoothedLabelIndex]
}

/**
 * Activity recognition for sensors with known units and rates: preprocessing, classification and smoothing.
 *
 * [LiveRecognizer] measures the rates itself. The caller closes [classifier]. Not thread-safe. Throws [InputException] for
 * unknown units, channels or filters.
 *
 * @param units unit of each sensor's samples
 * @param averageOver per sensor, number of samples to average before resampling (see [averagingLength])
 * @param newestWeight weight of the newest window in the exponential smoothing, 0 to 1
 * @param tracker the mount stage; pass one to keep its estimate for another recognizer
 */
class Recognizer(
    private val contract: Contract,
    classifier: Classifier,
    units: Map<Sensor, String> = Sensor.ANDROID_UNITS,
    averageOver: Map<Sensor, Int> = emptyMap(),
    newestWeight: Double = Smoothing.NEWEST_WEIGHT,
    private val tracker: MountTracker = MountTracker(contract),
) {
    private val model = ValidatingClassifier(classifier, contract)
    private val stream = Stream(contract, units, averageOver, mount = tracker.mount)
    private val smoothing = Smoothing(newestWeight)
    private val arrivals = stream.sensors.associateWith { Arrivals() }
    private val gravityChannels = OrientationCheck.GRAVITY_CHANNELS.map(contract.channels::indexOf)
    private val orientation = OrientationCheck(contract)

    /** Time of the first grid sample since the last restart, in nanoseconds; null before it. Settling counts from here. */
    val startNs: Long? get() = stream.startNs

    /** The estimated mounting; null while it is unknown, and for a model without a mount stage. */
    val mountEstimate: MountEstimate? get() = tracker.estimate

    /** Samples dropped so far, per sensor. */
    val dropped: Map<Sensor, Dropped> get() = stream.dropped

    /**
     * Processes one sample and returns the predictions and restarts it caused.
     *
     * Throws [InputException] if the model cannot be run.
     *
     * @param timeNs sensor timestamp in nanoseconds
     * @param values three axes in the sensor's unit
     */
    fun push(sensor: Sensor, timeNs: Long, values: DoubleArray): List<RecognitionEvent> {
        if (values.none { it.isNaN() }) arrivals[sensor]?.push(timeNs)
        return process(stream.push(sensor, timeNs, values))
    }

    /** Ends the recording and returns the last predictions. */
    fun finish(): List<RecognitionEvent> = process(stream.flush())

    /** Uses an estimate of the mounting from standing (see [MountTracker.start]). */
    fun startFrom(estimate: MountEstimate) {
        tracker.start(estimate)
        if (tracker.state != null) stream.rotateTo(tracker.mount)
    }

    private fun process(events: List<StreamEvent>): List<RecognitionEvent> =
        events.map { event ->
            when (event) {
                is Restart -> {
                    smoothing.reset()
                    orientation.reset()
                    event
                }
                is Window -> predict(event)
            }
        }

    private fun predict(event: Window): Prediction {
        val isMountUnknown = tracker.state != null && tracker.estimate == null
        val window = tracker.toFrame(event)
        val signals = window.floats()
        val start = System.nanoTime()
        val logits = model.logits(signals)
        val inferenceNs = System.nanoTime() - start
        val probabilities = softmax(logits)
        val gravityAlongX = gravityAlongX(window)
        tracker.update(window, probabilities, stream)
        val flag =
            when {
                !window.settled -> QualityFlag.SETTLING
                isMountUnknown -> QualityFlag.MOUNT
                isSparse(window) -> QualityFlag.SPARSE
                orientation.isViolated(contract.labels[argmax(probabilities)], gravityAlongX) -> QualityFlag.MOUNT
                else -> null
            }
        return Prediction(
            startNs = window.startNs,
            endNs = window.endNs,
            labels = contract.labels,
            probabilities = probabilities,
            smoothedProbabilities = smoothing.push(probabilities, isFlagged = flag != null),
            qualityFlag = flag,
            inferenceNs = inferenceNs,
            gravityAlongX = gravityAlongX,
            mountState = tracker.state,
        )
    }

    private fun isSparse(window: Window): Boolean =
        arrivals.values.minOf { it.count(window.startNs, window.endNs) } < MIN_SAMPLE_SHARE * contract.window

    private fun gravityAlongX(window: Window): Double? {
        if (gravityChannels.any { it < 0 }) return null
        val width = contract.channels.size
        val mean =
            DoubleArray(3) { axis ->
                (0 until contract.window).sumOf { window.signals[it * width + gravityChannels[axis]] } / contract.window
            }
        return mean[0] / max(sqrt(mean.sumOf { it * it }), 1e-9)
    }

    /** Timestamps of one sensor's samples, back to the start of the next window. */
    private class Arrivals {
        private val times = ArrayDeque<Long>()
        private var lastNs: Long? = null

        fun push(timeNs: Long) {
            val last = lastNs
            if (last != null && timeNs <= last) {
                if (timeNs >= last - GAP_SECONDS * SECOND) return
                times.clear() // the clock was reset
            }
            times.add(timeNs)
            lastNs = timeNs
        }

        /** Returns the number of samples from [startNs] to [endNs] and forgets earlier ones. */
        fun count(startNs: Long, endNs: Long): Int {
            while (times.isNotEmpty() && times.first < startNs) times.removeFirst()
            return times.count { it <= endNs }
        }
    }

    private companion object {
        /** Minimum share of a window's samples that a sensor must have delivered. */
        const val MIN_SAMPLE_SHARE = 0.9
    }
}
