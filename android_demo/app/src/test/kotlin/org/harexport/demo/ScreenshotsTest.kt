package org.harexport.demo

import android.graphics.Bitmap
import android.graphics.Canvas
import android.view.View
import android.widget.GridLayout
import java.io.File
import org.harexport.core.Sensor
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowBuild

/** Renders the screens to PNG files in the folder of the system property `screenshots`. */
@RunWith(RobolectricTestRunner::class)
class ScreenshotsTest {
    private lateinit var controller: ActivityController<MainActivity>

    @Before
    fun device() {
        ShadowBuild.setManufacturer("simulated")
        ShadowBuild.setModel("phone")
        ShadowBuild.setSupportedAbis(arrayOf(System.getProperty("os.arch")))
    }

    private fun open(vararg sensors: Sensor = arrayOf(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)) {
        Phone.setSensors(*sensors)
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        Phone.waitForModel()
    }

    private fun choose(tab: Int) {
        controller.get().requireView<View>(tab).performClick()
        Phone.waitFor("the screen") { true }
    }

    private fun take(name: String) {
        val view = controller.get().window.decorView
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
        view.draw(Canvas(bitmap))
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

    private fun selfTest(name: String) {
        open()
        choose(R.id.tab_selftest)
        controller.get().requireView<View>(R.id.selftest_run).performClick()
        Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Done }
        take(name)
    }

    private fun record(name: String) {
        open()
        choose(R.id.tab_record)
        controller.get().requireView<GridLayout>(R.id.record_labels).getChildAt(1).performClick()
        val toggle = controller.get().requireView<View>(R.id.record_toggle)
        toggle.performClick()
        Phone.replay(GoldenWalk.steady(5.0))
        toggle.performClick()
        Phone.waitForFile()
        controller.get().requireView<GridLayout>(R.id.record_labels).getChildAt(0).performClick()
        toggle.performClick()
        Phone.replay(GoldenWalk.steady(12.0))
        take(name)
        toggle.performClick()
        Phone.waitForFile()
        take("$name-saved")
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
    fun liveLargeText() {
        RuntimeEnvironment.setFontScale(2f)
        live("live-large-text")
    }

    @Test
    fun settling() {
        open()
        Phone.replay(GoldenWalk.samples)
        take("live-settling")
    }

    @Test
    fun mountUnknown() {
        open()
        Phone.replay(GoldenWalk.portrait(5.5))
        take("live-mount-unknown")
        Phone.replay(GoldenWalk.portrait(14.0))
        take("live-mount-estimated")
    }

    @Test
    @Config(application = ContractWithoutFrame::class)
    fun otherOrientation() {
        open()
        Phone.replay(GoldenWalk.portrait(14.0))
        take("live-other-orientation")
    }

    @Test
    fun noGyroscope() {
        open(Sensor.ACCELEROMETER)
        Phone.replay(emptyList())
        take("live-no-gyroscope")
    }

    @Test
    fun selfTest() = selfTest("self-test")

    @Test
    @Config(qualifiers = "+night")
    fun selfTestDark() = selfTest("self-test-dark")

    @Test
    fun selfTestLargeText() {
        RuntimeEnvironment.setFontScale(2f)
        selfTest("self-test-large-text")
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

    @Test
    @Config(application = DamagedModel::class)
    fun damagedModel() {
        open()
        Phone.replay(emptyList())
        take("live-damaged-model")
    }
}
