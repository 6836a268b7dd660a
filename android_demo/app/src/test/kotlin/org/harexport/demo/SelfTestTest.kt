package org.harexport.demo

import android.content.Intent
import android.view.View
import android.widget.TextView
import java.io.File
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertSame
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController

/** The Self-test screen: parity with Python through the real interpreter, times, and what is shared. */
@RunWith(RobolectricTestRunner::class)
class SelfTestTest {
    private lateinit var controller: ActivityController<MainActivity>
    private val activity: MainActivity get() = controller.get()

    @Before
    fun open() {
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        Phone.waitForModel()
        activity.part<View>(R.id.tab_selftest).performClick()
    }

    private fun run() = activity.part<View>(R.id.selftest_run).performClick()

    private fun finished() = Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Done }

    @Test
    fun `parity and times are shown`() {
        assertFalse(activity.part<View>(R.id.selftest_verdict).isShown)
        run()
        assertTrue(activity.part<View>(R.id.selftest_progress).isShown)
        assertFalse(activity.part<View>(R.id.selftest_run).isEnabled)
        finished()
        assertFalse(activity.part<View>(R.id.selftest_progress).isShown)
        assertEquals("Same answers as in Python", activity.part<TextView>(R.id.selftest_headline).text.toString())
        val facts = activity.part<View>(R.id.selftest_facts).words().joinToString("\n")
        for (words in listOf("largest difference of a logit", "(allowed 1.0e-04)", "p50 ", "p90 ", "p99 ", "with XNNPACK", "Android 15")) {
            assertTrue("$words in $facts", words in facts)
        }
        val runs = checkNotNull(Regex("Inference time, (\\d+) runs").find(facts)) { facts }
        assertTrue(runs.groupValues[1].toInt() >= 200)
        assertTrue(activity.part<View>(R.id.selftest_run).isEnabled)
    }

    @Test
    fun `what is shared is the json that harexport reads`() {
        run()
        finished()
        activity.part<View>(R.id.selftest_share).performClick()
        val chooser = shadowOf(RuntimeEnvironment.getApplication()).nextStartedActivity
        val send = checkNotNull(chooser.getParcelableExtra(Intent.EXTRA_INTENT, Intent::class.java))
        assertEquals(Intent.ACTION_SEND, send.action)
        assertEquals("text/plain", send.type)
        val text = checkNotNull(send.getStringExtra(Intent.EXTRA_TEXT))
        Schema.check(JSONObject(text), windows = checkNotNull(trusted()).golden.windows.size)
        keep("selftest-shared.json", text)
    }

    @Test
    fun `a rotation finds it going on, and its result there`() {
        run()
        RuntimeEnvironment.setQualifiers("+w891dp-h411dp-land")
        controller.configurationChange()
        Phone.waitFor("the screen") { true }
        assertTrue(seen(R.id.screen_selftest))
        finished()
        val done = Phone.app.selfTest.state
        assertTrue(seen(R.id.selftest_share))
        controller.recreate()
        Phone.waitFor("the screen") { true }
        assertSame(done, Phone.app.selfTest.state)
        assertTrue(seen(R.id.selftest_share))
    }

    private fun seen(id: Int) = activity.part<View>(id) in activity.window.decorView.all()

    private fun trusted() = (Phone.app.model.state as? ModelState.Trusted)?.model
}

/** harexport/targets/selftest.schema.json, as far as it can be told without a library; Python looks at what is kept, too. */
object Schema {
    private val schema = JSONObject(File(property("schema")).readText())

    fun check(told: JSONObject, windows: Int) {
        assertEquals(schema.getJSONObject("properties").getJSONObject("schema").getString("const"), told.getString("schema"))
        assertFalse(told.optString("error"), told.has("error"))
        for (key in strings(schema.getJSONObject("then"))) assertTrue("no $key", told.has(key))
        for (part in listOf("device", "runtime")) {
            for (key in strings(schema.getJSONObject("properties").getJSONObject(part))) {
                assertTrue("no $part.$key", told.getJSONObject(part).has(key))
            }
        }
        assertTrue(Regex("[0-9a-f]{64}").matches(told.getString("sha256")))
        assertEquals(windows, told.getJSONArray("logits").length())
        val rounds = told.getJSONArray("times_us")
        assertTrue(rounds.length() >= 8)
        for (k in 0 until rounds.length()) {
            assertEquals(rounds.getJSONArray(0).length(), rounds.getJSONArray(k).length())
            assertTrue(rounds.getJSONArray(k).length() >= 25)
            for (run in 0 until rounds.getJSONArray(k).length()) assertTrue(rounds.getJSONArray(k).getDouble(run) > 0)
        }
    }

    fun checkError(told: JSONObject) {
        assertEquals(schema.getJSONObject("properties").getJSONObject("schema").getString("const"), told.getString("schema"))
        assertNotNull(told.getString("error"))
        assertFalse(told.has("logits"))
    }

    private fun strings(plain: JSONObject): List<String> = plain.getJSONArray("required").let { list -> List(list.length()) { list.getString(it) } }
}

/** Keeps [text] where a check in Python finds it. */
fun keep(name: String, text: String) = File(File(property("kept")).apply { mkdirs() }, name).writeText(text)
