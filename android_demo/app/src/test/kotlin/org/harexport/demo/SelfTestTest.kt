package org.harexport.demo

import android.content.Intent
import java.io.File
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertSame
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController

/** The Self-test screen: parity with Python, latency and the shared result, with the real interpreter. */
@RunWith(RobolectricTestRunner::class)
class SelfTestTest {
    @get:Rule val screens = ClosedScreens()

    private lateinit var controller: ActivityController<MainActivity>

    @Before
    fun open() {
        controller = Phone.open()
        Screen.click("Self-test")
    }

    private fun run() = Screen.click("Run the self-test")

    private fun waitForEnd() = Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Done }

    @Test
    fun `three figures and a badge, the rest under Details`() {
        assertFalse("Verified" in Screen.text)
        run()
        waitForEnd()
        val windows = checkNotNull(verifiedModel()).golden.windows.size
        for (part in listOf("Verified on this phone", "$windows of $windows", "largest difference of a logit", "inference time of a window")) Screen.assertShows(part)
        assertFalse("p99" in Screen.text)
        Screen.click("Details")
        for (part in listOf("Logits, largest difference", "(tolerance 1.0e-04)", "p50 ", "p90 ", "p99 ", "with XNNPACK", "Android 15")) Screen.assertShows(part)
        val runs = checkNotNull(Regex("Inference time \\(runs: (\\d+)\\)").find(Screen.text)) { Screen.text }
        assertTrue(runs.groupValues[1].toInt() >= 200)
        assertTrue(Screen.isEnabled("Run again"))
    }

    @Test
    fun `the shared JSON matches the schema`() {
        run()
        waitForEnd()
        Screen.click("Share the result as JSON")
        val chooser = shadowOf(RuntimeEnvironment.getApplication()).nextStartedActivity
        val send = checkNotNull(chooser.getParcelableExtra(Intent.EXTRA_INTENT, Intent::class.java))
        assertEquals(Intent.ACTION_SEND, send.action)
        assertEquals("text/plain", send.type)
        val text = checkNotNull(send.getStringExtra(Intent.EXTRA_TEXT))
        Schema.check(JSONObject(text), windows = checkNotNull(verifiedModel()).golden.windows.size)
        keep("selftest-shared.json", text)
    }

    @Test
    fun `test and result survive a rotation`() {
        run()
        Phone.rotate(controller)
        waitForEnd()
        val done = Phone.app.selfTest.state
        Screen.assertShows("Verified on this phone")
        controller.recreate()
        Phone.waitFor("the screen") { true }
        assertSame(done, Phone.app.selfTest.state)
        Screen.assertShows("Verified on this phone")
    }

    private fun verifiedModel() = (Phone.app.model.state as? ModelState.Verified)?.model
}

/** Checks the main parts of harexport/targets/selftest.schema.json; tests in Python validate the saved files in full. */
object Schema {
    private val schema = JSONObject(File(property("schema")).readText())

    fun check(json: JSONObject, windows: Int) {
        assertEquals(schema.getJSONObject("properties").getJSONObject("schema").getString("const"), json.getString("schema"))
        assertFalse(json.optString("error"), json.has("error"))
        for (key in strings(schema.getJSONObject("then"))) assertTrue("no $key", json.has(key))
        for (part in listOf("device", "runtime")) {
            for (key in strings(schema.getJSONObject("properties").getJSONObject(part))) {
                assertTrue("no $part.$key", json.getJSONObject(part).has(key))
            }
        }
        assertTrue(Regex("[0-9a-f]{64}").matches(json.getString("sha256")))
        assertEquals(windows, json.getJSONArray("logits").length())
        val rounds = json.getJSONArray("times_us")
        assertTrue(rounds.length() >= 8)
        for (k in 0 until rounds.length()) {
            assertEquals(rounds.getJSONArray(0).length(), rounds.getJSONArray(k).length())
            assertTrue(rounds.getJSONArray(k).length() >= 25)
            for (run in 0 until rounds.getJSONArray(k).length()) assertTrue(rounds.getJSONArray(k).getDouble(run) > 0)
        }
    }

    fun checkError(json: JSONObject) {
        assertEquals(schema.getJSONObject("properties").getJSONObject("schema").getString("const"), json.getString("schema"))
        assertNotNull(json.getString("error"))
        assertFalse(json.has("logits"))
    }

    private fun strings(plain: JSONObject): List<String> = plain.getJSONArray("required").let { list -> List(list.length()) { list.getString(it) } }
}
