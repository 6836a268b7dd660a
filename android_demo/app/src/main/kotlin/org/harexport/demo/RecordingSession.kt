package org.harexport.demo

import android.content.Context
import android.os.SystemClock
import java.io.File
import java.io.OutputStream
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import org.harexport.core.InputException
import org.harexport.core.RecordingStopped
import org.harexport.core.RecordingWriter
import org.harexport.core.Sensor
import org.harexport.core.SensorMonitor

/**
 * The state of recording at one moment.
 *
 * @property saving whether a finished recording is still being written
 * @property elapsedMs duration in milliseconds
 * @property samples samples written so far, per sensor
 * @property warning a message about the sensors; null for none
 * @property result a message about the last recording; null before its end
 * @property isFailure whether the last recording ended early or failed
 */
class RecordingSnapshot(
    val recording: Boolean,
    val saving: Boolean,
    val elapsedMs: Long,
    val samples: Map<Sensor, Long>,
    val warning: String?,
    val result: String?,
    val isFailure: Boolean,
)

/**
 * One labeled recording at a time.
 *
 * Samples arrive and files are written on the sensor thread. All other methods are called on the main thread and do not
 * wait for the storage: they set [phase] and read volatile fields.
 */
class RecordingSession(
    private val context: Context,
    private val folder: () -> File?,
    private val open: (File) -> OutputStream,
) {
    private enum class Phase { IDLE, RECORDING, SAVING }

    private class Result(val message: String, val isFailure: Boolean)

    private val feed = SensorFeed(context, ::onSample)
    private val lock = Any() // guards writer
    private var writer: RecordingWriter? = null

    @Volatile private var phase = Phase.IDLE

    @Volatile private var monitor: SensorMonitor? = null

    @Volatile private var startedAt = 0L

    @Volatile private var elapsedMs = 0L

    @Volatile private var samples: Map<Sensor, Long> = emptyMap()

    @Volatile private var result: Result? = null

    /** The sensors of this phone. */
    val sensors: List<Sensor> = Sensor.values().filter { it in feed.available }

    val recording: Boolean get() = phase == Phase.RECORDING

    /** Starts a recording with [label] at [rateHz]. A failure is reported in the snapshot. */
    fun start(label: String, rateHz: Double) {
        if (phase != Phase.IDLE) return
        try {
            if (sensors.isEmpty()) throw InputException(context.getString(R.string.record_no_sensors))
            val folder = folder() ?: throw InputException(context.getString(R.string.record_no_storage))
            val time = SimpleDateFormat("yyyyMMdd-HHmmss", Locale.ROOT).format(Date())
            val opened = RecordingWriter(folder, "${label.lowercase(Locale.ROOT)}-$time", sensors, open)
            opened.label = label
            synchronized(lock) { writer = opened }
            monitor = SensorMonitor(sensors, rateHz, SystemClock::elapsedRealtimeNanos)
            startedAt = SystemClock.elapsedRealtime()
            samples = opened.samples
            elapsedMs = 0
            result = null
            phase = Phase.RECORDING
            feed.start(sensors, rateHz)?.let { message -> end { Result(message, isFailure = true) } }
        } catch (error: InputException) {
            result = Result(errorMessage(error), isFailure = true)
        }
    }

    /** Ends the recording at the user's request. */
    fun stop() = finish(R.string.record_saved, isFailure = false)

    /** Ends the recording because the app leaves the screen, for example for a call. */
    fun interrupt() = finish(R.string.record_interrupted, isFailure = true)

    fun snapshot() =
        RecordingSnapshot(
            recording = recording,
            saving = phase == Phase.SAVING,
            elapsedMs = if (recording) SystemClock.elapsedRealtime() - startedAt else elapsedMs,
            samples = samples,
            warning = monitor?.let { synchronized(it) { it.problem()?.message } },
            result = result?.message,
            isFailure = result?.isFailure ?: false,
        )

    private fun onSample(sensor: Sensor, timeNs: Long, values: FloatArray) {
        if (!recording) return // rest of a batch
        monitor?.let { synchronized(it) { it.push(sensor, timeNs) } }
        synchronized(lock) {
            val writer = writer ?: return
            try {
                writer.write(sensor, timeNs, values)
                samples = writer.samples
            } catch (stopped: RecordingStopped) {
                stopFeed()
                close(Result(errorMessage(stopped), isFailure = true))
            }
        }
    }

    private fun finish(message: Int, isFailure: Boolean) =
        end { file ->
            if (file == null) Result(context.getString(R.string.record_nothing), isFailure = true)
            else Result(context.getString(message, file.name), isFailure)
        }

    /** Ends the recording. The sensor thread writes the rest and then calls [describe] with the file. */
    private fun end(describe: (File?) -> Result) {
        if (!recording) return
        stopFeed()
        phase = Phase.SAVING
        feed.post {
            synchronized(lock) {
                val writer = writer // null if writing has just failed, which is already reported
                if (writer == null) phase = Phase.IDLE
                else close(save(writer, describe))
            }
        }
    }

    private fun save(writer: RecordingWriter, describe: (File?) -> Result): Result =
        try {
            describe(writer.finish())
        } catch (stopped: RecordingStopped) {
            Result(errorMessage(stopped), isFailure = true)
        }

    private fun stopFeed() {
        feed.stop()
        elapsedMs = SystemClock.elapsedRealtime() - startedAt
    }

    /** Resets the session after its file is complete. */
    private fun close(outcome: Result) {
        writer?.let { samples = it.samples }
        writer = null
        monitor = null
        result = outcome
        phase = Phase.IDLE
    }
}
