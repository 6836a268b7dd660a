package org.harexport.demo

import android.content.Intent
import android.content.pm.PackageManager
import android.os.Bundle
import android.widget.TextView
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
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config

/** What `harexport bench --target adb` starts, and what anybody else might try. */
@RunWith(RobolectricTestRunner::class)
class SelfTestActivityTest {
    private lateinit var controller: ActivityController<SelfTestActivity>
    private val folder: File get() = checkNotNull(Phone.app.folder())
    private val result: File get() = File(folder, "bench.json")
    private val golden get() = (Phone.app.model.state as ModelState.Trusted).model.golden

    @Before
    fun ready() = Phone.waitForModel()

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
        controller = Robolectric.buildActivity(SelfTestActivity::class.java, intent).setup()
    }

    private fun usual() = mapOf("model" to "bench.tflite", "windows" to "bench.windows", "result" to "bench.json")

    private fun ended() =
        Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Done || Phone.app.selfTest.state is JobState.Failed }

    private fun said() = controller.get().window.decorView.words().joinToString("\n")

    private fun error(): String = JSONObject(result.readText()).also(Schema::checkError).getString("error")

    @Test
    fun `the result follows the schema and holds Python's logits`() {
        push()
        start(usual())
        ended()
        val text = result.readText()
        val told = JSONObject(text)
        Schema.check(told, golden.windows.size)
        val logits = told.getJSONArray("logits")
        golden.logits.forEachIndexed { window, wanted ->
            wanted.forEachIndexed { k, value -> assertTrue(abs(value - logits.getJSONArray(window).getDouble(k)) < 1e-4) }
        }
        assertEquals(golden.modelSha256, told.getString("sha256"))
        assertTrue(said(), "the result is in bench.json" in said())
        assertFalse("half a file was left", folder.listFiles().orEmpty().any { it.name.endsWith(".part") })
        keep("selftest-adb.json", text)
    }

    @Test
    fun `a rotation does not start it again`() {
        push()
        start(usual())
        ended()
        val done = Phone.app.selfTest.state
        controller.recreate()
        Phone.waitFor("the screen") { true }
        assertSame(done, Phone.app.selfTest.state)
        assertTrue(said(), "the result is in bench.json" in said())
    }

    @Test
    fun `a model that is not there`() {
        push()
        File(folder, "bench.tflite").delete()
        start(usual())
        ended()
        assertTrue(error(), "bench.tflite is not in the app's folder" in error())
        assertTrue(said(), error() in said())
        keep("selftest-error.json", result.readText())
    }

    @Test
    fun `a model that is none`() {
        push()
        File(folder, "bench.tflite").writeText("no model")
        start(usual())
        ended()
        assertTrue(error(), "no .tflite file" in error())
    }

    @Test
    fun `windows cut off`() {
        push()
        File(folder, "bench.windows").apply { writeBytes(readBytes().copyOf(1000)) }
        start(usual())
        ended()
        assertTrue(error(), "the file of windows has" in error().replaceFirstChar { it.lowercase() })
    }

    @Test
    fun `windows that are empty`() {
        push()
        File(folder, "bench.windows").writeText("")
        start(usual())
        ended()
        assertTrue(error(), error().isNotBlank())
    }

    @Test
    fun `paths out of the folder are refused`() {
        push()
        for (name in listOf("../../x.tflite", "/etc/passwd", "..", "a/b", "a\u0000b", "", "x".repeat(300))) {
            result.delete()
            start(usual() + ("model" to name))
            ended()
            assertTrue(error(), "\"model\" must be the plain name" in error())
        }
    }

    @Test
    fun `nothing is written where the result has no proper name`() {
        push()
        val before = folder.list().orEmpty().toSet()
        for (name in listOf("../out.json", "bench.tflite", "recordings", ".json", "a\\b.json", null)) {
            start(usual() + ("result" to name))
            ended()
            assertTrue(Phone.app.selfTest.state is JobState.Failed)
            assertTrue(said(), "The self-test could not run" in said())
        }
        start(mapOf("model" to "x.json", "windows" to "bench.windows", "result" to "x.json"))
        ended()
        assertTrue(Phone.app.selfTest.state is JobState.Failed)
        assertEquals(before, folder.list().orEmpty().toSet())
    }

    @Test
    fun `extras of other types are as good as none`() {
        push()
        val strange = Bundle()
        strange.putInt("model", 5)
        strange.putParcelable("windows", Intent())
        start(mapOf("result" to "bench.json"), strange)
        ended()
        assertTrue(error(), "\"model\" must be the plain name" in error())
    }

    @Test
    fun `without extras it says what it is for`() {
        start(emptyMap())
        assertTrue(said(), "This screen is for harexport bench" in said())
        assertTrue(Phone.app.selfTest.state is JobState.Idle)
    }

    @Test
    @Config(application = DamagedModel::class)
    fun `a model of one's own is tested even where the app's is damaged`() {
        val golden = org.harexport.core.Golden.parse(
            File(property("assets"), ModelLoader.GOLDEN).readText(),
            checkNotNull(Phone.app.model.contract),
        )
        File(folder, "bench.tflite").writeBytes(File(property("assets"), ModelLoader.MODEL).readBytes())
        val bytes = ByteBuffer.allocate(16 + 4 * golden.windows[0].size).order(ByteOrder.LITTLE_ENDIAN)
        bytes.putInt(0x57524148).putInt(1).putInt(128).putInt(9)
        golden.windows[0].forEach { bytes.putFloat(it.toFloat()) }
        File(folder, "bench.windows").writeBytes(bytes.array())
        start(usual())
        ended()
        Schema.check(JSONObject(result.readText()), 1)
    }

    @Test
    fun `only adb may start it`() {
        val packages = RuntimeEnvironment.getApplication().packageManager
        val info = packages.getPackageInfo(
            Phone.app.packageName,
            PackageManager.PackageInfoFlags.of((PackageManager.GET_ACTIVITIES or PackageManager.GET_PERMISSIONS or PackageManager.GET_PROVIDERS).toLong()),
        )
        val entry = checkNotNull(info.activities).single { it.name.endsWith(".SelfTestActivity") }
        assertTrue(entry.exported)
        assertEquals("android.permission.DUMP", entry.permission)
        assertTrue(info.requestedPermissions.isNullOrEmpty())
        assertFalse(checkNotNull(info.providers).single().exported)
    }
}
