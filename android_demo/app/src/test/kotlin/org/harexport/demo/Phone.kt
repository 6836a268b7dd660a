package org.harexport.demo

import android.hardware.SensorManager
import android.os.Looper
import android.os.SystemClock
import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import java.io.File
import java.time.Duration
import org.harexport.core.Sensor
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertTrue
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.SensorBuilder
import org.robolectric.shadows.SensorEventBuilder

/** One sensor sample; [timeNs] counts from the first one. */
class Sample(val sensor: Sensor, val timeNs: Long, val values: FloatArray)

/** Nine seconds of walking with faults, and the expected logits: tests/golden/stream.json. */
object GoldenWalk {
    private val case: JSONObject = JSONObject(File(property("golden")).readText()).getJSONArray("cases").getJSONObject(0)

    val samples: List<Sample> = run {
        val rows = case.getJSONArray("samples")
        val first = rows.getJSONArray(0).getLong(1)
        List(rows.length()) { k ->
            val row = rows.getJSONArray(k)
            val values = FloatArray(3) { if (row.isNull(it + 2)) Float.NaN else row.getDouble(it + 2).toFloat() }
            Sample(Sensor.fromTitle(row.getString(0)), row.getLong(1) - first, values)
        }
    }

    /** Logits of each window, computed by the bundled model in Python. */
    val logits: List<List<Double>> = run {
        val rows: JSONArray = case.getJSONObject("logits").getJSONArray("artifacts/edge-any-mount/edge-any-mount-unrolled-float32.tflite")
        List(rows.length()) { k -> List(rows.getJSONArray(k).length()) { rows.getJSONArray(k).getDouble(it) } }
    }

    /** Returns [seconds] of walking without faults: the samples before the gap, repeated. */
    fun steady(seconds: Double): List<Sample> {
        val newest = HashMap<Sensor, Long>()
        val part = ArrayList<Sample>()
        for (sample in samples.filter { it.timeNs < LOOP_NS && it.values.none(Float::isNaN) }) {
            if (sample.timeNs <= (newest[sample.sensor] ?: -1)) continue // repeated or late
            newest[sample.sensor] = sample.timeNs
            part += sample
        }
        return generateSequence(0L) { it + LOOP_NS }
            .flatMap { shift -> part.map { Sample(it.sensor, it.timeNs + shift, it.values) } }
            .takeWhile { it.timeNs <= seconds * 1e9 }
            .toList()
    }

    /** Returns [steady] for a phone in portrait: the y axis is up instead of the x axis. */
    fun portrait(seconds: Double): List<Sample> =
        steady(seconds).map { Sample(it.sensor, it.timeNs, floatArrayOf(-it.values[1], it.values[0], it.values[2])) }

    private const val LOOP_NS = 4_500_000_000L
}

/** A simulated phone whose sensors and clock are controlled by the test. */
object Phone {
    val app: DemoApplication get() = RuntimeEnvironment.getApplication() as DemoApplication
    private val manager: SensorManager get() = checkNotNull(app.getSystemService(SensorManager::class.java))
    val listeners: Int get() = shadowOf(manager).listeners.size

    fun setSensors(vararg sensors: Sensor) = sensors.forEach { shadowOf(manager).addSensor(hardware(it)) }

    private fun hardware(sensor: Sensor): android.hardware.Sensor =
        SensorBuilder.newBuilder()
            .setType(if (sensor == Sensor.ACCELEROMETER) android.hardware.Sensor.TYPE_ACCELEROMETER else android.hardware.Sensor.TYPE_GYROSCOPE)
            .build()

    /** Delivers [samples] at their times to all listeners. */
    fun replay(samples: List<Sample>) {
        val offset = SystemClock.elapsedRealtimeNanos()
        for (sample in samples) {
            val ahead = offset + sample.timeNs - SystemClock.elapsedRealtimeNanos()
            if (ahead > 0) advanceTime(Duration.ofNanos(ahead))
            deliver(sample.sensor, offset + sample.timeNs, sample.values)
        }
        advanceTime(Duration.ofMillis(2 * Screen.TICK_MS))
    }

    fun deliver(sensor: Sensor, timeNs: Long, values: FloatArray) {
        val event = SensorEventBuilder.newBuilder(hardware(sensor), values).setTimestamp(timeNs).build()
        shadowOf(manager).sendSensorEventToListeners(event)
    }

    /** Advances the clock and runs pending work of the main thread. */
    fun advanceTime(time: Duration) = shadowOf(Looper.getMainLooper()).idleFor(time)

    /** Waits until background threads satisfy [condition]; [what] names it in the failure. */
    fun waitFor(what: String, condition: () -> Boolean) {
        val until = System.nanoTime() + 120_000_000_000
        while (!condition()) {
            assertTrue("timeout: $what", System.nanoTime() < until)
            Thread.sleep(5)
            advanceTime(Duration.ofMillis(1))
        }
        advanceTime(Duration.ofMillis(2 * Screen.TICK_MS))
    }

    /** Waits until the sensor thread has written the recording. */
    fun waitForFile() = waitFor("the recording's file") { app.recording.snapshot().run { !recording && !saving } }

    fun waitForModel() = waitFor("the model") { app.model.state !is ModelState.Checking }
}

fun property(name: String): String = checkNotNull(System.getProperty(name)) { "the system property $name is not set" }

/** Returns the texts of all visible views in this one. */
fun View.visibleTexts(): List<String> =
    when {
        visibility != View.VISIBLE -> emptyList()
        this is TextView -> listOf(text.toString())
        this is ViewGroup -> (0 until childCount).flatMap { getChildAt(it).visibleTexts() }
        else -> emptyList()
    }

/** Returns all visible views in this one. */
fun View.all(): List<View> =
    if (visibility != View.VISIBLE) emptyList()
    else listOf(this) + ((this as? ViewGroup)?.let { group -> (0 until group.childCount).flatMap { group.getChildAt(it).all() } }.orEmpty())
