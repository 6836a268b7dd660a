package org.harexport.core

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.OutputStream
import java.io.RandomAccessFile
import kotlin.math.abs

/** A recording has ended early; the message says why, and [file] holds what was recorded until then (null: nothing was). */
class RecordingStopped(message: String, val file: File?, cause: Throwable? = null) : RuntimeException(message, cause)

/**
 * A labelled recording as CSV, in the plain layout that `harexport predict` reads:
 *
 *     timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s,label
 *
 * A line is one sample of one sensor; the other one's cells are empty. While it lasts, the file is called `NAME.csv.part`,
 * and complete lines are written every half second or so; [finish] renames it to `NAME.csv`. What a crash left behind,
 * [recover] brings back. Values are written as the shortest text of the float that the sensor gave. Not for several threads
 * at once; always end it by [finish]. Throws [BadInput] where no file can be made.
 */
class RecordingWriter(
    folder: File,
    name: String,
    private val sensors: List<Sensor> = Sensor.values().toList(),
    open: (File) -> OutputStream = ::FileOutputStream,
) {
    /** The file's name once it is finished. */
    val file: File
    private val part: File
    private val out: OutputStream
    private val lines = StringBuilder()
    private var waiting = 0
    private val latestNs = HashMap<Sensor, Long>()
    private val written = HashMap<Sensor, Long>()
    private var ended = false

    /** What the person does, on every following line; null or empty: nothing is said. Throws [BadInput] for several lines. */
    var label: String? = null
        set(value) {
            if (value != null && value.any(Char::isISOControl)) throw BadInput("a label must be one line of text")
            field = value
        }

    /** Samples of each sensor so far. */
    val samples: Map<Sensor, Long> get() = sensors.associateWith { written[it] ?: 0L }

    /** Samples that were left out: they were no numbers, or not later than the one before. */
    var leftOut: Long = 0
        private set

    init {
        if (!folder.isDirectory && !folder.mkdirs()) throw BadInput("the folder ${folder.name} for recordings cannot be made")
        val safe = name.map { if (it.isLetterOrDigit() || it in "-_.") it else '-' }.joinToString("").trim('.').ifEmpty { "recording" }
        file = generateSequence(1) { it + 1 }
            .map { File(folder, if (it == 1) "$safe.csv" else "$safe-$it.csv") }
            .first { !it.exists() && !partOf(it).exists() }
        part = partOf(file)
        out =
            try {
                open(part)
            } catch (error: IOException) {
                throw BadInput("the recording cannot be started (${error.message}): is the phone's storage full?", error)
            }
        lines.append(header(sensors)).append('\n')
    }

    /**
     * One sample of a sensor, three axes in m/s2 or rad/s, at `SensorEvent.timestamp`. Throws [RecordingStopped] where the
     * storage is full or the sensor's time ran backwards; the recording has ended then.
     */
    fun write(sensor: Sensor, timeNs: Long, values: FloatArray) {
        check(!ended) { "the recording has ended" }
        if (sensor !in sensors) return
        val last = latestNs[sensor]
        if (last != null && timeNs < last - GAP_SECONDS * SECOND) {
            val kept = finish()
            throw RecordingStopped("The recording ended: the time of the ${sensor.title} ran backwards. ${kept(kept)}", kept)
        }
        if ((last != null && timeNs <= last) || !(0..2).all { abs(values[it]) < IMPLAUSIBLE }) {
            leftOut++
            return
        }
        latestNs[sensor] = timeNs
        written[sensor] = (written[sensor] ?: 0L) + 1
        lines.append(timeNs)
        for (one in sensors) {
            for (axis in 0..2) {
                lines.append(',')
                if (one == sensor) lines.append(values[axis])
            }
        }
        lines.append(',').append(quoted(label ?: "")).append('\n')
        if (++waiting >= LINES) flush()
    }

    /** Writes what is waiting. Throws [RecordingStopped] where that fails. */
    fun flush() {
        if (ended) return
        try {
            out.write(lines.toString().toByteArray())
            out.flush()
            lines.setLength(0)
            waiting = 0
        } catch (error: IOException) {
            ended = true
            closed()
            val kept = salvaged(part, file)
            throw RecordingStopped("The recording ended: it cannot be written (${error.message}). ${kept(kept)}", kept, error)
        }
    }

    /** Ends the recording, and answers its file; null where nothing was recorded. Throws [RecordingStopped]. */
    fun finish(): File? {
        if (ended) return file.takeIf { it.exists() }
        flush()
        ended = true
        try {
            (out as? FileOutputStream)?.fd?.sync()
        } catch (_: IOException) {
            // flushed it is; what the system then loses is not in our hands
        }
        closed()
        return salvaged(part, file)
    }

    private fun closed() {
        try {
            out.close()
        } catch (_: IOException) {
            // the lines that are there are kept all the same
        }
    }

    companion object {
        private const val LINES = 50
        private const val SUFFIX = ".part"
        private val NAMES = mapOf(Sensor.ACCELEROMETER to "acc", Sensor.GYROSCOPE to "gyro")

        private fun header(sensors: List<Sensor>): String {
            val columns = sensors.flatMap { sensor -> "xyz".map { "${NAMES[sensor]}_${it}_${Sensor.ANDROID_UNITS[sensor]}" } }
            return (listOf("timestamp_ns") + columns + "label").joinToString(",")
        }

        /**
         * Finishes recordings that a crash interrupted: incomplete last lines are cut off, files without a sample deleted.
         * Not while a recording is being written into [folder]. Answers the files.
         */
        fun recover(folder: File): List<File> =
            folder.listFiles { file -> file.name.endsWith(".csv$SUFFIX") }.orEmpty().sorted().mapNotNull { part ->
                salvaged(part, File(folder, part.name.removeSuffix(SUFFIX)))
            }

        private fun partOf(file: File): File = File(file.parentFile, file.name + SUFFIX)

        /** [part] up to its last whole line, as [file]; null, and [part] deleted, where no sample is in it. */
        private fun salvaged(part: File, file: File): File? {
            try {
                RandomAccessFile(part, "rw").use { bytes ->
                    bytes.setLength(wholeLines(bytes))
                    bytes.seek(0)
                    bytes.readLine() // the header
                    if (bytes.filePointer >= bytes.length()) {
                        part.delete()
                        return null
                    }
                }
            } catch (_: IOException) {
                return part.takeIf { it.exists() } // better a file with half a line than none
            }
            return if (!file.exists() && part.renameTo(file)) file else part
        }

        private fun wholeLines(bytes: RandomAccessFile): Long {
            var end = bytes.length()
            while (end > 0) {
                bytes.seek(end - 1)
                if (bytes.read() == '\n'.code) return end
                end--
            }
            return 0
        }

        private fun quoted(text: String): String =
            if (text.any { it in ",\"" }) "\"" + text.replace("\"", "\"\"") + "\"" else text

        private fun kept(file: File?): String =
            if (file == null) "Nothing was recorded before." else "What was recorded until then is in ${file.name}."
    }
}
