package org.harexport.recognition

import android.content.Context
import android.hardware.SensorManager
import android.os.Handler
import android.os.Looper
import java.io.File
import java.io.FileNotFoundException
import java.nio.ByteBuffer
import java.time.Duration
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.math.abs
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.harexport.core.Classifier
import org.harexport.core.MountState
import org.harexport.core.QualityFlag
import org.harexport.core.RuntimeInfo
import org.harexport.core.SECOND
import org.harexport.core.STANDARD_GRAVITY
import org.harexport.core.Sensor
import org.harexport.core.SensorProblem
import org.json.JSONArray
import org.json.JSONObject
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.SensorBuilder
import org.robolectric.shadows.SensorEventBuilder

@RunWith(RobolectricTestRunner::class)
class ActivityRecognizerTest {
    private val repository = File(System.getProperty("repository")).canonicalFile
    private val context: Context = RuntimeEnvironment.getApplication()
    private val manager = checkNotNull(context.getSystemService(SensorManager::class.java))
    private val updates = CopyOnWriteArrayList<RecognitionUpdate>()
    private val opened = ArrayList<GoldenClassifier>()
    private var recognizer: ActivityRecognizer? = null

    /** The walking of tests/golden/mount.json in g, repeated. */
    private val walk: List<DoubleArray> = run {
        val rows: JSONArray = JSONObject(File(repository, "tests/golden/mount.json").readText()).getJSONArray("acceleration").getJSONArray(0)
        List(rows.length()) { k -> rows.getJSONArray(k).let { row -> DoubleArray(3) { row.getDouble(it) } } }
    }

    private fun files(change: (name: String, bytes: ByteArray) -> ByteArray = { _, bytes -> bytes }): ModelFiles =
        ModelFiles.read { name ->
            val file = File(repository, "android_demo/app/src/main/assets/$name")
            if (!file.exists()) throw FileNotFoundException(name)
            ByteBuffer.wrap(change(name, file.readBytes()))
        }

    /** Returns the golden logits for golden windows, and level walking for all others. */
    private inner class GoldenClassifier(private val files: ModelFiles, private val error: Float) : Classifier {
        var isClosed = false
        override val runtime = RuntimeInfo("fake", "0", null)

        override fun logits(window: FloatArray): FloatArray {
            check(Thread.currentThread() !== Looper.getMainLooper().thread) { "inference on the main thread" }
            val k = files.golden.windows.indexOfFirst { golden -> golden.indices.all { abs(golden[it] - window[it]) < 1e-5 } }
            val labels = files.contract.labels
            return if (k < 0) FloatArray(labels.size) { if (it == 0) 4f else 0f } else FloatArray(labels.size) { files.golden.logits[k][it].toFloat() + error }
        }

        override fun close() {
            isClosed = true
        }
    }

    private fun create(models: List<() -> ModelFiles> = listOf({ files() }), error: Float = 0f): ActivityRecognizer =
        ActivityRecognizer(context, models) { _, contract ->
            val files = listOf(files(), accelerometerOnly()).first { it.contract == contract }
            GoldenClassifier(files, error).also(opened::add)
        }.also { recognizer = it }

    private fun addSensors(vararg sensors: Sensor) = sensors.forEach { shadowOf(manager).addSensor(hardware(it)) }

    private fun hardware(sensor: Sensor): android.hardware.Sensor =
        SensorBuilder.newBuilder()
            .setType(if (sensor == Sensor.ACCELEROMETER) android.hardware.Sensor.TYPE_ACCELEROMETER else android.hardware.Sensor.TYPE_GYROSCOPE)
            .build()

    /** Delivers [seconds] of walking, and runs the threads of recognition and of the app. */
    private fun walk(seconds: Int, gravity: Double = STANDARD_GRAVITY) {
        for (k in 0 until 50 * seconds) {
            val sample = walk[k % walk.size]
            val timeNs = SECOND + k * SECOND / 50
            deliver(Sensor.ACCELEROMETER, timeNs, FloatArray(3) { (sample[it] * gravity).toFloat() })
            deliver(Sensor.GYROSCOPE, timeNs, FloatArray(3))
        }
        idle()
    }

    /** Delivers a sample on the thread of recognition, as Android does. */
    private fun deliver(sensor: Sensor, timeNs: Long, values: FloatArray) {
        val event = SensorEventBuilder.newBuilder(hardware(sensor), values).setTimestamp(timeNs).build()
        Handler(checkNotNull(recognizer).looper).post { shadowOf(manager).sendSensorEventToListeners(event) }
    }

    private fun close(recognizer: ActivityRecognizer) {
        recognizer.close()
        recognizer.looper.thread.join(10_000)
        shadowOf(Looper.getMainLooper()).idle()
    }

    private fun idle() {
        shadowOf(checkNotNull(recognizer).looper).idle()
        shadowOf(Looper.getMainLooper()).idle()
    }

    private fun startWithCallback(recognizer: ActivityRecognizer) {
        recognizer.start { update ->
            check(Thread.currentThread() === Looper.getMainLooper().thread) { "callback on another thread" }
            updates += update
        }
        idle()
    }

    @After
    fun closeAll() {
        recognizer?.let(::close)
        assertTrue("the models are closed", opened.all { it.isClosed })
        assertEquals("no sensor is left running", 0, shadowOf(manager).listeners.size)
    }

    @Test
    fun `walking is recognized, off the main thread, with a known mounting in the end`() {
        addSensors(*Sensor.values())
        startWithCallback(create())
        assertEquals(1, opened.size)
        walk(30)
        assertTrue(updates.first() is RecognitionUpdate.Started)
        val predicted = updates.filterIsInstance<RecognitionUpdate.Predicted>()
        assertEquals("no other updates", updates.size - 1, predicted.size)
        assertTrue("${predicted.size}", predicted.size > 20)
        assertNull(predicted.first().mount)
        assertEquals(QualityFlag.SETTLING, predicted.first().prediction.qualityFlag)
        assertEquals(MountState.ESTIMATED, predicted.last().prediction.mountState)
        assertEquals(null, predicted.last().prediction.qualityFlag)
        assertEquals("WALKING", predicted.last().prediction.label)
        assertEquals(1.0, predicted.last().mountProgress, 0.0)
        assertTrue(predicted.last().mount!!.seconds > 3)
    }

    @Test
    fun `after stop there are no updates and no sensors, and a new start works`() {
        addSensors(*Sensor.values())
        val recognizer = create()
        startWithCallback(recognizer)
        walk(5)
        recognizer.stop()
        idle()
        val count = updates.size
        walk(5)
        assertEquals(count, updates.size)
        assertEquals(0, shadowOf(manager).listeners.size)
        startWithCallback(recognizer)
        walk(10)
        assertTrue(updates.size > count + 3)
        assertEquals("the model is loaded once", 1, opened.size)
    }

    @Test
    fun `batches in the background give the same predictions`() {
        addSensors(*Sensor.values())
        val results = listOf(0.0, 1.5).map { seconds ->
            updates.clear()
            val recognizer = create()
            recognizer.batchSeconds = seconds
            startWithCallback(recognizer)
            walk(20)
            recognizer.stop()
            idle()
            close(recognizer)
            updates.filterIsInstance<RecognitionUpdate.Predicted>().map { it.prediction.startNs to it.prediction.probabilities.toList() }
        }
        assertTrue(results[0].size > 10)
        assertEquals(results[0].take(results[1].size), results[1])
        assertTrue("at most the last batch is left out", results[1].size in results[0].size - 2..results[0].size)
        recognizer = null // both are closed
    }

    @Test
    fun `the flow stops the sensors when it is canceled`() {
        addSensors(*Sensor.values())
        val recognizer = create()
        val scope = CoroutineScope(Dispatchers.Default)
        val count = AtomicInteger()
        val isStarted = CountDownLatch(1)
        val job = scope.launch {
            recognizer.updates.collect {
                when (it) {
                    is RecognitionUpdate.Started -> isStarted.countDown()
                    is RecognitionUpdate.Predicted -> count.incrementAndGet()
                    else -> Unit
                }
            }
        }
        assertTrue(isStarted.await(30, TimeUnit.SECONDS))
        idle() // the sensors run
        assertEquals(1, shadowOf(manager).listeners.size)
        walk(10)
        waitUntil { count.get() > 3 }
        scope.cancel()
        waitUntil { job.isCompleted }
        idle()
        assertEquals(0, shadowOf(manager).listeners.size)
    }

    @Test
    fun `a phone without a gyroscope uses the accelerometer-only model`() {
        addSensors(Sensor.ACCELEROMETER)
        startWithCallback(create(listOf({ files() }, { accelerometerOnly() })))
        val contract = (updates.single() as RecognitionUpdate.Started).contract
        assertTrue(contract.channels.none { "gyro" in it })
    }

    @Test
    fun `missing and silent sensors are reported`() {
        addSensors(Sensor.ACCELEROMETER)
        startWithCallback(create())
        assertEquals(SensorProblem.Missing(listOf(Sensor.GYROSCOPE)), (updates.last() as RecognitionUpdate.SensorChanged).problem)
        assertEquals(0, shadowOf(manager).listeners.size)

        updates.clear()
        addSensors(Sensor.GYROSCOPE)
        close(checkNotNull(recognizer))
        startWithCallback(create())
        walk(5)
        shadowOf(checkNotNull(recognizer).looper).idleFor(Duration.ofSeconds(6))
        shadowOf(Looper.getMainLooper()).idle()
        assertTrue("${updates.last()}", (updates.last() as RecognitionUpdate.SensorChanged).problem is SensorProblem.Silent)
        assertEquals("reported once", 1, updates.count { it is RecognitionUpdate.SensorChanged })
    }

    @Test
    fun `a phone that computes other results, damaged and missing files are reported`() {
        addSensors(*Sensor.values())
        val failures = listOf(
            "this phone computes other results than Python: Logits differ" to create(error = 0.5f),
            "model file is corrupt" to create(listOf({ files { name, bytes -> if (name == ModelFiles.MODEL) bytes + 0 else bytes } })),
            "labels.txt does not match" to create(listOf({ files { name, bytes -> if (name == ModelFiles.LABELS) "A\nB\n".toByteArray() else bytes } })),
            "contract.json is not valid JSON" to create(listOf({ files { name, bytes -> if (name == ModelFiles.CONTRACT) "x".toByteArray() else bytes } })),
            "contract.json is missing" to ActivityRecognizer(context, listOf("nothing")),
        )
        for ((message, failing) in failures) {
            recognizer = failing
            updates.clear()
            startWithCallback(failing)
            val failed = updates.single() as RecognitionUpdate.Failed
            assertTrue(failed.message, message in failed.message)
            close(failing)
        }
        recognizer = null // all are closed
    }

    @Test
    fun `a closed recognizer can be closed again, and refuses to start`() {
        addSensors(*Sensor.values())
        val closed = create()
        startWithCallback(closed)
        closed.close()
        assertThrows(IllegalStateException::class.java) { closed.start {} }
        closed.looper.thread.join(10_000) // the looper has ended, so that it cannot be idled
        closed.close()
        closed.stop()
        closed.batchSeconds = 1.5
        val error = assertThrows(IllegalStateException::class.java) { runBlocking { closed.updates.collect {} } }
        assertTrue("${error.message}", "create another one" in error.message.orEmpty())
    }

    @Test
    fun `impossible durations of a batch are refused`() {
        val recognizer = create()
        for (seconds in listOf(Double.NaN, -1.0, 1e9)) assertThrows(IllegalArgumentException::class.java) { recognizer.batchSeconds = seconds }
        assertEquals(0.0, recognizer.batchSeconds, 0.0)
    }

    /** The bundled model with a contract of the accelerometer only. */
    private fun accelerometerOnly(): ModelFiles {
        val folder = File(repository, "android_demo/app/src/main/assets/accelerometer-only")
        return ModelFiles.read { name -> ByteBuffer.wrap(File(folder, name).readBytes()) }
    }

    private fun waitUntil(condition: () -> Boolean) {
        val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30)
        while (!condition()) {
            check(System.nanoTime() < end) { "timeout" }
            Thread.sleep(5)
        }
    }
}
