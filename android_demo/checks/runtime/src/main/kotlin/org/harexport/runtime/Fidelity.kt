package org.harexport.runtime

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.StandardOpenOption
import kotlin.system.exitProcess
import org.harexport.core.BadInput
import org.harexport.core.Checked
import org.harexport.core.Classifier
import org.harexport.core.Contract
import org.harexport.core.RecordingWriter
import org.harexport.core.Restart
import org.harexport.core.Sensor
import org.harexport.core.Stream
import org.harexport.core.Window
import org.harexport.core.axes
import org.harexport.core.sensorsOf
import org.harexport.demo.TfliteClassifier
import org.json.JSONArray
import org.json.JSONObject

/** A file as the app maps its model. */
fun mapped(file: File): MappedByteBuffer =
    FileChannel.open(file.toPath(), StandardOpenOption.READ).use { it.map(FileChannel.MapMode.READ_ONLY, 0, it.size()) }

/** One place in a recording where windows are asked for: [rows] of them, one a hop, the first beginning at [fromNs] or later. */
private class Asked(val fromNs: Long, val firstRow: Int, val rows: Int)

/**
 * Streams recordings through the app's chain and model, and answers the windows that are asked for.
 *
 * FOLDER/plan.json says what: "model" and "contract" are files; "streams" lists, by name, the files of samples with their
 * "mean_of", and of each "asked" [[from_ns, first row, rows], ...]; "rows" is how many windows there are. A file of samples is
 * little-endian, 24 bytes each in order of arrival: int32 sensor (0 accelerometer in m/s2, 1 gyroscope in rad/s), three
 * float32, int64 nanoseconds. Written are FOLDER/NAME.logits and FOLDER/NAME.signals, float32 of all rows; and the file of
 * samples "record" as FOLDER/recorded.csv, as the app's Record screen writes what it hears.
 */
fun main(arguments: Array<String>) {
    try {
        val folder = File(arguments[0])
        val plan = JSONObject(File(folder, "plan.json").readText())
        val contract = Contract.parse(File(folder, plan.getString("contract")).readText())
        TfliteClassifier(mapped(File(folder, plan.getString("model"))), contract).use { classifier ->
            println("runtime ${classifier.runtime.name} ${classifier.runtime.version}")
            record(File(folder, plan.getString("record")), folder)
            val streams = plan.getJSONArray("streams")
            for (k in 0 until streams.length()) {
                answer(folder, contract, classifier, streams.getJSONObject(k), plan.getInt("rows"))
            }
        }
    } catch (error: BadInput) {
        System.err.println(error.message)
        exitProcess(2)
    }
}

private fun answer(folder: File, contract: Contract, classifier: Classifier, stream: JSONObject, rows: Int) {
    val name = stream.getString("name")
    val model = Checked(classifier, contract)
    val logits = floats(rows * contract.labels.size)
    val signals = floats(rows * contract.inputSize)
    val meanOf = stream.getJSONObject("mean_of").let { mean -> sensorsOf(contract).associateWith { mean.getInt(it.title) } }
    val recordings = stream.getJSONArray("recordings")
    for (k in 0 until recordings.length()) {
        val recording = recordings.getJSONObject(k)
        val samples = mapped(File(folder, recording.getString("samples")))
        windows(contract, meanOf, samples, asked(recording.getJSONArray("asked"))) { row, window ->
            val asked = window.floats()
            signals.asFloatBuffer().apply { position(row * asked.size) }.put(asked)
            model.logits(asked).let { answer -> logits.asFloatBuffer().apply { position(row * answer.size) }.put(answer) }
        }
    }
    File(folder, "$name.logits").writeBytes(logits.array())
    File(folder, "$name.signals").writeBytes(signals.array())
    println("answered $name")
}

/** Tells [found] the windows that are [asked] for, by the chain of the app; it begins a window at every sample. */
private fun windows(
    contract: Contract,
    meanOf: Map<Sensor, Int>,
    samples: ByteBuffer,
    asked: List<Asked>,
    found: (Int, Window) -> Unit,
) {
    val stream = Stream(contract.copy(hop = 1), meanOf = meanOf)
    val begun = LongArray(asked.size) { -1 } // the number of the first window of each
    var number = 0L
    var missing = asked.sumOf { it.rows }
    fun take(events: List<Any>) {
        for (event in events) {
            if (event is Restart) throw BadInput("the chain started anew in the middle: ${event.reason}")
            if (event !is Window) continue
            for ((k, place) in asked.withIndex()) {
                if (begun[k] < 0 && event.startNs >= place.fromNs) begun[k] = number
                val since = number - begun[k]
                if (begun[k] >= 0 && since % contract.hop == 0L && since / contract.hop < place.rows) {
                    found(place.firstRow + (since / contract.hop).toInt(), event)
                    missing--
                }
            }
            number++
        }
    }
    replay(samples) { sensor, timeNs, values -> take(stream.push(sensor, timeNs, axes(values))) }
    take(stream.flush())
    if (missing != 0) throw BadInput("$missing windows were not found")
}

private fun record(samples: File, folder: File) {
    val writer = RecordingWriter(folder, "recorded")
    writer.label = "WALKING"
    replay(mapped(samples), writer::write)
    writer.finish()
}

private fun replay(samples: ByteBuffer, hear: (Sensor, Long, FloatArray) -> Unit) {
    samples.order(ByteOrder.LITTLE_ENDIAN)
    while (samples.hasRemaining()) {
        val sensor = Sensor.values()[samples.int]
        val values = FloatArray(3) { samples.float }
        hear(sensor, samples.long, values)
    }
}

private fun asked(plain: JSONArray): List<Asked> =
    List(plain.length()) { k -> plain.getJSONArray(k).let { Asked(it.getLong(0), it.getInt(1), it.getInt(2)) } }

private fun floats(count: Int): ByteBuffer = ByteBuffer.allocate(4 * count).order(ByteOrder.LITTLE_ENDIAN)
