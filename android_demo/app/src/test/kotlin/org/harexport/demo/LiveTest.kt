package org.harexport.demo

import android.view.View
import android.widget.TextView
import java.time.Duration
import kotlin.math.abs
import org.harexport.core.QualityFlag
import org.harexport.core.Sensor
import org.harexport.core.softmax
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config

/** The Live screen, from simulated sensors through preprocessing and the real interpreter to the displayed text. */
@RunWith(RobolectricTestRunner::class)
class LiveTest {
    private lateinit var controller: ActivityController<MainActivity>
    private val activity: MainActivity get() = controller.get()

    private fun open(vararg sensors: Sensor) {
        Phone.setSensors(*sensors)
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        Phone.waitForModel()
    }

    private fun openWithBoth() = open(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)

    private fun text(id: Int) = activity.requireView<TextView>(id).text.toString()

    private fun visible(id: Int) = activity.requireView<View>(id).visibility == View.VISIBLE

    @Test
    fun `predictions match Python and are displayed`() {
        openWithBoth()
        Phone.replay(GoldenWalk.samples)
        val prediction = checkNotNull(checkNotNull(Phone.app.live.snapshot()).prediction)
        val expected = softmax(FloatArray(GoldenWalk.logits.last().size) { GoldenWalk.logits.last()[it].toFloat() })
        for (k in expected.indices) assertEquals(expected[k], prediction.probabilities[k], 1e-4)
        assertEquals(QualityFlag.SETTLING, prediction.qualityFlag)

        assertEquals("Walking", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).startsWith("Starting: reliable in "))
        assertTrue(visible(R.id.settling))
        val bars = activity.requireView<View>(R.id.bars).contentDescription.toString()
        assertTrue(bars, bars.startsWith("Walking ${Math.round(expected[0] * 100)}%, "))
    }

    @Test
    fun `the prediction of every golden window matches Python`() {
        openWithBoth()
        val seen = ArrayList<DoubleArray>()
        val offset = android.os.SystemClock.elapsedRealtimeNanos()
        var last: Any? = null
        for (sample in GoldenWalk.samples) {
            val ahead = offset + sample.timeNs - android.os.SystemClock.elapsedRealtimeNanos()
            if (ahead > 0) Phone.advanceTime(Duration.ofNanos(ahead))
            Phone.deliver(sample.sensor, offset + sample.timeNs, sample.values)
            val prediction = Phone.app.live.snapshot()?.prediction
            if (prediction != null && prediction !== last) seen += prediction.probabilities
            last = prediction ?: last
        }
        assertEquals(GoldenWalk.logits.size, seen.size)
        for ((got, logits) in seen.zip(GoldenWalk.logits)) {
            val expected = softmax(FloatArray(logits.size) { logits[it].toFloat() })
            assertTrue(expected.indices.all { abs(expected[it] - got[it]) < 1e-4 })
        }
    }

    @Test
    fun `a gap is reported`() {
        openWithBoth()
        Phone.replay(GoldenWalk.samples)
        assertEquals("Restarted: no accelerometer for 0.53 s.", text(R.id.notice))
        assertTrue(visible(R.id.notice))
        Phone.advanceTime(Duration.ofSeconds(9))
        assertFalse(text(R.id.notice).startsWith("Restarted") && visible(R.id.notice))
    }

    @Test
    fun `a settled prediction is displayed with latency and rates`() {
        openWithBoth()
        Phone.replay(GoldenWalk.steady(2.0))
        assertEquals("Starting", text(R.id.activity))
        Phone.replay(GoldenWalk.steady(12.0))
        assertEquals("Walking", text(R.id.activity))
        assertTrue(text(R.id.state), Regex("Probability \\d+%").matches(text(R.id.state)))
        assertFalse(visible(R.id.settling))
        assertTrue(text(R.id.inference), Regex("p50 [\\d.]+ (µs|ms) · p90 [\\d.]+ (µs|ms)").matches(text(R.id.inference)))
        val rates = Regex("Accelerometer (\\d+\\.\\d) · Gyroscope (\\d+\\.\\d)").matchEntire(text(R.id.rates))
        assertNotNull(text(R.id.rates), rates)
        val (accelerometer, gyroscope) = checkNotNull(rates).destructured
        assertEquals(52.6, accelerometer.toDouble(), 1.5)
        assertEquals(49.2, gyroscope.toDouble(), 1.5)
        assertEquals("50 Hz, windows of 2.56 s, every 1.28 s", text(R.id.model))
        val plot = activity.requireView<View>(R.id.plot_accelerometer).contentDescription.toString()
        assertTrue(plot, Regex("Acceleration over the last 5 seconds, now \\d+\\.\\d m/s²").matches(plot))
    }

    @Test
    @Config(application = ContractWithoutFrame::class)
    fun `without a mount stage, another orientation than the training data is reported and its prediction is dimmed`() {
        openWithBoth()
        Phone.replay(GoldenWalk.portrait(14.0))
        assertEquals(QualityFlag.MOUNT, Phone.app.live.snapshot()?.prediction?.qualityFlag)
        assertTrue(text(R.id.state), text(R.id.state).contains("worn differently"))
        assertEquals(activity.getColor(R.color.muted), activity.requireView<TextView>(R.id.activity).currentTextColor)
        assertTrue(activity.requireView<View>(R.id.bars).alpha < 0.5f)
    }

    @Test
    fun `predictions are dimmed until the mounting is estimated from walking`() {
        openWithBoth()
        Phone.advanceTime(Duration.ofMillis(500))
        assertTrue(text(R.id.state), text(R.id.state).contains("in any orientation"))
        Phone.replay(GoldenWalk.portrait(5.5))
        assertEquals(QualityFlag.MOUNT, Phone.app.live.snapshot()?.prediction?.qualityFlag)
        assertTrue(text(R.id.state), text(R.id.state).contains("does not know yet how the phone is worn"))
        assertEquals("Unknown: walk a few steps on level ground", text(R.id.mount))
        assertTrue(activity.requireView<View>(R.id.bars).alpha < 0.5f)
        Phone.replay(GoldenWalk.portrait(14.0))
        val mounting = checkNotNull(Regex("x axis (\\d+)° from vertical, ±\\d+°, from \\d+ s of walking").matchEntire(text(R.id.mount))) { text(R.id.mount) }
        assertTrue(text(R.id.mount), mounting.groupValues[1].toInt() in 70..110)
        assertTrue(text(R.id.state), text(R.id.state).startsWith("Probability"))
        assertEquals(1f, activity.requireView<View>(R.id.bars).alpha)
    }

    @Test
    fun `recognition stops in the background and restarts`() {
        openWithBoth()
        Phone.replay(GoldenWalk.steady(10.0))
        assertTrue(Phone.app.live.running)
        controller.pause()
        assertEquals(0, Phone.listeners)
        assertFalse(Phone.app.live.running)
        Phone.advanceTime(Duration.ofSeconds(30))
        controller.resume()
        Phone.advanceTime(Duration.ofSeconds(1))
        assertTrue(Phone.listeners > 0)
        assertEquals("Starting", text(R.id.activity))
        Phone.replay(GoldenWalk.steady(3.2))
        assertEquals("Walking", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).startsWith("Starting"))
    }

    @Test
    fun `recognition stops on another tab`() {
        openWithBoth()
        assertTrue(Phone.listeners > 0)
        activity.requireView<View>(R.id.tab_record).performClick()
        assertEquals(0, Phone.listeners)
        activity.requireView<View>(R.id.tab_live).performClick()
        Phone.advanceTime(Duration.ofMillis(500))
        assertTrue(Phone.listeners > 0)
    }

    @Test
    fun `recognition continues during a rotation`() {
        openWithBoth()
        Phone.replay(GoldenWalk.steady(12.0))
        val before = activity
        RuntimeEnvironment.setQualifiers("+w891dp-h411dp-land")
        controller.configurationChange()
        assertTrue("the activity was not recreated", before !== activity)
        assertTrue(Phone.listeners > 0)
        Phone.advanceTime(Duration.ofMillis(500))
        assertEquals("Walking", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).startsWith("Probability"))
        controller.pause()
        assertEquals(0, Phone.listeners)
    }

    @Test
    fun `a missing gyroscope is reported`() {
        open(Sensor.ACCELEROMETER)
        Phone.advanceTime(Duration.ofSeconds(1))
        assertEquals("No prediction", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).contains("no gyroscope"))
        assertEquals(0, Phone.listeners)
    }

    @Test
    fun `slow sensors are reported instead of a prediction`() {
        openWithBoth()
        val slow = GoldenWalk.steady(12.0).groupBy { it.sensor }.values.flatMap { it.filterIndexed { k, _ -> k % 2 == 0 } }
        Phone.replay(slow.sortedBy { it.timeNs })
        assertEquals("No prediction", text(R.id.activity))
        assertTrue(text(R.id.state), Regex("The (accelerometer|gyroscope) delivers only 2\\d\\.\\d samples per second.*").matches(text(R.id.state)))
        assertNull(Phone.app.live.snapshot()?.prediction)
    }

    @Test
    fun `silent sensors are reported and outdated predictions removed`() {
        openWithBoth()
        Phone.replay(GoldenWalk.steady(10.0))
        assertEquals("Walking", text(R.id.activity))
        Phone.advanceTime(Duration.ofSeconds(6))
        assertEquals("No prediction", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).contains("has delivered no sample for"))
    }

    @Test
    fun `a clock reset is reported`() {
        openWithBoth()
        Phone.replay(GoldenWalk.steady(10.0))
        val now = android.os.SystemClock.elapsedRealtimeNanos()
        for (sample in GoldenWalk.steady(0.5)) Phone.deliver(sample.sensor, now - 100_000_000_000 + sample.timeNs, sample.values)
        Phone.advanceTime(Duration.ofMillis(500))
        assertTrue(text(R.id.notice) + text(R.id.state), (text(R.id.notice) + text(R.id.state)).contains("jumped backwards"))
        assertFalse(text(R.id.state).startsWith("Probability"))
    }

    @Test
    fun `a sensor that cannot be started is reported`() {
        Phone.setSensors(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)
        org.robolectric.Shadows.shadowOf(Phone.app.getSystemService(android.hardware.SensorManager::class.java)).setForceListenersToFail(true)
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        Phone.waitForModel()
        assertEquals("No prediction", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).contains("cannot be started"))
    }
}
