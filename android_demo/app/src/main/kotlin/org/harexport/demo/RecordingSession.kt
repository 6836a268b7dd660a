package org.harexport.demo

import android.content.Context
import android.os.SystemClock
import java.io.File
import java.io.OutputStream
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import org.harexport.core.BadInput
import org.harexport.core.RecordingStopped
import org.harexport.core.RecordingWriter
import org.harexport.core.Sensor
import org.harexport.core.SensorWatch

/**
 * What is known at a moment; [saving] while a recording that has ended is still being written, [warning] is about the sensors,
 * [ended] about the last recording, [badly] whether it was cut.
 */
class RecordingSnapshot(
    val recording: Boolean,
    val saving: Boolean,
    val elapsedMs: Long,
    val samples: Map<Sensor, Long>,
    val warning: String?,
    val ended: String?,
    val badly: Boolean,
)

/**
 * One labelled recording at a time. Samples come, and files are written and finished, on the sensors' thread; everything else is
 * called on the main one, which never waits for the storage: it sets [phase] and reads what is volatile.
 */
class RecordingSession(
    private val context: Context,
    private val folder: () -> File?,
    private val open: (File) -> OutputStream,
) {
    private enum class Phase { IDLE, RECORDING, SAVING }

    private class Ended(val words: String, val badly: Boolean)

    private val feed = SensorFeed(context, ::onSample)
    private val lock = Any() // of writer, which is not made for several threads
    private var writer: RecordingWriter? = null

    @Volatile private var phase = Phase.IDLE

    @Volatile private var watch: SensorWatch? = null

    @Volatile private var startedAt = 0L

    @Volatile private var elapsedMs = 0L

    @Volatile private var samples: Map<Sensor, Long> = emptyMap()

    @Volatile private var ended: Ended? = null

    /** The sensors of this phone that can be recorded. */
    val sensors: List<Sensor> = Sensor.values().filter { it in feed.available }

    val recording: Boolean get() = phase == Phase.RECORDING

    /** Starts a recording of somebody who does [label]; what keeps it from starting is in the snapshot. */
    fun start(label: String, rateHz: Double) {
        if (phase != Phase.IDLE) return
        try {
            if (sensors.isEmpty()) throw BadInput(context.getString(R.string.record_no_sensors))
            val folder = folder() ?: throw BadInput(context.getString(R.string.record_no_storage))
            val time = SimpleDateFormat("yyyyMMdd-HHmmss", Locale.ROOT).format(Date())
            val opened = RecordingWriter(folder, "${label.lowercase(Locale.ROOT)}-$time", sensors, open)
            opened.label = label
            synchronized(lock) { writer = opened }
            watch = SensorWatch(sensors, rateHz, SystemClock::elapsedRealtimeNanos)
            startedAt = SystemClock.elapsedRealtime()
            samples = opened.samples
            elapsedMs = 0
            ended = null
            phase = Phase.RECORDING
            feed.start(sensors, rateHz)?.let { words -> end { Ended(words, badly = true) } }
        } catch (error: BadInput) {
            ended = Ended(sentence(error), badly = true)
        }
    }

    /** The person has finished. */
    fun stop() = finish(R.string.record_saved, badly = false)

    /** The app leaves the screen: a call comes in, say. What was recorded is kept. */
    fun interrupt() = finish(R.string.record_interrupted, badly = true)

    fun snapshot() =
        RecordingSnapshot(
            recording = recording,
            saving = phase == Phase.SAVING,
            elapsedMs = if (recording) SystemClock.elapsedRealtime() - startedAt else elapsedMs,
            samples = samples,
            warning = watch?.let { synchronized(it) { it.problem() } },
            ended = ended?.words,
            badly = ended?.badly ?: false,
        )

    private fun onSample(sensor: Sensor, timeNs: Long, values: FloatArray) {
        if (!recording) return // one of a last batch
        watch?.let { synchronized(it) { it.push(sensor, timeNs) } }
        synchronized(lock) {
            val writer = writer ?: return
            try {
                writer.write(sensor, timeNs, values)
                samples = writer.samples
            } catch (stopped: RecordingStopped) {
                over()
                close(Ended(sentence(stopped), badly = true))
            }
        }
    }

    private fun finish(words: Int, badly: Boolean) =
        end { file ->
            if (file == null) Ended(context.getString(R.string.record_nothing), badly = true)
            else Ended(context.getString(words, file.name), badly)
        }

    /** Ends the recording; the sensors' thread writes what is waiting, and then asks [told] about the file. */
    private fun end(told: (File?) -> Ended) {
        if (!recording) return
        over()
        phase = Phase.SAVING
        feed.post {
            synchronized(lock) {
                val writer = writer // null where the storage was full in this very moment: that is told already
                if (writer == null) phase = Phase.IDLE
                else close(saved(writer, told))
            }
        }
    }

    private fun saved(writer: RecordingWriter, told: (File?) -> Ended): Ended =
        try {
            told(writer.finish())
        } catch (stopped: RecordingStopped) {
            Ended(sentence(stopped), badly = true)
        }

    private fun over() {
        feed.stop()
        elapsedMs = SystemClock.elapsedRealtime() - startedAt
    }

    /** The file is finished. */
    private fun close(with: Ended) {
        writer?.let { samples = it.samples }
        writer = null
        watch = null
        ended = with
        phase = Phase.IDLE
    }
}
