package org.harexport.demo

import java.io.File
import org.harexport.core.Contract
import org.harexport.core.LiveRecognizer
import org.harexport.core.Prediction
import org.harexport.core.Restart
import org.harexport.core.RestartCause
import org.harexport.core.SECOND
import org.harexport.core.SensorProblem
import org.harexport.recognition.TfliteClassifier

/**
 * A recording after it went through the model.
 *
 * @property seconds duration
 * @property predicted the predictions, from 0 ms on
 * @property labeled the labels of the recording in the same time
 * @property windows number of reliable windows that have one label of the model
 * @property matching how many of them have the predicted label
 * @property problem why there is no prediction; null if there is one
 */
class ReplayResult(
    val name: String,
    val seconds: Double,
    val predicted: Timeline,
    val labeled: Timeline,
    val windows: Int,
    val matching: Int,
    val restarts: List<RestartCause>,
    val problem: SensorProblem?,
)

/** Runs recordings through a model as if they were measured now. */
object Replay {
    /** Throws InputException if [file] is not a recording or the model cannot be run. */
    fun run(file: File, model: VerifiedModel): ReplayResult {
        val recording = RecordingFolder.read(file)
        val startNs = recording.samples.minOf { it.timeNs }
        val endNs = recording.samples.maxOf { it.timeNs }
        val predictions = ArrayList<Prediction>()
        val restarts = ArrayList<RestartCause>()
        var problem: SensorProblem? = null
        TfliteClassifier(model.bytes, model.contract).use { classifier ->
            val recognizer = LiveRecognizer(model.contract, classifier)
            for (event in recognizer.push(recording.samples) + recognizer.finish()) {
                when (event) {
                    is Prediction -> predictions += event
                    is Restart -> restarts += event.cause
                }
            }
            if (predictions.isEmpty()) problem = recognizer.problem
        }
        val hop = model.contract.hop / model.contract.rateHz
        var predicted = Timeline()
        for (prediction in predictions) predicted = predicted.plus(prediction, (prediction.endNs - startNs) / NS_IN_MS, hop)
        val labeled = labels(recording, startNs)
        val compared = predictions.filter { it.qualityFlag == null }.mapNotNull { prediction ->
            val from = (prediction.startNs - startNs) / NS_IN_MS
            val to = (prediction.endNs - startNs) / NS_IN_MS
            val label = labeled.segments.filter { it.endMs >= from && it.startMs <= to }.map { it.label }.distinct().singleOrNull()
            if (label != null && label in model.contract.labels) label == prediction.smoothedLabel else null
        }
        return ReplayResult(
            name = file.name,
            seconds = (endNs - startNs).toDouble() / SECOND,
            predicted = predicted,
            labeled = labeled,
            windows = compared.size,
            matching = compared.count { it },
            restarts = restarts,
            problem = problem,
        )
    }

    private fun labels(recording: LabeledRecording, startNs: Long): Timeline {
        val segments = ArrayList<Segment>()
        for ((k, sample) in recording.samples.withIndex()) {
            val label = recording.labels[k].ifEmpty { null }
            val time = (sample.timeNs - startNs) / NS_IN_MS
            val last = segments.lastOrNull()
            if (last != null && last.label == label) segments[segments.lastIndex] = last.copy(endMs = maxOf(last.endMs, time))
            else segments += Segment(label, time, time)
        }
        return Timeline(segments)
    }

    private const val NS_IN_MS = 1_000_000L
}
