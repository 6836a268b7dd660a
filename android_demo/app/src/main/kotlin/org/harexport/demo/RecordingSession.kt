package org.harexport.demo

import android.content.Context
import android.os.Handler
import android.os.HandlerThread
import android.os.SystemClock
import java.io.File
import java.io.OutputStream
import java.text.SimpleDateFormat
import java.util.ArrayDeque
import java.util.Date
import java.util.Locale
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch
import org.harexport.core.InputException
import org.harexport.core.RecordingStopped
import org.harexport.core.RecordingWriter
import org.harexport.core.SECOND
import org.harexport.core.Sensor
import org.harexport.core.SensorMonitor
import org.harexport.core.SensorProblem
import org.harexport.recognition.SensorFeed

/** What a recording is doing. */
enum class RecordingPhase {
    IDLE,

    /** The countdown before the first sample. */
    COUNTDOWN,
    RECORDING,

    /** The rest is being written. */
    SAVING,
}

/**
 * The state of recording at one moment.
 *
 * @property countdownSeconds remaining time of the countdown
 * @property elapsedMs duration in milliseconds
 * @property label label of the samples that arrive now
 * @property samples samples written so far, per sensor
 * @property problem a problem of the sensors; null for none
 * @property result a message about the last recording; null before its end
 * @property isFailure whether the last recording ended early or failed
 */
data class RecordingState(
    val phase: RecordingPhase = RecordingPhase.IDLE,
    val countdownSeconds: Int = 0,
    val elapsedMs: Long = 0,
    val label: String = "",
    val samples: Map<Sensor, Long> = emptyMap(),
    val problem: SensorProblem? = null,
    val result: String? = null,
    val isFailure: Boolean = false,
) {
    /** Whether sensors are read or about to be. */
    val isActive: Boolean get() = phase == RecordingPhase.COUNTDOWN || phase == RecordingPhase.RECORDING
}

/**
 * One labeled recording at a time; publishes [state].
 *
 * Samples arrive and files are written on the sensor thread. All other methods are called on the main thread and do not
 * wait for the storage.
 */
class RecordingSession(
    private val context: Context,
    private val scope: CoroutineScope,
    private val folder: () -> File?,
    private val open: (File) -> OutputStream,
) {
    private class Sample(val sensor: Sensor, val timeNs: Long, val values: FloatArray, val label: String)

    private val handler by lazy { Handler(HandlerThread("recording").apply { start() }.looper) }
    private val feed by lazy { SensorFeed(context, handler, ::onSample) }
    private val lock = Any() // guards writer and pending
    private var writer: RecordingWriter? = null
    private val pending = ArrayDeque<Sample>()
    private var trimNs = 0L
    private var firstNs: Long? = null
    private var startedAt = 0L
    private var ticker: Job? = null
    private val mutable = MutableStateFlow(RecordingState())
    val state: StateFlow<RecordingState> = mutable

    @Volatile private var label = ""

    @Volatile private var monitor: SensorMonitor? = null

    /** The sensors of this phone. */
    val sensors: List<Sensor> get() = Sensor.entries.filter { it in feed.available }

    /** Starts a recording with [label] at [rateHz], after the countdown of [choices]. A failure is reported in [state]. */
    fun start(label: String, rateHz: Double, choices: Choices) {
        if (mutable.value.phase != RecordingPhase.IDLE) return
        this.label = label
        mutable.value = RecordingState(RecordingPhase.COUNTDOWN, choices.countdownSeconds, label = label)
        ticker = scope.launch {
            for (remaining in choices.countdownSeconds downTo 1) {
                mutable.update { it.copy(countdownSeconds = remaining) }
                delay(MS)
            }
            begin(rateHz, choices)
            while (mutable.value.phase == RecordingPhase.RECORDING) {
                delay(LiveSession.TICK_MS)
                publish()
            }
        }
    }

    private fun begin(rateHz: Double, choices: Choices) {
        try {
            if (sensors.isEmpty()) throw InputException(context.getString(R.string.record_no_sensors))
            val folder = folder() ?: throw InputException(context.getString(R.string.record_no_storage))
            val opened = RecordingWriter(folder, fileName(choices, label), sensors, choices.subject, open)
            synchronized(lock) {
                writer = opened
                pending.clear()
                trimNs = choices.trimSeconds * SECOND
                firstNs = null
            }
            monitor = SensorMonitor(sensors, rateHz, SystemClock::elapsedRealtimeNanos)
            startedAt = SystemClock.elapsedRealtime()
            mutable.value = RecordingState(RecordingPhase.RECORDING, label = label, samples = opened.samples)
            feed.start(sensors, rateHz, BATCH_SECONDS)?.let { problem -> end { context.describe(problem) to true } }
        } catch (error: InputException) {
            mutable.value = RecordingState(result = errorMessage(error), isFailure = true)
        }
    }

    /** Changes the label of the following samples. */
    fun changeLabel(label: String) {
        this.label = label
        mutable.update { it.copy(label = label) }
    }

    /** Ends the recording, or the countdown. */
    fun stop() {
        if (mutable.value.phase == RecordingPhase.COUNTDOWN) {
            ticker?.cancel()
            mutable.value = RecordingState()
            return
        }
        end { file ->
            if (file == null) context.getString(R.string.record_nothing) to true
            else context.getString(R.string.record_saved, file.name) to false
        }
    }

    private fun publish() {
        val samples = synchronized(lock) { writer?.samples } ?: return
        val elapsedMs = SystemClock.elapsedRealtime() - startedAt
        val problem = monitor?.problem()
        mutable.update { if (it.phase == RecordingPhase.RECORDING) it.copy(elapsedMs = elapsedMs, samples = samples, problem = problem) else it }
    }

    private fun onSample(sensor: Sensor, timeNs: Long, values: FloatArray) {
        synchronized(lock) {
            val writer = writer ?: return // rest of a batch
            monitor?.push(sensor, timeNs)
            val first = firstNs ?: timeNs.also { firstNs = it }
            if (timeNs - first in 0 until trimNs) return
            pending.addLast(Sample(sensor, timeNs, values.copyOf(), label))
            try {
                // The last seconds are left out as well, so they are not written before they are older than that.
                while (pending.isNotEmpty() && (timeNs - pending.first.timeNs >= trimNs || timeNs < pending.first.timeNs)) {
                    val oldest = pending.removeFirst()
                    writer.label = oldest.label
                    writer.write(oldest.sensor, oldest.timeNs, oldest.values)
                }
            } catch (stopped: RecordingStopped) {
                feed.stop()
                close(writer, context.describe(stopped) to true)
            }
        }
    }

    /** Ends the recording. The sensor thread writes the rest and then calls [describe] with the file. */
    private fun end(describe: (File?) -> Pair<String, Boolean>) {
        if (mutable.value.phase != RecordingPhase.RECORDING) return
        publish()
        mutable.update { it.copy(phase = RecordingPhase.SAVING) }
        feed.flush()
        handler.post {
            feed.stop()
            synchronized(lock) {
                // The writer is null if writing has just failed, which is already reported.
                writer?.let { close(it, save(it, describe)) }
            }
        }
    }

    private fun save(writer: RecordingWriter, describe: (File?) -> Pair<String, Boolean>): Pair<String, Boolean> =
        try {
            describe(writer.finish())
        } catch (stopped: RecordingStopped) {
            context.describe(stopped) to true
        }

    /** Resets the session after its file is complete. */
    private fun close(ended: RecordingWriter, result: Pair<String, Boolean>) {
        writer = null
        monitor = null
        pending.clear()
        mutable.update {
            it.copy(phase = RecordingPhase.IDLE, samples = ended.samples, problem = null, result = result.first, isFailure = result.second)
        }
    }

    companion object {
        private const val MS = 1_000L
        private const val BATCH_SECONDS = 0.5

        /** Returns the name of a new recording, without its suffix: who, label, placement and time. */
        fun fileName(choices: Choices, label: String): String {
            val time = SimpleDateFormat("yyyyMMdd-HHmmss", Locale.ROOT).format(Date())
            return listOf(choices.subject, label.lowercase(Locale.ROOT), choices.placement.code, time).filter { it.isNotBlank() }.joinToString("-")
        }
    }
}
