package org.harexport.demo

import android.content.ActivityNotFoundException
import android.content.Intent
import android.view.View
import android.view.WindowManager
import android.widget.TextView
import java.io.File
import java.time.Duration
import java.util.concurrent.Executor
import org.harexport.core.Sensor
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowToast

/** Restoring interrupted recordings fails. */
class FailingRecovery : DemoApplication() {
    override fun recover(): Unit = throw SecurityException("access denied")
}

/** Reading an asset exhausts the memory. */
class OutOfMemory : ModifiedAssets() {
    override fun modify(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.GOLDEN) throw OutOfMemoryError("heap") else content
}

/** A phone on which no other app can be started. */
class NoOtherApps : DemoApplication() {
    override fun startActivity(intent: Intent): Unit = throw ActivityNotFoundException("no app for it")
}

/** Regression tests for interactions between screens and for missing resources. */
@RunWith(RobolectricTestRunner::class)
class RegressionTest {
    private lateinit var controller: ActivityController<MainActivity>
    private val activity: MainActivity get() = controller.get()

    private fun open() {
        Phone.setSensors(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        Phone.waitForModel()
    }

    private fun text(id: Int) = activity.requireView<TextView>(id).text.toString()

    private fun staysOn() = activity.window.attributes.flags and WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON != 0

    @Test
    fun `recording keeps the screen on with any tab selected`() {
        open()
        activity.requireView<View>(R.id.tab_record).performClick()
        Phone.app.recording.start("WALKING", 50.0)
        activity.requireView<View>(R.id.tab_selftest).performClick()
        Phone.replay(GoldenWalk.steady(2.0))
        assertTrue(staysOn())
        assertEquals("Recording", text(R.id.tab_record))
        RuntimeEnvironment.setQualifiers("+w891dp-h411dp-land")
        controller.configurationChange()
        assertTrue(staysOn())
        assertEquals("Recording", text(R.id.tab_record))
        Phone.app.recording.stop()
        Phone.waitForFile()
        assertFalse(staysOn())
        assertEquals("Record", text(R.id.tab_record))
    }

    @Test
    fun `insets are mirrored in right-to-left languages`() {
        RuntimeEnvironment.setQualifiers("+ar-rEG-ldrtl-w891dp-h411dp-land")
        open()
        val bars =
            android.view.WindowInsets.Builder()
                .setInsets(android.view.WindowInsets.Type.systemBars(), android.graphics.Insets.of(10, 20, 30, 40))
                .build()
        activity.requireView<View>(R.id.root).dispatchApplyWindowInsets(bars)
        val bar = activity.requireView<View>(R.id.tabs)
        val screen = activity.requireView<View>(R.id.screen_live)
        assertEquals(listOf(0, 30), listOf(bar.paddingLeft, bar.paddingRight))
        assertEquals(listOf(10, 0), listOf(screen.paddingLeft, screen.paddingRight))
    }

    /** Queues the jobs of a [SelfTestJob] until [runAll]. */
    private class QueueingExecutor : Executor {
        val jobs = ArrayList<Runnable>()

        override fun execute(job: Runnable) {
            jobs += job
        }

        fun runAll() = jobs.toList().also { jobs.clear() }.forEach(Runnable::run)
    }

    @Test
    fun `a second test is rejected in its result file, and results are not mixed up`() {
        open()
        val queue = QueueingExecutor()
        val job = SelfTestJob(Phone.app, Phone.app.model, queue)
        job.runGolden()
        job.runFiles("a.tflite", "a.windows", "a.json")
        val file = File(checkNotNull(Phone.app.folder()), "a.json")
        val error = JSONObject(file.readText()).also(Schema::checkError).getString("error")
        assertTrue(error, error.startsWith("Another self-test is running"))
        assertTrue(job.state("a.json") is JobState.Failed)
        assertTrue(job.state(SelfTestJob.GOLDEN) is JobState.Running)
        queue.runAll()
        assertTrue(job.state(SelfTestJob.GOLDEN) is JobState.Done)
        assertTrue(job.state("a.json") is JobState.Failed)

        job.runFiles("a.tflite", "a.windows", "b.json")
        job.runGolden()
        assertEquals("one at a time", 1, queue.jobs.size)
        queue.runAll()
        assertTrue(job.state("b.json") is JobState.Failed)
        assertTrue(job.state(SelfTestJob.GOLDEN) is JobState.Done)
    }

    @Test
    fun `the tab does not show a test of pushed files`() {
        open()
        activity.requireView<View>(R.id.tab_selftest).performClick()
        Phone.app.selfTest.runFiles("absent.tflite", "absent.windows", "c.json")
        Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Failed }
        assertFalse(activity.requireView<View>(R.id.selftest_verdict).isShown)
        assertEquals("Run the self-test", text(R.id.selftest_run))
        assertTrue(activity.requireView<View>(R.id.selftest_run).isEnabled)
    }

    @Test
    fun `a completed test is not repeated after the process was killed`() {
        open()
        val names = mapOf("model" to "bench.tflite", "windows" to "bench.windows", "result" to "bench.json")
        File(checkNotNull(Phone.app.folder()), "bench.json").writeText("{}")
        val intent = Intent(Phone.app, SelfTestActivity::class.java)
        names.forEach { (name, value) -> intent.putExtra(name, value) }
        val revived = Robolectric.buildActivity(SelfTestActivity::class.java, intent).setup(android.os.Bundle())
        Phone.advanceTime(Duration.ofSeconds(1))
        assertTrue(Phone.app.selfTest.state("bench.json") is JobState.Idle)
        assertTrue(revived.get().window.decorView.visibleTexts().any { it.contains("the result is in bench.json") })
    }

    @Test
    @Config(application = NoOtherApps::class)
    fun `a sharing failure is reported`() {
        open()
        Phone.app.startOrReport(Intent(Intent.ACTION_SEND))
        assertTrue(ShadowToast.getTextOfLatestToast(), ShadowToast.getTextOfLatestToast().contains("no app for it"))
    }

    @Test
    @Config(application = FailingRecovery::class)
    fun `a failed restore of recordings does not prevent loading the model`() {
        open()
        assertTrue(Phone.app.model.state is ModelState.Verified)
        activity.requireView<View>(R.id.tab_record).performClick()
        assertTrue(text(R.id.record_notice), text(R.id.record_notice).contains("access denied"))
    }

    @Test
    @Config(application = OutOfMemory::class)
    fun `files larger than the memory are reported`() {
        open()
        assertEquals("No prediction", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).contains("too large for this phone's memory"))
    }

    @Test
    fun `large text moves the axis names below the heading`() {
        open()
        assertTrue(activity.requireView<PlotView>(R.id.plot_accelerometer).fitsOneLine(1080))
        val plain = activity.requireView<PlotView>(R.id.plot_accelerometer)
        assertFalse(plain.fitsOneLine(200))
        val wide = View.MeasureSpec.makeMeasureSpec(1080, View.MeasureSpec.EXACTLY)
        val small = View.MeasureSpec.makeMeasureSpec(200, View.MeasureSpec.EXACTLY)
        plain.measure(wide, View.MeasureSpec.UNSPECIFIED)
        val oneLine = plain.measuredHeight
        plain.measure(small, View.MeasureSpec.UNSPECIFIED)
        assertTrue(plain.measuredHeight > oneLine)
    }

    @Test
    fun `a plot restarts after a clock reset`() {
        open()
        val trace = Trace()
        val second = 1_000_000_000L
        val sample = doubleArrayOf(1.0, 2.0, 3.0)
        fun count() = trace.copy(FloatArray(Trace.CAPACITY), Array(Trace.AXES) { FloatArray(Trace.CAPACITY) })
        for (k in 0..9) trace.add(10 * second + k * second / 50, sample)
        trace.add(10 * second, sample)
        assertEquals("late samples are dropped", 10, count())
        trace.add(9 * second, sample)
        assertEquals("a clock reset clears the plot", 1, count())
    }
}
