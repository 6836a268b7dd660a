package org.harexport.demo

import java.io.File
import java.io.IOException
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream
import org.harexport.core.AtomicFile
import org.harexport.core.Contract
import org.harexport.core.InputException
import org.harexport.core.Sensor
import org.harexport.core.SensorSample
import org.harexport.core.sensorsOf

/** A recording of the app, as read from its CSV: samples, and the label of each. */
class LabeledRecording(val samples: List<SensorSample>, val labels: List<String>)

/** The files of recordings: reading, and packing several into one zip. */
object RecordingFolder {
    const val SUFFIX = ".csv"
    private const val CONFIG = "harexport.toml"
    private val COLUMNS = mapOf(Sensor.ACCELEROMETER to "acc_x_m/s2", Sensor.GYROSCOPE to "gyro_x_rad/s")

    /** Returns the recordings of [folder], the newest first. */
    fun list(folder: File?): List<File> =
        folder?.listFiles { file -> file.name.endsWith(SUFFIX) }.orEmpty().sortedWith(compareByDescending<File> { it.lastModified() }.thenBy { it.name })

    /**
     * Writes [files] into [zip], with a harexport.toml: `harexport train --data` and `harexport predict` read it as it is.
     *
     * Throws [InputException] if it cannot be written; there is then no file.
     *
     * @param contract rate, window and sensors of the dataset
     */
    fun zip(files: List<File>, zip: File, contract: Contract) {
        val part = File(zip.parentFile, ".${zip.name}.part")
        try {
            zip.parentFile?.mkdirs()
            ZipOutputStream(part.outputStream()).use { out ->
                out.putNextEntry(ZipEntry(CONFIG))
                out.write(config(contract).toByteArray())
                for (file in files) {
                    out.putNextEntry(ZipEntry(file.name))
                    file.inputStream().use { it.copyTo(out) }
                }
            }
            if (!part.renameTo(zip)) throw IOException("renaming failed")
        } catch (error: IOException) {
            part.delete()
            throw InputException("${zip.name} cannot be written (${error.message}); check the phone's free storage", error)
        }
    }

    private fun config(contract: Contract): String {
        val sensors = sensorsOf(contract).joinToString { "\"${it.title}\"" }
        return "rate_hz = ${contract.rateHz}\nwindow = ${contract.window}\nhop = ${contract.hop}\nsensors = [$sensors]\n"
    }

    /**
     * Reads a recording that this app wrote. Throws [InputException] for any other file.
     */
    fun read(file: File): LabeledRecording {
        val samples = ArrayList<SensorSample>()
        val labels = ArrayList<String>()
        try {
            file.useLines { lines ->
                val rows = lines.iterator()
                val header = if (rows.hasNext()) rows.next().split(",") else emptyList()
                val columns = COLUMNS.mapValues { (_, name) -> header.indexOf(name) }.filterValues { it > 0 }
                val labelColumn = header.indexOf("label")
                if (header.firstOrNull() != "timestamp_ns" || columns.isEmpty() || labelColumn < 0) {
                    throw InputException("${file.name} is not a recording of this app; choose one that the Record screen made")
                }
                for ((index, row) in rows.withIndex()) {
                    val cells = split(row)
                    for ((sensor, first) in columns) {
                        if (cells.getOrNull(first).isNullOrEmpty()) continue
                        val time = cells[0].toLongOrNull()
                        val values = (0..2).map { cells.getOrNull(first + it)?.toDoubleOrNull() }
                        if (time == null || time < 0 || values.any { it == null }) {
                            throw InputException("${file.name} has an invalid number in line ${index + 2}; record it again")
                        }
                        samples += SensorSample(sensor, time, DoubleArray(3) { values[it] ?: 0.0 })
                        labels += cells.getOrElse(labelColumn) { "" }
                    }
                }
            }
        } catch (error: IOException) {
            throw InputException("${file.name} cannot be read (${error.message}); choose another recording", error)
        }
        if (samples.isEmpty()) throw InputException("${file.name} has no samples; choose another recording")
        return LabeledRecording(samples, labels)
    }

    /** Splits a line of CSV, in which cells with commas are quoted. */
    private fun split(row: String): List<String> {
        if ('"' !in row) return row.split(",")
        val cells = ArrayList<String>()
        val cell = StringBuilder()
        var isQuoted = false
        for (char in row) {
            when {
                char == '"' -> isQuoted = !isQuoted
                char == ',' && !isQuoted -> {
                    cells += cell.toString()
                    cell.setLength(0)
                }
                else -> cell.append(char)
            }
        }
        return cells + cell.toString()
    }

    /** Writes a text that is shared, for example the timeline. Throws [InputException]. */
    fun write(file: File, text: String) {
        file.parentFile?.mkdirs()
        AtomicFile.write(file, text)
    }
}
