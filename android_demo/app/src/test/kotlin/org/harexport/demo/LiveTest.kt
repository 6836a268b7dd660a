package org.harexport.demo

import android.view.View
import android.widget.TextView
import java.time.Duration
import kotlin.math.abs
import org.harexport.core.Doubt
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

/** The Live screen, from simulated sensors through the chain and the real interpreter to what is read on it. */
@RunWith(RobolectricTestRunner::class)
class LiveTest {
    private lateinit var controller: ActivityController<MainActivity>
    private val activity: MainActivity get() = controller.get()

    private fun open(vararg sensors: Sensor) {
        Phone.has(*sensors)
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        Phone.waitForModel()
    }

    private fun openWithBoth() = open(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)

    private fun text(id: Int) = activity.part<TextView>(id).text.toString()

    private fun visible(id: Int) = activity.part<View>(id).visibility == View.VISIBLE

    @Test
    fun `golden walk gets Python's answers, and the screen shows them`() {
        openWithBoth()
        Phone.feel(GoldenWalk.samples)
        val answer = checkNotNull(checkNotNull(Phone.app.live.snapshot()).answer)
        val wanted = softmax(FloatArray(GoldenWalk.logits.last().size) { GoldenWalk.logits.last()[it].toFloat() })
        for (k in wanted.indices) assertEquals(wanted[k], answer.probabilities[k], 1e-4)
        assertEquals(Doubt.SETTLING, answer.doubt)

        assertEquals("Walking", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).startsWith("Settling: to be trusted in "))
        assertTrue(visible(R.id.settling))
        val bars = activity.part<View>(R.id.bars).contentDescription.toString()
        assertTrue(bars, bars.startsWith("Walking ${Math.round(wanted[0] * 100)}%, "))
    }

    @Test
    fun `every window of the golden walk is answered as in Python`() {
        openWithBoth()
        val seen = ArrayList<DoubleArray>()
        val offset = android.os.SystemClock.elapsedRealtimeNanos()
        var last: Any? = null
        for (sample in GoldenWalk.samples) {
            val ahead = offset + sample.timeNs - android.os.SystemClock.elapsedRealtimeNanos()
            if (ahead > 0) Phone.passes(Duration.ofNanos(ahead))
            Phone.deliver(sample.sensor, offset + sample.timeNs, sample.values)
            val answer = Phone.app.live.snapshot()?.answer
            if (answer != null && answer !== last) seen += answer.probabilities
            last = answer ?: last
        }
        assertEquals(GoldenWalk.logits.size, seen.size)
        for ((got, logits) in seen.zip(GoldenWalk.logits)) {
            val wanted = softmax(FloatArray(logits.size) { logits[it].toFloat() })
            assertTrue(wanted.indices.all { abs(wanted[it] - got[it]) < 1e-4 })
        }
    }

    @Test
    fun `a gap is told in words`() {
        openWithBoth()
        Phone.feel(GoldenWalk.samples)
        assertEquals("Started anew: no accelerometer for 0.53 s.", text(R.id.notice))
        assertTrue(visible(R.id.notice))
        Phone.passes(Duration.ofSeconds(9))
        assertFalse(text(R.id.notice).startsWith("Started anew") && visible(R.id.notice))
    }

    @Test
    fun `after the filters have settled the answer is sure, with times and rates`() {
        openWithBoth()
        Phone.feel(GoldenWalk.steady(2.0))
        assertEquals("Listening", text(R.id.activity))
        Phone.feel(GoldenWalk.steady(12.0))
        assertEquals("Walking", text(R.id.activity))
        assertTrue(text(R.id.state), Regex("\\d+% sure").matches(text(R.id.state)))
        assertFalse(visible(R.id.settling))
        assertTrue(text(R.id.inference), Regex("p50 [\\d.]+ (µs|ms) · p90 [\\d.]+ (µs|ms)").matches(text(R.id.inference)))
        val rates = Regex("Accelerometer (\\d+\\.\\d) · Gyroscope (\\d+\\.\\d)").matchEntire(text(R.id.rates))
        assertNotNull(text(R.id.rates), rates)
        val (accelerometer, gyroscope) = checkNotNull(rates).destructured
        assertEquals(52.6, accelerometer.toDouble(), 1.5)
        assertEquals(49.2, gyroscope.toDouble(), 1.5)
        assertEquals("50 Hz, 2.56 s of signal, every 1.28 s", text(R.id.model))
        val plot = activity.part<View>(R.id.plot_accelerometer).contentDescription.toString()
        assertTrue(plot, Regex("Acceleration over the last 5 seconds, now \\d+\\.\\d m/s²").matches(plot))
    }

    @Test
    fun `it pauses in the background and starts anew`() {
        openWithBoth()
        Phone.feel(GoldenWalk.steady(10.0))
        assertTrue(Phone.app.live.running)
        controller.pause()
        assertEquals(0, Phone.listeners)
        assertFalse(Phone.app.live.running)
        Phone.passes(Duration.ofSeconds(30))
        controller.resume()
        Phone.passes(Duration.ofSeconds(1))
        assertTrue(Phone.listeners > 0)
        assertEquals("Listening", text(R.id.activity))
        Phone.feel(GoldenWalk.steady(4.0))
        assertEquals("Walking", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).startsWith("Settling"))
    }

    @Test
    fun `another tab stops it`() {
        openWithBoth()
        assertTrue(Phone.listeners > 0)
        activity.part<View>(R.id.tab_record).performClick()
        assertEquals(0, Phone.listeners)
        activity.part<View>(R.id.tab_live).performClick()
        Phone.passes(Duration.ofMillis(500))
        assertTrue(Phone.listeners > 0)
    }

    @Test
    fun `a rotation does not interrupt it`() {
        openWithBoth()
        Phone.feel(GoldenWalk.steady(10.0))
        val before = activity
        RuntimeEnvironment.setQualifiers("+w891dp-h411dp-land")
        controller.configurationChange()
        assertTrue("the activity was not made anew", before !== activity)
        assertTrue(Phone.listeners > 0)
        Phone.passes(Duration.ofMillis(500))
        assertEquals("Walking", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).endsWith("% sure"))
        controller.pause()
        assertEquals(0, Phone.listeners)
    }

    @Test
    fun `a phone without a gyroscope is told so`() {
        open(Sensor.ACCELEROMETER)
        Phone.passes(Duration.ofSeconds(1))
        assertEquals("No answers", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).contains("no gyroscope"))
        assertEquals(0, Phone.listeners)
    }

    @Test
    fun `sensors that are too slow get no answer`() {
        openWithBoth()
        val slow = GoldenWalk.steady(12.0).groupBy { it.sensor }.values.flatMap { it.filterIndexed { k, _ -> k % 2 == 0 } }
        Phone.feel(slow.sortedBy { it.timeNs })
        assertEquals("No answers", text(R.id.activity))
        assertTrue(text(R.id.state), Regex("The (accelerometer|gyroscope) gives only 2\\d\\.\\d samples a second.*").matches(text(R.id.state)))
        assertNull(Phone.app.live.snapshot()?.answer)
    }

    @Test
    fun `sensors that fall silent get no answer, old ones are taken back`() {
        openWithBoth()
        Phone.feel(GoldenWalk.steady(10.0))
        assertEquals("Walking", text(R.id.activity))
        Phone.passes(Duration.ofSeconds(6))
        assertEquals("No answers", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).contains("has given nothing for"))
    }

    @Test
    fun `a clock that runs backwards is told, and answered after`() {
        openWithBoth()
        Phone.feel(GoldenWalk.steady(10.0))
        val now = android.os.SystemClock.elapsedRealtimeNanos()
        for (sample in GoldenWalk.steady(0.5)) Phone.deliver(sample.sensor, now - 100_000_000_000 + sample.timeNs, sample.values)
        Phone.passes(Duration.ofMillis(500))
        assertTrue(text(R.id.notice) + text(R.id.state), (text(R.id.notice) + text(R.id.state)).contains("ran back"))
        assertFalse(text(R.id.state).endsWith("% sure"))
    }

    @Test
    fun `a sensor that cannot be started is told`() {
        Phone.has(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)
        org.robolectric.Shadows.shadowOf(Phone.app.getSystemService(android.hardware.SensorManager::class.java)).setForceListenersToFail(true)
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        Phone.waitForModel()
        assertEquals("No answers", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).contains("cannot be started"))
    }
}
