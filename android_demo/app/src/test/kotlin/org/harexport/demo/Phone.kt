package org.harexport.demo

import android.app.NotificationManager
import android.content.Intent
import android.hardware.SensorManager
import android.os.Looper
import android.os.SystemClock
import android.view.View
import android.view.ViewGroup
import android.view.inspector.WindowInspector
import androidx.activity.ComponentActivity
import androidx.compose.ui.node.RootForTest
import androidx.compose.ui.semantics.SemanticsActions
import androidx.compose.ui.semantics.SemanticsNode
import androidx.compose.ui.semantics.SemanticsProperties
import androidx.compose.ui.semantics.getOrNull
import androidx.compose.ui.text.AnnotatedString
import java.io.File
import java.time.Duration
import org.harexport.core.Sensor
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertTrue
import org.junit.rules.ExternalResource
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
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

    /** Returns [seconds] of a phone that does not move but trembles a little; it hangs upright if [gravity] is not given. */
    fun still(seconds: Double, gravity: FloatArray = floatArrayOf(0f, 9.81f, 0f)): List<Sample> =
        (0 until (seconds * 50).toInt()).flatMap { k ->
            val tremor = 0.01f * (k % 3 - 1)
            listOf(
                Sample(Sensor.ACCELEROMETER, k * 20_000_000L, FloatArray(3) { gravity[it] + tremor }),
                Sample(Sensor.GYROSCOPE, k * 20_000_000L, FloatArray(3) { tremor / 10 }),
            )
        }

    private const val LOOP_NS = 4_500_000_000L
}

/**
 * Closes the screens of a test and runs their last frame. Otherwise Robolectric drops that frame between two tests, and
 * Compose, which waits for it, draws nothing in the following tests of the process.
 */
class ClosedScreens : ExternalResource() {
    override fun after() {
        Phone.screens.forEach { it.close() }
        Phone.screens.clear()
        Phone.advanceTime(Duration.ofMillis(2 * LiveSession.TICK_MS))
    }
}

/** A simulated phone whose sensors and clock are controlled by the test. */
object Phone {
    val app: DemoApplication get() = RuntimeEnvironment.getApplication() as DemoApplication
    private val manager: SensorManager get() = checkNotNull(app.getSystemService(SensorManager::class.java))
    val listeners: Int get() = shadowOf(manager).listeners.size
    val live: LiveState get() = app.live.state.value

    /** Title and text of the notification; null if there is none. */
    val notification: Pair<String, String>?
        get() =
            shadowOf(app.getSystemService(NotificationManager::class.java)).getNotification(ActivityService.ID)?.extras?.let {
                it.getString("android.title").orEmpty() to it.getString("android.text").orEmpty()
            }

    fun setSensors(vararg sensors: Sensor) = sensors.forEach { shadowOf(manager).addSensor(hardware(it)) }

    fun refuseSensors() = shadowOf(manager).setForceListenersToFail(true)

    private fun hardware(sensor: Sensor): android.hardware.Sensor =
        SensorBuilder.newBuilder()
            .setType(if (sensor == Sensor.ACCELEROMETER) android.hardware.Sensor.TYPE_ACCELEROMETER else android.hardware.Sensor.TYPE_GYROSCOPE)
            .build()

    /** Opens the app and waits until the model has been checked. */
    fun open(vararg sensors: Sensor = arrayOf(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)): ActivityController<MainActivity> {
        shadowOf(app).grantPermissions(android.Manifest.permission.POST_NOTIFICATIONS)
        setSensors(*sensors)
        val controller = Robolectric.buildActivity(MainActivity::class.java).also(screens::add).setup()
        waitForModel()
        return controller
    }

    /** Turns the phone to landscape. */
    fun rotate(controller: ActivityController<*>) {
        RuntimeEnvironment.setQualifiers("+w891dp-h411dp-land")
        controller.configurationChange().visible() // Robolectric does not show the new window by itself
    }

    /** The screens that [ClosedScreens] closes after the test. */
    val screens = ArrayList<ActivityController<*>>()

    /** Delivers [samples] at their times to all listeners. */
    fun replay(samples: List<Sample>) {
        val offset = SystemClock.elapsedRealtimeNanos()
        for (sample in samples) {
            val ahead = offset + sample.timeNs - SystemClock.elapsedRealtimeNanos()
            if (ahead > STEP_NS) advanceTime(Duration.ofNanos(ahead))
            deliver(sample.sensor, offset + sample.timeNs, sample.values)
        }
        advanceTime(Duration.ofMillis(2 * LiveSession.TICK_MS))
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
        advanceTime(Duration.ofMillis(2 * LiveSession.TICK_MS))
    }

    /** Waits at most 5 s until [condition] is true: a thread publishes its state a moment before the screen learns of it. */
    fun poll(condition: () -> Boolean) {
        val until = System.nanoTime() + 5_000_000_000
        while (!condition() && System.nanoTime() < until) {
            Thread.sleep(5)
            advanceTime(Duration.ofMillis(1))
        }
    }

    /** Waits until the sensor thread has written the recording. */
    fun waitForFile() = waitFor("the recording's file") { app.recording.state.value.phase == RecordingPhase.IDLE }

    /** Waits until a file is shared, and returns the intent. */
    fun waitForChooser(): Intent {
        waitFor("sharing") { shadowOf(app).peekNextStartedActivity() != null }
        return shadowOf(app).nextStartedActivity
    }

    fun waitForModel() = waitFor("the model") { app.model.state !is ModelState.Checking }

    /** Samples are delivered in groups of this duration, as phones do. */
    private const val STEP_NS = 40_000_000L
}

/** What Compose shows in all windows, dialogs included, as a screen reader sees it. */
object Screen {
    private fun roots(view: View): List<RootForTest> =
        if (view is RootForTest) listOf(view) else (view as? ViewGroup)?.let { group -> (0 until group.childCount).flatMap { roots(group.getChildAt(it)) } }.orEmpty()

    private fun nodes(): List<SemanticsNode> {
        fun all(node: SemanticsNode): List<SemanticsNode> = listOf(node) + node.children.flatMap(::all)
        val roots = WindowInspector.getGlobalWindowViews().filter { it.isShown }.flatMap(::roots)
        // Compose lays out while it draws, and Robolectric draws nothing by itself.
        roots.forEach { it.measureAndLayoutForTest() }
        return roots.flatMap { all(it.semanticsOwner.rootSemanticsNode) }
    }

    private fun texts(node: SemanticsNode): List<String> =
        node.config.getOrNull(SemanticsProperties.Text).orEmpty().map(AnnotatedString::text) + node.config.getOrNull(SemanticsProperties.ContentDescription).orEmpty()

    /** Less than the height of a line, in pixels. */
    private const val MIN_LINE = 16

    /** All texts and descriptions, one a line. */
    val text: String get() = nodes().flatMap(::texts).joinToString("\n")

    private fun actionable(text: String): List<SemanticsNode> =
        nodes().filter { SemanticsActions.OnClick in it.config && texts(it).any { own -> own == text } }

    fun isEnabled(text: String): Boolean = actionable(text).any { SemanticsProperties.Disabled !in it.config }

    fun isSelected(text: String): Boolean = actionable(text).any { it.config.getOrNull(SemanticsProperties.Selected) == true }

    /** Presses the control whose text or description is [text]. */
    fun click(text: String) {
        Phone.poll { actionable(text).isNotEmpty() }
        val node = actionable(text).lastOrNull() ?: throw AssertionError("there is no control '$text' in:\n${this.text}")
        checkNotNull(node.config[SemanticsActions.OnClick].action)()
        Phone.advanceTime(Duration.ofMillis(2 * LiveSession.TICK_MS))
    }

    /** Types into the text field of the top window. */
    fun type(text: String) {
        val node = nodes().last { SemanticsActions.SetText in it.config }
        checkNotNull(node.config[SemanticsActions.SetText].action)(AnnotatedString(text))
        Phone.advanceTime(Duration.ofMillis(LiveSession.TICK_MS))
    }

    /** Sizes in dp of all controls that can be pressed, with their texts. */
    fun controls(activity: ComponentActivity): List<Pair<String, Pair<Float, Float>>> {
        val density = activity.resources.displayMetrics.density
        return nodes().filter { SemanticsActions.OnClick in it.config }.map { texts(it).joinToString() to (it.touchBoundsInRoot.width / density to it.touchBoundsInRoot.height / density) }
    }

    /** Texts that are cut off and cannot be scrolled to. */
    fun clippedTexts(): List<String> =
        nodes().filter { node ->
            val isScrollable = generateSequence(node) { it.parent }.any { SemanticsActions.ScrollBy in it.config }
            !isScrollable && texts(node).isNotEmpty() && node.boundsInRoot.height < maxOf(node.size.height - 1, MIN_LINE)
        }.flatMap(::texts)

    /** Visible texts that begin less than [pixels] below the upper edge of the window. */
    fun textsAbove(pixels: Int): List<String> =
        nodes().filter { texts(it).isNotEmpty() && !it.boundsInWindow.isEmpty && it.boundsInWindow.top < pixels }.flatMap(::texts)

    fun assertShows(part: String) {
        Phone.poll { part in text }
        assertTrue("'$part' is not in:\n$text", part in text)
    }
}

fun property(name: String): String = checkNotNull(System.getProperty(name)) { "the system property $name is not set" }

/** Saves [text] for the checks in Python. */
fun keep(name: String, text: String) = File(File(property("kept")).apply { mkdirs() }, name).writeText(text)
