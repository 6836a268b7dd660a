package org.harexport.demo

import java.io.File
import java.time.Duration
import kotlin.math.abs
import org.harexport.core.MountState
import org.harexport.core.QualityFlag
import org.harexport.core.Sensor
import org.harexport.core.SensorProblem
import org.harexport.core.softmax
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotSame
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config

/** The Live screen, from simulated sensors through preprocessing and the real interpreter to the displayed text. */
@RunWith(RobolectricTestRunner::class)
class LiveTest {
    @get:Rule val screens = ClosedScreens()

    @Test
    fun `every golden window is predicted as in Python, and a gap is reported`() {
        Phone.open()
        val seen = ArrayList<DoubleArray>()
        val offset = android.os.SystemClock.elapsedRealtimeNanos()
        var last: Any? = null
        for (sample in GoldenWalk.samples) {
            val ahead = offset + sample.timeNs - android.os.SystemClock.elapsedRealtimeNanos()
            if (ahead > 40_000_000L) Phone.advanceTime(Duration.ofNanos(ahead))
            Phone.deliver(sample.sensor, offset + sample.timeNs, sample.values)
            val prediction = Phone.live.prediction
            if (prediction != null && prediction !== last) seen += prediction.probabilities
            last = prediction ?: last
        }
        assertEquals(GoldenWalk.logits.size, seen.size)
        for ((got, logits) in seen.zip(GoldenWalk.logits)) {
            val expected = softmax(FloatArray(logits.size) { logits[it].toFloat() })
            assertTrue(expected.indices.all { abs(expected[it] - got[it]) < 1e-4 })
        }
        Phone.advanceTime(Duration.ofMillis(500))
        assertEquals(QualityFlag.SETTLING, Phone.live.prediction?.qualityFlag)
        Screen.assertShows("Walking")
        Screen.assertShows("Starting: reliable in ")
        Screen.assertShows("Recognition restarted: no accelerometer for 0.53 s.")
        Phone.advanceTime(Duration.ofSeconds(9))
        assertFalse("Recognition restarted" in Screen.text)
    }

    @Test
    fun `a settled prediction is displayed with mounting, timeline, probabilities and timings`() {
        Phone.open()
        Phone.replay(GoldenWalk.steady(2.0))
        Screen.assertShows("Starting")
        Phone.replay(GoldenWalk.steady(12.0))
        assertTrue(Screen.text, Regex("\\d+% probability").containsMatchIn(Screen.text))
        assertTrue(Screen.text, Regex("Known: tilted by \\d+° \\(±\\d+°\\)").containsMatchIn(Screen.text))
        assertTrue(Screen.text, Regex("Walking 0:\\d\\d").containsMatchIn(Screen.text))
        assertTrue(Screen.text, Regex("Lying down \\d+%").containsMatchIn(Screen.text))
        assertFalse("samples per second" in Screen.text)
        Screen.click("Signals and timings")
        assertTrue(Screen.text, Regex("p50 [\\d.]+ (µs|ms) · p90 [\\d.]+ (µs|ms)").containsMatchIn(Screen.text))
        Screen.assertShows("50 Hz, windows of 2.56 s, every 1.28 s")
        assertEquals(52.6, Phone.live.rates.getValue(Sensor.ACCELEROMETER), 1.5)
        assertEquals(49.2, Phone.live.rates.getValue(Sensor.GYROSCOPE), 1.5)
    }

    @Test
    fun `predictions are labeled unreliable until walking shows how the phone is worn`() {
        Phone.open()
        Phone.replay(GoldenWalk.portrait(5.5))
        assertEquals(QualityFlag.MOUNT, Phone.live.prediction?.qualityFlag)
        Screen.assertShows("Unreliable")
        Screen.assertShows("Walk a few steps on level ground")
        Phone.replay(GoldenWalk.portrait(14.0))
        assertEquals(MountState.ESTIMATED, Phone.live.mountState)
        assertFalse("Unreliable" in Screen.text)
        assertTrue(checkNotNull(Phone.live.mountEstimate).mount.tiltDegrees in 70.0..110.0)
    }

    @Test
    fun `standing still for three seconds suffices, and moving restarts the countdown`() {
        Phone.open()
        Phone.replay(GoldenWalk.still(1.0))
        Screen.click("Stand still for 3 seconds")
        Screen.assertShows("Stand still and do not touch the phone.")
        Phone.replay(GoldenWalk.portrait(2.0))
        Screen.assertShows("You moved.")
        assertNull(Phone.live.mountEstimate)
        Phone.replay(GoldenWalk.still(4.0))
        assertNull(Phone.live.standing)
        assertTrue(checkNotNull(Phone.live.mountEstimate).gravity[1] > 0.99)
        Screen.assertShows("Known: tilted by 90°")
    }

    @Test
    fun `a phone on a table is reported`() {
        Phone.open()
        Phone.replay(GoldenWalk.still(5.0, floatArrayOf(0f, 0f, 9.81f)))
        Screen.assertShows("The phone lies on a table.")
    }

    @Test
    fun `a phone in the hand is reported`() {
        Phone.open()
        val still = GoldenWalk.still(5.0, floatArrayOf(0f, 6.9f, 6.9f))
        Phone.replay(still.mapIndexed { k, sample -> Sample(sample.sensor, sample.timeNs, FloatArray(3) { sample.values[it] + 0.1f * (k % 4 - 1.5f) }) })
        Screen.assertShows("You hold the phone in your hand.")
    }

    @Test
    fun `in split screen and small windows, all texts are visible or can be scrolled to`() {
        val controller = Phone.open()
        Phone.replay(GoldenWalk.steady(14.0))
        for (size in listOf("w411dp-h300dp-land", "w891dp-h200dp-land", "w411dp-h420dp-port", "w220dp-h400dp-port")) {
            RuntimeEnvironment.setQualifiers("+$size")
            controller.configurationChange().visible()
            for (tab in listOf("Record", "Self-test", "About", "Live")) {
                Screen.click(tab)
                assertEquals("$size, $tab", emptyList<String>(), Screen.clippedTexts())
            }
            Screen.assertShows("Walking")
            Screen.assertShows("Keep recognizing while the screen is off")
        }
        assertTrue(Phone.live.timeline.segments.isNotEmpty())
    }

    @Test
    @Config(application = ContractWithoutFrame::class)
    fun `without a mount stage, another orientation than the training data is reported`() {
        Phone.open()
        Phone.replay(GoldenWalk.portrait(14.0))
        assertEquals(QualityFlag.MOUNT, Phone.live.prediction?.qualityFlag)
        Screen.assertShows("worn differently")
    }

    @Test
    fun `recognition stops when the app leaves the screen, and starts again`() {
        val controller = Phone.open()
        Phone.replay(GoldenWalk.steady(10.0))
        controller.pause().stop()
        assertEquals(0, Phone.listeners)
        assertFalse(Phone.live.isRunning)
        Phone.advanceTime(Duration.ofSeconds(30))
        controller.start().resume()
        Phone.advanceTime(Duration.ofSeconds(1))
        assertTrue(Phone.listeners > 0)
        Screen.assertShows("Starting")
    }

    @Test
    fun `recognition and timeline continue during a rotation`() {
        val controller = Phone.open()
        Phone.replay(GoldenWalk.steady(12.0))
        val before = controller.get()
        val timeline = Phone.live.timeline.segments.size
        Phone.rotate(controller)
        assertNotSame(before, controller.get())
        Phone.advanceTime(Duration.ofMillis(500))
        assertTrue(Phone.listeners > 0)
        assertTrue(Screen.text, Regex("\\d+% probability").containsMatchIn(Screen.text))
        assertEquals(timeline, Phone.live.timeline.segments.size)
    }

    @Test
    fun `a phone without a gyroscope uses the accelerometer-only model and states it`() {
        Phone.open(Sensor.ACCELEROMETER)
        Screen.assertShows("This phone has no gyroscope. The app uses the model for the accelerometer alone")
        Phone.replay(GoldenWalk.steady(14.0).filter { it.sensor == Sensor.ACCELEROMETER })
        assertEquals("WALKING", Phone.live.prediction?.smoothedLabel)
        assertNull(Phone.live.prediction?.qualityFlag)
    }

    @Test
    fun `a phone without sensors is reported`() {
        Phone.open(*emptyArray())
        Screen.assertShows("No prediction")
        Screen.assertShows("This phone has no accelerometer and gyroscope")
        assertEquals(0, Phone.listeners)
    }

    @Test
    fun `slow sensors are reported instead of a prediction`() {
        Phone.open()
        val slow = GoldenWalk.steady(12.0).groupBy { it.sensor }.values.flatMap { it.filterIndexed { k, _ -> k % 2 == 0 } }
        Phone.replay(slow.sortedBy { it.timeNs })
        assertTrue(Phone.live.problem is SensorProblem.Slow)
        Screen.assertShows("No prediction")
        assertTrue(Screen.text, Regex("delivers only 2\\d\\.\\d samples per second").containsMatchIn(Screen.text))
    }

    @Test
    fun `silent sensors are reported, and Try again restarts`() {
        Phone.open()
        Phone.replay(GoldenWalk.steady(10.0))
        Phone.advanceTime(Duration.ofSeconds(6))
        assertNull(Phone.live.prediction)
        Screen.assertShows("has delivered no sample for")
        Screen.click("Try again")
        assertNull(Phone.live.problem)
        Phone.replay(GoldenWalk.steady(4.0))
        assertEquals("WALKING", Phone.live.prediction?.smoothedLabel)
    }

    @Test
    fun `a clock reset is reported`() {
        Phone.open()
        Phone.replay(GoldenWalk.steady(10.0))
        val now = android.os.SystemClock.elapsedRealtimeNanos()
        for (sample in GoldenWalk.steady(0.5)) Phone.deliver(sample.sensor, now - 100_000_000_000 + sample.timeNs, sample.values)
        Phone.advanceTime(Duration.ofMillis(500))
        Screen.assertShows("jumped backwards")
    }

    @Test
    fun `a sensor that cannot be started is reported`() {
        Phone.refuseSensors()
        Phone.open()
        Screen.assertShows("The phone refuses to start the")
    }

    @Test
    fun `That was wrong saves the last seconds with the right label`() {
        Phone.open()
        Phone.replay(GoldenWalk.steady(14.0))
        Screen.click("That was wrong")
        Screen.click("Sitting")
        Phone.waitFor("the recording") { Screen.text.contains("Saved as “Sitting”") }
        val file = checkNotNull(checkNotNull(Phone.app.recordings()).listFiles()).single()
        assertTrue(file.name, file.name.startsWith("sitting-waist-"))
        assertTrue(file.readLines().drop(1).all { it.endsWith(",SITTING") })
        assertTrue(file.readLines().size > 1200)
    }

    @Test
    @Config(qualifiers = "+de")
    fun `the app speaks German`() {
        Phone.open()
        Phone.replay(GoldenWalk.steady(14.0))
        Screen.assertShows("Gehen")
        Screen.assertShows("So trägst du das Telefon")
        assertFalse(Screen.text, "Timeline" in Screen.text)
    }

    @Test
    fun `the timeline is shared as CSV and picture`() {
        Phone.open()
        Phone.replay(GoldenWalk.steady(14.0))
        Screen.click("Share as CSV")
        Screen.click("Share as picture")
        repeat(2) { Phone.waitForChooser() }
        val folder = RecordingProvider.shared(Phone.app)
        val lines = File(folder, "timeline.csv").readLines()
        assertEquals("start,end,seconds,activity", lines[0])
        assertTrue(lines.last(), lines.last().endsWith(",WALKING"))
        assertTrue(File(folder, "timeline.png").length() > 1000)
    }
}
