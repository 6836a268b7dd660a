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

/** What is known at a moment; [warning] is about the sensors, [ended] about the last recording, [badly] whether it was cut. */
class RecordingSnapshot(
    val recording: Boolean,
    val elapsedMs: Long,
    val samples: Map<Sensor, Long>,
    val warning: String?,
    val ended: String?,
    val badly: Boolean,
)

/** One labelled recording at a time. Samples come on the sensors' thread, everything else on the main one. */
class RecordingSession(
    private val context: Context,
    private val folder: () -> File?,
    private val open: (File) -> OutputStream,
) {
    private val feed = SensorFeed(context, ::onSample)
    private var writer: RecordingWriter? = null
    private var watch: SensorWatch? = null
    private var startedAt = 0L
    private var elapsedMs = 0L
    private var samples: Map<Sensor, Long> = emptyMap()
    private var ended: String? = null
    private var badly = false

    /** The sensors of this phone that can be recorded. */
    val sensors: List<Sensor> = Sensor.values().filter { it in feed.available }

    @get:Synchronized
    val recording: Boolean get() = writer != null

    /** Starts a recording of somebody who does [label]; what keeps it from starting is in the snapshot. */
    @Synchronized
    fun start(label: String, rateHz: Double) {
        if (recording) return
        try {
            if (sensors.isEmpty()) throw BadInput(context.getString(R.string.record_no_sensors))
            val folder = folder() ?: throw BadInput(context.getString(R.string.record_no_storage))
            val time = SimpleDateFormat("yyyyMMdd-HHmmss", Locale.ROOT).format(Date())
            val opened = RecordingWriter(folder, "${label.lowercase(Locale.ROOT)}-$time", sensors, open)
            opened.label = label
            writer = opened
            watch = SensorWatch(sensors, rateHz, SystemClock::elapsedRealtimeNanos)
            startedAt = SystemClock.elapsedRealtime()
            samples = opened.samples
            elapsedMs = 0
            ended = null
            badly = false
            feed.start(sensors, rateHz)?.let { end(it, badly = true) }
        } catch (error: BadInput) {
            ended = sentence(error)
            badly = true
        }
    }

    /** The person has finished. */
    @Synchronized
    fun stop() = finish(R.string.record_saved, badly = false)

    /** The app leaves the screen: a call comes in, say. What was recorded is kept. */
    @Synchronized
    fun interrupt() = finish(R.string.record_interrupted, badly = true)

    @Synchronized
    fun snapshot() =
        RecordingSnapshot(
            recording = recording,
            elapsedMs = if (recording) SystemClock.elapsedRealtime() - startedAt else elapsedMs,
            samples = writer?.samples ?: samples,
            warning = watch?.problem(),
            ended = ended,
            badly = badly,
        )

    @Synchronized
    private fun onSample(sensor: Sensor, timeNs: Long, values: FloatArray) {
        watch?.push(sensor, timeNs)
        try {
            writer?.write(sensor, timeNs, values)
        } catch (stopped: RecordingStopped) {
            end(sentence(stopped), badly = true)
        }
    }

    private fun finish(words: Int, badly: Boolean) {
        val writer = writer ?: return
        try {
            val file = writer.finish()
            if (file == null) end(context.getString(R.string.record_nothing), badly = true)
            else end(context.getString(words, file.name), badly)
        } catch (stopped: RecordingStopped) {
            end(sentence(stopped), badly = true)
        }
    }

    private fun end(words: String, badly: Boolean) {
        feed.stop()
        val writer = writer ?: return
        try {
            writer.finish()
        } catch (_: RecordingStopped) {
            // already told
        }
        elapsedMs = SystemClock.elapsedRealtime() - startedAt
        samples = writer.samples
        this.writer = null
        watch = null
        ended = words
        this.badly = badly
    }
}
