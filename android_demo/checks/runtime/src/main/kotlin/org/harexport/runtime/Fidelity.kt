package org.harexport.runtime

import java.io.File
import java.lang.management.ManagementFactory
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.StandardOpenOption
import kotlin.system.exitProcess
import org.harexport.core.Classifier
import org.harexport.core.Contract
import org.harexport.core.InputException
import org.harexport.core.LiveRecognizer
import org.harexport.core.Prediction
import org.harexport.core.RecognitionEvent
import org.harexport.core.Recognizer
import org.harexport.core.RecordingWriter
import org.harexport.core.Restart
import org.harexport.core.SampleBatcher
import org.harexport.core.Sensor
import org.harexport.core.SensorSample
import org.harexport.core.Stream
import org.harexport.core.ValidatingClassifier
import org.harexport.core.Window
import org.harexport.core.axes
import org.harexport.core.sensorsOf
import org.harexport.recognition.TfliteClassifier
import org.json.JSONArray
import org.json.JSONObject

/** Maps a file into memory, as the app does with its model. */
fun mapped(file: File): MappedByteBuffer =
    FileChannel.open(file.toPath(), StandardOpenOption.READ).use { it.map(FileChannel.MapMode.READ_ONLY, 0, it.size()) }

/** Requested windows of a recording: [rows] windows, one per hop, the first one starting at [fromNs] or later. */
private class WindowRange(val fromNs: Long, val firstRow: Int, val rows: Int)

/**
 * Streams recordings through preprocessing and model of the app and writes logits and signals of the requested windows.
 *
 * FOLDER/plan.json is the input: "model" and "contract" are files; "streams" lists, by name, the sample files with their
 * "mean_of" and their "windows" [[from_ns, first row, rows], ...]; "rows" is the total number of windows. A sample file is
 * little-endian, 24 bytes per sample in order of arrival: int32 sensor (0 accelerometer in m/s2, 1 gyroscope in rad/s), three
 * float32, int64 nanoseconds.
 *
 * The output is FOLDER/NAME.logits and FOLDER/NAME.signals, float32 of all rows, and the sample file "record" as
 * FOLDER/recorded.csv in the format of the app's recordings.
 *
 * "mounted" lists sample files of phones in other orientations, whose windows are all classified with "mounted_model" and
 * "mounted_contract". FOLDER/NAME.predictions receives, per window, int64 end in nanoseconds, int32 state of the mounting
 * (0 unknown, 1 estimated, 2 changed), int32 flag (0 none, 1 settling, 2 sparse, 3 mount) and one float64 probability per
 * label. The same files are recognized in batches as in foreground and background, and FOLDER/background.json receives the
 * number of batches and the CPU time per hour.
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
                runStream(folder, contract, classifier, streams.getJSONObject(k), plan.getInt("rows"))
            }
        }
        val mounted = plan.getJSONArray("mounted").let { names -> List(names.length()) { names.getString(it) } }
        if (mounted.isEmpty()) return
        val mountedContract = Contract.parse(File(folder, plan.getString("mounted_contract")).readText())
        TfliteClassifier(mapped(File(folder, plan.getString("mounted_model"))), mountedContract).use { classifier ->
            mounted.forEach { runMounted(folder, mountedContract, classifier, it) }
            val runs = BATCH_SECONDS.map { measureBatches(folder, mountedContract, classifier, mounted, it) }
            File(folder, "background.json").writeText(JSONArray(runs).toString())
        }
    } catch (error: InputException) {
        System.err.println(error.message)
        exitProcess(2)
    }
}

private fun runStream(folder: File, contract: Contract, classifier: Classifier, stream: JSONObject, rows: Int) {
    val name = stream.getString("name")
    val model = ValidatingClassifier(classifier, contract)
    val logits = floats(rows * contract.labels.size)
    val signals = floats(rows * contract.inputSize)
    val averageOver = stream.getJSONObject("mean_of").let { mean -> sensorsOf(contract).associateWith { mean.getInt(it.title) } }
    val recordings = stream.getJSONArray("recordings")
    for (k in 0 until recordings.length()) {
        val recording = recordings.getJSONObject(k)
        val samples = mapped(File(folder, recording.getString("samples")))
        windows(contract, averageOver, samples, ranges(recording.getJSONArray("windows"))) { row, window ->
            val input = window.floats()
            signals.asFloatBuffer().apply { position(row * input.size) }.put(input)
            model.logits(input).let { output -> logits.asFloatBuffer().apply { position(row * output.size) }.put(output) }
        }
    }
    File(folder, "$name.logits").writeBytes(logits.array())
    File(folder, "$name.signals").writeBytes(signals.array())
    println("finished $name")
}

/** Calls [onWindow] for each window in [ranges], with a preprocessing stream that starts a window at every sample. */
private fun windows(
    contract: Contract,
    averageOver: Map<Sensor, Int>,
    samples: ByteBuffer,
    ranges: List<WindowRange>,
    onWindow: (Int, Window) -> Unit,
) {
    val stream = Stream(contract.copy(hop = 1), averageOver = averageOver)
    val firstWindow = LongArray(ranges.size) { -1 }
    var number = 0L
    var missing = ranges.sumOf { it.rows }
    fun process(events: List<Any>) {
        for (event in events) {
            if (event is Restart) throw InputException("the stream restarted: ${event.reason}")
            if (event !is Window) continue
            for ((k, range) in ranges.withIndex()) {
                if (firstWindow[k] < 0 && event.startNs >= range.fromNs) firstWindow[k] = number
                val since = number - firstWindow[k]
                if (firstWindow[k] >= 0 && since % contract.hop == 0L && since / contract.hop < range.rows) {
                    onWindow(range.firstRow + (since / contract.hop).toInt(), event)
                    missing--
                }
            }
            number++
        }
    }
    replay(samples) { sensor, timeNs, values -> process(stream.push(sensor, timeNs, axes(values))) }
    process(stream.flush())
    if (missing != 0) throw InputException("$missing windows are missing")
}

/** Classifies all windows of FOLDER/NAME.samples with the mount stage. */
private fun runMounted(folder: File, contract: Contract, classifier: Classifier, name: String) {
    val recognizer = Recognizer(contract, classifier)
    val events = ArrayList<RecognitionEvent>()
    replay(mapped(File(folder, "$name.samples"))) { sensor, timeNs, values ->
        events += recognizer.push(sensor, timeNs, axes(values))
    }
    events += recognizer.finish()
    val predictions = events.map { it as? Prediction ?: throw InputException("the stream restarted: $it") }
    val output = ByteBuffer.allocate(predictions.size * (16 + 8 * contract.labels.size)).order(ByteOrder.LITTLE_ENDIAN)
    for (prediction in predictions) {
        output.putLong(prediction.endNs).putInt(checkNotNull(prediction.mountState).ordinal)
        output.putInt(prediction.qualityFlag?.let { it.ordinal + 1 } ?: 0)
        prediction.probabilities.forEach(output::putDouble)
    }
    File(folder, "$name.predictions").writeBytes(output.array())
}

/** Recognizes the recordings with samples in batches, and returns the number of batches and the CPU time per hour. */
private fun measureBatches(folder: File, contract: Contract, classifier: Classifier, names: List<String>, seconds: Double): JSONObject {
    val cpu = ManagementFactory.getThreadMXBean()
    var batches = 0L
    var sensorNs = 0L
    var cpuNs = 0L
    for (name in names) {
        val recognizer = LiveRecognizer(contract, classifier)
        val batcher = SampleBatcher(seconds) {
            batches++
            val start = cpu.currentThreadCpuTime
            recognizer.push(it)
            cpuNs += cpu.currentThreadCpuTime - start
        }
        var firstNs: Long? = null
        var lastNs = 0L
        replay(mapped(File(folder, "$name.samples"))) { sensor, timeNs, values ->
            if (firstNs == null) firstNs = timeNs
            lastNs = timeNs
            batcher.push(SensorSample(sensor, timeNs, axes(values)))
        }
        sensorNs += lastNs - (firstNs ?: lastNs)
    }
    val hours = sensorNs / 3600e9
    return JSONObject(mapOf("batch_s" to seconds, "batches_per_hour" to batches / hours, "cpu_s_per_hour" to cpuNs / 1e9 / hours))
}

/** The sensors' reporting latency in the foreground, and the batches of the background. */
private val BATCH_SECONDS = listOf(0.1, SampleBatcher.BACKGROUND_SECONDS)

private fun record(samples: File, folder: File) {
    val writer = RecordingWriter(folder, "recorded")
    writer.label = "WALKING"
    replay(mapped(samples), writer::write)
    writer.finish()
}

private fun replay(samples: ByteBuffer, onSample: (Sensor, Long, FloatArray) -> Unit) {
    samples.order(ByteOrder.LITTLE_ENDIAN)
    while (samples.hasRemaining()) {
        val sensor = Sensor.values()[samples.int]
        val values = FloatArray(3) { samples.float }
        onSample(sensor, samples.long, values)
    }
}

private fun ranges(json: JSONArray): List<WindowRange> =
    List(json.length()) { k -> json.getJSONArray(k).let { WindowRange(it.getLong(0), it.getInt(1), it.getInt(2)) } }

private fun floats(count: Int): ByteBuffer = ByteBuffer.allocate(4 * count).order(ByteOrder.LITTLE_ENDIAN)
