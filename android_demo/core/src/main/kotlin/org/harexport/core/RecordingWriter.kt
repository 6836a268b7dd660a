package org.harexport.core

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.OutputStream
import java.io.RandomAccessFile
import kotlin.math.abs

/** Why a recording ended by itself. */
enum class StopReason {
    /** Writing failed, usually because the storage is full. */
    STORAGE,

    /** The timestamps of a sensor jumped backwards. */
    CLOCK_RESET,
}

/** A recording ended by itself, because of [reason]. [file] contains the samples until then; null if there are none. */
class RecordingStopped(val reason: StopReason, message: String, val file: File?, cause: Throwable? = null) :
    RuntimeException(message, cause)

/**
 * Writes a labeled recording as CSV in the format that `harexport predict` and `harexport train` read.
 *
 *     timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s,label,subject
 *
 * The column subject names the recorded person; it is left out if [subject] is empty.
 *
 * A line is one sample of one sensor; the cells of the other sensor are empty. While recording, the file is named
 * `NAME.csv.part` and complete lines are written every half second; [finish] renames it to `NAME.csv`. [recover]
 * restores recordings after a crash. Values are written as the shortest decimal that reproduces the sensor's float. Not
 * thread-safe. Every recording must end with [finish]. Throws [InputException] if the file cannot be created.
 */
class RecordingWriter(
    folder: File,
    name: String,
    private val sensors: List<Sensor> = Sensor.values().toList(),
    private val subject: String = "",
    open: (File) -> OutputStream = ::FileOutputStream,
) {
    /** The file's name once it is finished. */
    val file: File
    private val part: File
    private val out: OutputStream
    private val lines = StringBuilder()
    private var nextFlushNs = Long.MIN_VALUE
    private val latestNs = HashMap<Sensor, Long>()
    private val written = HashMap<Sensor, Long>()
    private var ended = false

    /** Label of the following samples; null or empty for none. Throws [InputException] for more than one line. */
    var label: String? = null
        set(value) {
            if (value != null && value.any(Char::isISOControl)) throw InputException("a label must not contain line breaks")
            field = value
        }

    /** Samples written so far, per sensor. */
    val samples: Map<Sensor, Long> get() = sensors.associateWith { written[it] ?: 0L }

    /** Samples that were dropped because they were not finite or not later than the previous one. */
    var dropped: Long = 0
        private set

    init {
        if (subject.any(Char::isISOControl)) throw InputException("a subject must not contain line breaks")
        if (!folder.isDirectory && !folder.mkdirs()) throw InputException("the folder ${folder.name} for recordings cannot be created")
        val safe = name.map { if (it.isLetterOrDigit() || it in "-_.") it else '-' }.joinToString("").trim('.').ifEmpty { "recording" }
        file = generateSequence(1) { it + 1 }
            .map { File(folder, if (it == 1) "$safe.csv" else "$safe-$it.csv") }
            .first { !it.exists() && !partOf(it).exists() }
        part = partOf(file)
        out =
            try {
                open(part)
            } catch (error: IOException) {
                throw InputException("the recording cannot be started (${error.message}); check the phone's free storage", error)
            }
        lines.append(header(sensors))
        if (subject.isNotEmpty()) lines.append(",subject")
        lines.append('\n')
    }

    /**
     * Writes one sample of a sensor.
     *
     * Throws [RecordingStopped] if the storage is full or the timestamps jump backwards; the recording has then ended.
     *
     * @param timeNs `SensorEvent.timestamp` in nanoseconds
     * @param values three axes in m/s2 or rad/s
     */
    fun write(sensor: Sensor, timeNs: Long, values: FloatArray) {
        check(!ended) { "the recording has ended" }
        if (sensor !in sensors) return
        val last = latestNs[sensor]
        if (last != null && timeNs < last - GAP_SECONDS * SECOND) {
            val rest = finish()
            val message = "The recording ended because the ${sensor.title} timestamps jumped backwards. ${describeRest(rest)}"
            throw RecordingStopped(StopReason.CLOCK_RESET, message, rest)
        }
        if ((last != null && timeNs <= last) || !(0..2).all { abs(values[it]) < MAX_PLAUSIBLE }) {
            dropped++
            return
        }
        latestNs[sensor] = timeNs
        written[sensor] = (written[sensor] ?: 0L) + 1
        lines.append(timeNs)
        for (column in sensors) {
            for (axis in 0..2) {
                lines.append(',')
                if (column == sensor) lines.append(values[axis])
            }
        }
        lines.append(',').append(quote(label ?: ""))
        if (subject.isNotEmpty()) lines.append(',').append(quote(subject))
        lines.append('\n')
        if (timeNs >= nextFlushNs) {
            flush()
            nextFlushNs = timeNs + FLUSH_NS
        }
    }

    /** Writes buffered lines to the file. Throws [RecordingStopped] if that fails. */
    fun flush() {
        if (ended) return
        try {
            out.write(lines.toString().toByteArray())
            out.flush()
            lines.setLength(0)
        } catch (error: IOException) {
            ended = true
            close()
            val rest = recoverFile(part, file)
            val message = "The recording ended because writing failed (${error.message}). ${describeRest(rest)}"
            throw RecordingStopped(StopReason.STORAGE, message, rest, error)
        }
    }

    /** Ends the recording. Returns its file, or null if it has no samples. Throws [RecordingStopped]. */
    fun finish(): File? {
        if (ended) return file.takeIf { it.exists() }
        flush()
        ended = true
        try {
            (out as? FileOutputStream)?.fd?.sync()
        } catch (_: IOException) {
            // the data have been flushed; only a power failure can lose them
        }
        close()
        return recoverFile(part, file)
    }

    private fun close() {
        try {
            out.close()
        } catch (_: IOException) {
            // written lines are not affected
        }
    }

    companion object {
        private const val FLUSH_NS = SECOND / 2
        private const val SUFFIX = ".part"
        private val COLUMN_PREFIXES = mapOf(Sensor.ACCELEROMETER to "acc", Sensor.GYROSCOPE to "gyro")

        private fun header(sensors: List<Sensor>): String {
            val columns = sensors.flatMap { sensor -> "xyz".map { "${COLUMN_PREFIXES[sensor]}_${it}_${Sensor.ANDROID_UNITS[sensor]}" } }
            return (listOf("timestamp_ns") + columns + "label").joinToString(",")
        }

        /**
         * Restores interrupted recordings in [folder] and returns their files.
         *
         * Truncated last lines are removed; recordings without samples are deleted. Must not be called while a
         * recording is being written to [folder].
         */
        fun recover(folder: File): List<File> =
            folder.listFiles { file -> file.name.endsWith(".csv$SUFFIX") }.orEmpty().sorted().mapNotNull { part ->
                recoverFile(part, File(folder, part.name.removeSuffix(SUFFIX)))
            }

        private fun partOf(file: File): File = File(file.parentFile, file.name + SUFFIX)

        /**
         * Returns [part], truncated to whole lines and renamed to [file]. Deletes it and returns null if it has no
         * samples.
         */
        private fun recoverFile(part: File, file: File): File? {
            try {
                RandomAccessFile(part, "rw").use { bytes ->
                    bytes.setLength(wholeLinesLength(bytes))
                    bytes.seek(0)
                    bytes.readLine() // the header
                    if (bytes.filePointer >= bytes.length()) {
                        part.delete()
                        return null
                    }
                }
            } catch (_: IOException) {
                return part.takeIf { it.exists() } // a truncated line is better than no file
            }
            return if (!file.exists() && part.renameTo(file)) file else part
        }

        private fun wholeLinesLength(bytes: RandomAccessFile): Long {
            var end = bytes.length()
            while (end > 0) {
                bytes.seek(end - 1)
                if (bytes.read() == '\n'.code) return end
                end--
            }
            return 0
        }

        private fun quote(text: String): String =
            if (text.any { it in ",\"" }) "\"" + text.replace("\"", "\"\"") + "\"" else text

        private fun describeRest(file: File?): String =
            if (file == null) "No samples were recorded." else "The samples recorded until then are in ${file.name}."
    }
}
