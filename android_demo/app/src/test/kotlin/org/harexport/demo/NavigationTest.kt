package org.harexport.demo

import android.content.ActivityNotFoundException
import android.content.Intent
import java.io.File
import java.time.Duration
import java.util.concurrent.Executor
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
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

/** Navigation, accessibility, and interactions between screens. */
@RunWith(RobolectricTestRunner::class)
class NavigationTest {
    @get:Rule val screens = ClosedScreens()

    private fun open() = Phone.open()

    @Test
    fun `back leads to Live from the other screens, and then out of the app`() {
        val activity = open().get()
        for (tab in listOf("Record", "Self-test", "About")) {
            Screen.click(tab)
            assertTrue(activity.onBackPressedDispatcher.hasEnabledCallbacks())
            activity.onBackPressedDispatcher.onBackPressed()
            Phone.advanceTime(Duration.ofMillis(500))
            Screen.assertShows("How you wear the phone")
        }
        assertFalse(activity.onBackPressedDispatcher.hasEnabledCallbacks())
    }

    @Test
    @Config(qualifiers = "+h2000dp")
    fun `controls are large enough to be touched, and have names`() {
        val activity = open().get()
        for (tab in listOf("Live", "Record", "Self-test", "About")) {
            Screen.click(tab)
            for ((name, size) in Screen.controls(activity)) {
                assertTrue("$tab: a control has no name", name.isNotBlank())
                assertTrue("$tab: $name is ${size.first} x ${size.second} dp", size.first >= 47.5f && size.second >= 47.5f)
            }
        }
    }

    @Test
    fun `About states that nothing leaves the phone, and cites the data`() {
        open()
        Screen.click("About")
        for (part in listOf("Nothing leaves the phone", "Davide Anguita", "Apache 2.0", "Verified on this phone")) Screen.assertShows(part)
    }

    @Test
    @Config(application = FailingRecovery::class)
    fun `a failed restore of recordings does not prevent loading the model`() {
        open()
        assertTrue(Phone.app.model.state is ModelState.Verified)
        Screen.click("Record")
        Screen.assertShows("access denied")
    }

    @Test
    @Config(application = OutOfMemory::class)
    fun `files larger than the memory are reported`() {
        open()
        Screen.assertShows("No prediction")
        Screen.assertShows("too large for this phone's memory")
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
    fun `a completed test is not repeated after the process was killed`() {
        open()
        val names = mapOf("model" to "bench.tflite", "windows" to "bench.windows", "result" to "bench.json")
        File(checkNotNull(Phone.app.folder()), "bench.json").writeText("{}")
        val intent = Intent(Phone.app, SelfTestActivity::class.java)
        names.forEach { (name, value) -> intent.putExtra(name, value) }
        Robolectric.buildActivity(SelfTestActivity::class.java, intent).also(Phone.screens::add).setup(android.os.Bundle())
        Phone.advanceTime(Duration.ofSeconds(1))
        assertTrue(Phone.app.selfTest.state("bench.json") is JobState.Idle)
        Screen.assertShows("the result is in bench.json")
    }

    @Test
    @Config(application = NoOtherApps::class)
    fun `a sharing failure is reported`() {
        open()
        Phone.app.startOrReport(Intent(Intent.ACTION_SEND))
        assertTrue(ShadowToast.getTextOfLatestToast(), ShadowToast.getTextOfLatestToast().contains("no app for it"))
    }

    @Test
    fun `a plot restarts after a clock reset`() {
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
