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

/** Bringing back old recordings fails. */
class Unrecoverable : DemoApplication() {
    override fun recover(): Unit = throw SecurityException("no way in")
}

/** More than the phone's memory. */
class NoMemory : OtherAssets() {
    override fun changed(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.GOLDEN) throw OutOfMemoryError("heap") else content
}

/** A phone on which nothing can be started. */
class NothingStarts : DemoApplication() {
    override fun startActivity(intent: Intent): Unit = throw ActivityNotFoundException("no app for it")
}

/** What must not go wrong between the screens, and with a phone that is short of something. */
@RunWith(RobolectricTestRunner::class)
class FixesTest {
    private lateinit var controller: ActivityController<MainActivity>
    private val activity: MainActivity get() = controller.get()

    private fun open() {
        Phone.has(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        Phone.waitForModel()
    }

    private fun text(id: Int) = activity.part<TextView>(id).text.toString()

    private fun staysOn() = activity.window.attributes.flags and WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON != 0

    @Test
    fun `a recording keeps the screen on whatever tab is looked at`() {
        open()
        activity.part<View>(R.id.tab_record).performClick()
        Phone.app.recording.start("WALKING", 50.0)
        activity.part<View>(R.id.tab_selftest).performClick()
        Phone.feel(GoldenWalk.steady(2.0))
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
    fun `the screen's side is the bar's side in languages from right to left`() {
        RuntimeEnvironment.setQualifiers("+ar-rEG-ldrtl-w891dp-h411dp-land")
        open()
        val bars =
            android.view.WindowInsets.Builder()
                .setInsets(android.view.WindowInsets.Type.systemBars(), android.graphics.Insets.of(10, 20, 30, 40))
                .build()
        activity.part<View>(R.id.root).dispatchApplyWindowInsets(bars)
        val bar = activity.part<View>(R.id.tabs)
        val screen = activity.part<View>(R.id.screen_live)
        assertEquals(listOf(0, 30), listOf(bar.paddingLeft, bar.paddingRight))
        assertEquals(listOf(10, 0), listOf(screen.paddingLeft, screen.paddingRight))
    }

    /** The jobs of a [SelfTestJob], run when the test says so. */
    private class Later : Executor {
        val jobs = ArrayList<Runnable>()

        override fun execute(job: Runnable) {
            jobs += job
        }

        fun go() = jobs.toList().also { jobs.clear() }.forEach(Runnable::run)
    }

    @Test
    fun `a test that comes while another one runs is refused in its file, and nobody shows another's result`() {
        open()
        val later = Later()
        val job = SelfTestJob(Phone.app, Phone.app.model, later)
        job.golden()
        job.files("a.tflite", "a.windows", "a.json")
        val file = File(checkNotNull(Phone.app.folder()), "a.json")
        val told = JSONObject(file.readText()).also(Schema::checkError).getString("error")
        assertTrue(told, told.startsWith("Busy"))
        assertTrue(job.state("a.json") is JobState.Failed)
        assertTrue(job.state(SelfTestJob.GOLDEN) is JobState.Running)
        later.go()
        assertTrue(job.state(SelfTestJob.GOLDEN) is JobState.Done)
        assertTrue(job.state("a.json") is JobState.Failed)

        job.files("a.tflite", "a.windows", "b.json")
        job.golden()
        assertEquals("one at a time", 1, later.jobs.size)
        later.go()
        assertTrue(job.state("b.json") is JobState.Failed)
        assertTrue(job.state(SelfTestJob.GOLDEN) is JobState.Done)
    }

    @Test
    fun `the tab knows nothing of a computer's test`() {
        open()
        activity.part<View>(R.id.tab_selftest).performClick()
        Phone.app.selfTest.files("absent.tflite", "absent.windows", "c.json")
        Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Failed }
        assertFalse(activity.part<View>(R.id.selftest_verdict).isShown)
        assertEquals("Run the self-test", text(R.id.selftest_run))
        assertTrue(activity.part<View>(R.id.selftest_run).isEnabled)
    }

    @Test
    fun `a result that is there is not measured again after the process has died`() {
        open()
        val names = mapOf("model" to "bench.tflite", "windows" to "bench.windows", "result" to "bench.json")
        File(checkNotNull(Phone.app.folder()), "bench.json").writeText("{}")
        val intent = Intent(Phone.app, SelfTestActivity::class.java)
        names.forEach { (name, value) -> intent.putExtra(name, value) }
        val revived = Robolectric.buildActivity(SelfTestActivity::class.java, intent).setup(android.os.Bundle())
        Phone.passes(Duration.ofSeconds(1))
        assertTrue(Phone.app.selfTest.state("bench.json") is JobState.Idle)
        assertTrue(revived.get().window.decorView.words().any { it.contains("the result is in bench.json") })
    }

    @Test
    @Config(application = NothingStarts::class)
    fun `a phone that cannot share is told in words`() {
        open()
        Phone.app.startOrSay(Intent(Intent.ACTION_SEND))
        assertTrue(ShadowToast.getTextOfLatestToast(), ShadowToast.getTextOfLatestToast().contains("no app for it"))
    }

    @Test
    @Config(application = Unrecoverable::class)
    fun `recordings that cannot be brought back cost neither the app nor the model`() {
        open()
        assertTrue(Phone.app.model.state is ModelState.Trusted)
        activity.part<View>(R.id.tab_record).performClick()
        assertTrue(text(R.id.record_notice), text(R.id.record_notice).contains("no way in"))
    }

    @Test
    @Config(application = NoMemory::class)
    fun `files larger than the memory are refused in words`() {
        open()
        assertEquals("No answers", text(R.id.activity))
        assertTrue(text(R.id.state), text(R.id.state).contains("larger than this phone's memory"))
    }

    @Test
    fun `large text puts the axes' names below the heading`() {
        open()
        assertTrue(activity.part<PlotView>(R.id.plot_accelerometer).inOneLine(1080))
        val plain = activity.part<PlotView>(R.id.plot_accelerometer)
        assertFalse(plain.inOneLine(200))
        val wide = View.MeasureSpec.makeMeasureSpec(1080, View.MeasureSpec.EXACTLY)
        val small = View.MeasureSpec.makeMeasureSpec(200, View.MeasureSpec.EXACTLY)
        plain.measure(wide, View.MeasureSpec.UNSPECIFIED)
        val oneLine = plain.measuredHeight
        plain.measure(small, View.MeasureSpec.UNSPECIFIED)
        assertTrue(plain.measuredHeight > oneLine)
    }

    @Test
    fun `a plot begins anew where the chain does`() {
        open()
        val trace = Trace()
        val second = 1_000_000_000L
        val sample = doubleArrayOf(1.0, 2.0, 3.0)
        fun count() = trace.copy(FloatArray(Trace.ROOM), Array(Trace.AXES) { FloatArray(Trace.ROOM) })
        for (k in 0..9) trace.add(10 * second + k * second / 50, sample)
        trace.add(10 * second, sample)
        assertEquals("late: left out", 10, count())
        trace.add(9 * second, sample)
        assertEquals("ran back: begun anew", 1, count())
    }
}
