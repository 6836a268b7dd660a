package org.harexport.demo

import android.graphics.Bitmap
import android.graphics.Canvas
import java.io.File
import java.time.Duration
import org.harexport.core.Sensor
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowBuild

/** Renders the screens to PNG files in the folder of the system property `screenshots`. */
@RunWith(RobolectricTestRunner::class)
class ScreenshotsTest {
    @get:Rule val screens = ClosedScreens()

    private lateinit var controller: ActivityController<MainActivity>

    @Before
    fun device() {
        ShadowBuild.setManufacturer("simulated")
        ShadowBuild.setModel("phone")
        ShadowBuild.setSupportedAbis(arrayOf(System.getProperty("os.arch")))
    }

    private fun open(vararg sensors: Sensor = arrayOf(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)) {
        controller = Phone.open(*sensors)
    }

    private fun take(name: String) {
        val view = controller.get().window.decorView
        val bars = SystemBars(controller.get().resources)
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
        val canvas = Canvas(bitmap)
        repeat(2) { // Compose lays out while it draws, and moves the content in the frame after that
            view.dispatchApplyWindowInsets(bars.insets)
            Phone.advanceTime(Duration.ofMillis(LiveSession.TICK_MS))
            view.draw(canvas)
        }
        bars.draw(canvas)
        assertEquals("$name: texts beneath the status bar", emptyList<String>(), Screen.textsAbove(bars.height))
        val folder = File(property("screenshots")).apply { mkdirs() }
        File(folder, "$name.png").outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
        val colors = HashSet<Int>()
        for (x in 0 until bitmap.width step 3) for (y in 0 until bitmap.height step 3) colors += bitmap.getPixel(x, y)
        assertTrue("$name has only ${colors.size} colors: nothing was drawn", colors.size > 20)
    }

    private fun live(name: String) {
        open()
        Phone.replay(GoldenWalk.steady(14.0))
        take(name)
    }

    /** A window high enough for the whole page. */
    @Test
    @Config(qualifiers = "+h1860dp")
    fun wholePage() {
        open()
        Phone.replay(GoldenWalk.steady(24.0))
        Phone.replay(GoldenWalk.still(10.0, floatArrayOf(9.5f, -2.4f, 0f)))
        Phone.replay(GoldenWalk.steady(12.0))
        Screen.click("Signals and timings")
        take("live-page")
    }

    @Test
    fun live() = live("live")

    @Test
    @Config(qualifiers = "+night")
    fun liveDark() = live("live-dark")

    @Test
    @Config(qualifiers = "+w891dp-h411dp-land")
    fun liveLandscape() = live("live-landscape")

    @Test
    @Config(qualifiers = "+de")
    fun liveGerman() = live("live-german")

    @Test
    fun liveLargeText() {
        RuntimeEnvironment.setFontScale(2f)
        live("live-large-text")
    }

    @Test
    fun mounting() {
        open()
        take("live-starting")
        Phone.replay(GoldenWalk.portrait(5.5))
        take("live-mounting")
        Screen.click("Stand still for 3 seconds")
        take("live-standing")
    }

    @Test
    fun noGyroscope() {
        open(Sensor.ACCELEROMETER)
        Phone.replay(GoldenWalk.steady(14.0).filter { it.sensor == Sensor.ACCELEROMETER })
        take("live-no-gyroscope")
    }

    @Test
    @Config(application = DamagedModel::class)
    fun damagedModel() {
        open()
        take("live-damaged-model")
    }

    @Test
    fun selfTest() = selfTest("self-test")

    @Test
    fun selfTestLargeText() {
        RuntimeEnvironment.setFontScale(2f)
        selfTest("self-test-large-text")
    }

    private fun selfTest(name: String) {
        open()
        Screen.click("Self-test")
        Screen.click("Run the self-test")
        Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Done }
        take(name)
    }

    @Test
    fun record() = record("record")

    @Test
    @Config(qualifiers = "+night")
    fun recordDark() = record("record-dark")

    @Test
    fun recordLargeText() {
        RuntimeEnvironment.setFontScale(2f)
        record("record-large-text")
    }

    private fun record(name: String) {
        open()
        Phone.app.settings.update { it.copy(countdownSeconds = 0, subject = "Anna") }
        Screen.click("Record")
        Screen.click("Walking")
        take("$name-ready")
        Screen.click("Start recording")
        Phone.replay(GoldenWalk.steady(20.0))
        take(name)
        Screen.click("Stop")
        Phone.waitForFile()
        take("$name-saved")
        Screen.click("Replay")
        Phone.waitFor("the replay") { "Windows that match" in Screen.text }
        take("$name-replay")
    }

    @Test
    fun about() {
        open()
        Screen.click("About")
        take("about")
    }
}
