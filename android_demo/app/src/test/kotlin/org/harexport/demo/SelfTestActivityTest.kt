package org.harexport.demo

import android.content.Intent
import android.content.pm.PackageManager
import android.os.Bundle
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertSame
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config

/** The activity that `harexport bench --target adb` starts, with valid and invalid extras. */
@RunWith(RobolectricTestRunner::class)
class SelfTestActivityTest {
    @get:Rule val screens = ClosedScreens()

    private lateinit var controller: ActivityController<SelfTestActivity>
    private val folder: File get() = checkNotNull(Phone.app.folder())
    private val result: File get() = File(folder, "bench.json")
    private val golden get() = (Phone.app.model.state as ModelState.Verified).model.golden

    @Before
    fun ready() {
        Phone.app.load()
        Phone.waitForModel()
    }

    private fun push() {
        File(folder, "bench.tflite").writeBytes(File(property("assets"), ModelLoader.MODEL).readBytes())
        val windows = golden.windows
        val bytes = ByteBuffer.allocate(16 + 4 * windows.sumOf { it.size }).order(ByteOrder.LITTLE_ENDIAN)
        bytes.putInt(0x57524148).putInt(windows.size).putInt(128).putInt(9)
        windows.forEach { window -> window.forEach { bytes.putFloat(it.toFloat()) } }
        File(folder, "bench.windows").writeBytes(bytes.array())
    }

    private fun start(extras: Map<String, String?>, also: Bundle? = null) {
        val intent = Intent(RuntimeEnvironment.getApplication(), SelfTestActivity::class.java)
        extras.forEach { (name, value) -> intent.putExtra(name, value) }
        also?.let { intent.putExtras(it) }
        controller = Robolectric.buildActivity(SelfTestActivity::class.java, intent).also(Phone.screens::add).setup()
    }

    private fun validExtras() = mapOf("model" to "bench.tflite", "windows" to "bench.windows", "result" to "bench.json")

    private fun waitForEnd() =
        Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Done || Phone.app.selfTest.state is JobState.Failed }

    private fun displayedText() = Screen.text

    private fun error(): String = JSONObject(result.readText()).also(Schema::checkError).getString("error")

    @Test
    fun `the result matches the schema and contains the logits of Python`() {
        push()
        start(validExtras())
        waitForEnd()
        val text = result.readText()
        val json = JSONObject(text)
        Schema.check(json, golden.windows.size)
        val logits = json.getJSONArray("logits")
        golden.logits.forEachIndexed { window, expected ->
            expected.forEachIndexed { k, value -> assertTrue(abs(value - logits.getJSONArray(window).getDouble(k)) < 1e-4) }
        }
        assertEquals(golden.modelSha256, json.getString("sha256"))
        assertTrue(displayedText(), "The result is in bench.json (windows: ${golden.windows.size})" in displayedText())
        assertFalse("a temporary file remains", folder.listFiles().orEmpty().any { it.name.endsWith(".part") })
        keep("selftest-adb.json", text)
    }

    @Test
    fun `a rotation does not restart the test`() {
        push()
        start(validExtras())
        waitForEnd()
        val done = Phone.app.selfTest.state
        controller.recreate()
        Phone.waitFor("the screen") { true }
        assertSame(done, Phone.app.selfTest.state)
        assertTrue(displayedText(), "The result is in bench.json (windows: ${golden.windows.size})" in displayedText())
    }

    @Test
    fun `a missing model is reported`() {
        push()
        File(folder, "bench.tflite").delete()
        start(validExtras())
        waitForEnd()
        assertTrue(error(), "bench.tflite is not in the app's folder" in error())
        assertTrue(displayedText(), error() in displayedText())
        keep("selftest-error.json", result.readText())
    }

    @Test
    fun `an invalid model is reported`() {
        push()
        File(folder, "bench.tflite").writeText("not a model")
        start(validExtras())
        waitForEnd()
        assertTrue(error(), "not a .tflite file" in error())
    }

    @Test
    fun `truncated windows are reported`() {
        push()
        File(folder, "bench.windows").apply { writeBytes(readBytes().copyOf(1000)) }
        start(validExtras())
        waitForEnd()
        assertTrue(error(), "the windows file has" in error().replaceFirstChar { it.lowercase() })
    }

    @Test
    fun `empty windows are reported`() {
        push()
        File(folder, "bench.windows").writeText("")
        start(validExtras())
        waitForEnd()
        assertTrue(error(), error().isNotBlank())
    }

    @Test
    fun `paths outside the app folder are rejected`() {
        push()
        for (name in listOf("../../x.tflite", "/etc/passwd", "..", "a/b", "a\u0000b", "", "x".repeat(300))) {
            result.delete()
            start(validExtras() + ("model" to name))
            waitForEnd()
            assertTrue(error(), "\"model\" must be a file name" in error())
        }
    }

    @Test
    fun `nothing is written for an invalid result name`() {
        push()
        val before = folder.list().orEmpty().toSet()
        for (name in listOf("../out.json", "bench.tflite", "recordings", ".json", "a\\b.json", null)) {
            start(validExtras() + ("result" to name))
            waitForEnd()
            assertTrue(Phone.app.selfTest.state is JobState.Failed)
            assertTrue(displayedText(), "The self-test could not run" in displayedText())
        }
        start(mapOf("model" to "x.json", "windows" to "bench.windows", "result" to "x.json"))
        waitForEnd()
        assertTrue(Phone.app.selfTest.state is JobState.Failed)
        assertEquals(before, folder.list().orEmpty().toSet())
    }

    @Test
    fun `extras of other types are treated as missing`() {
        push()
        val strange = Bundle()
        strange.putInt("model", 5)
        strange.putParcelable("windows", Intent())
        start(mapOf("result" to "bench.json"), strange)
        waitForEnd()
        assertTrue(error(), "\"model\" must be a file name" in error())
    }

    @Test
    fun `without extras it explains its purpose`() {
        start(emptyMap())
        assertTrue(displayedText(), "harexport bench on a computer starts this screen" in displayedText())
        assertTrue(Phone.app.selfTest.state is JobState.Idle)
    }

    @Test
    @Config(application = DamagedModel::class)
    fun `a pushed model is tested even if the bundled model is corrupt`() {
        val golden = org.harexport.core.GoldenVectors.parse(
            File(property("assets"), ModelLoader.GOLDEN).readText(),
            checkNotNull(Phone.app.model.contract),
        )
        File(folder, "bench.tflite").writeBytes(File(property("assets"), ModelLoader.MODEL).readBytes())
        val bytes = ByteBuffer.allocate(16 + 4 * golden.windows[0].size).order(ByteOrder.LITTLE_ENDIAN)
        bytes.putInt(0x57524148).putInt(1).putInt(128).putInt(9)
        golden.windows[0].forEach { bytes.putFloat(it.toFloat()) }
        File(folder, "bench.windows").writeBytes(bytes.array())
        start(validExtras())
        waitForEnd()
        Schema.check(JSONObject(result.readText()), 1)
    }

    @Test
    fun `only adb can start it`() {
        val packages = RuntimeEnvironment.getApplication().packageManager
        val info = packages.getPackageInfo(
            Phone.app.packageName,
            PackageManager.PackageInfoFlags.of((PackageManager.GET_ACTIVITIES or PackageManager.GET_PERMISSIONS or PackageManager.GET_PROVIDERS).toLong()),
        )
        val entry = checkNotNull(info.activities).single { it.name.endsWith(".SelfTestActivity") }
        assertTrue(entry.exported)
        assertEquals("android.permission.DUMP", entry.permission)
        assertTrue(checkNotNull(info.providers).none { it.exported })
        assertFalse("android.permission.INTERNET" in checkNotNull(info.requestedPermissions))
    }
}
