package org.harexport.demo

import android.content.Context
import android.graphics.Color
import android.view.View
import android.widget.TextView
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow
import org.harexport.core.Sensor
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config

/** Contrast, large text, touch targets, content descriptions and system bar insets. */
@RunWith(RobolectricTestRunner::class)
class AccessibilityTest {
    private val context: Context get() = RuntimeEnvironment.getApplication()

    private fun contrast(one: Int, other: Int): Double {
        val (a, b) = listOf(one, other).map { luminance(context.getColor(it)) }
        return (max(a, b) + 0.05) / (min(a, b) + 0.05)
    }

    /** Relative luminance as defined by WCAG 2. */
    private fun luminance(color: Int): Double {
        val (r, g, b) = listOf(Color.red(color), Color.green(color), Color.blue(color)).map {
            val part = it / 255.0
            if (part <= 0.04045) part / 12.92 else ((part + 0.055) / 1.055).pow(2.4)
        }
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    private fun contrasts() {
        val onSurface = listOf(R.color.ink, R.color.muted, R.color.accent, R.color.good, R.color.bad, R.color.axis_x, R.color.axis_y, R.color.axis_z)
        val pairs =
            onSurface.map { it to R.color.surface } +
                listOf(R.color.ink, R.color.muted).map { it to R.color.ground } +
                listOf(
                    R.color.on_accent to R.color.accent,
                    R.color.on_accent to R.color.bad,
                    R.color.accent to R.color.accent_tint,
                    R.color.bad to R.color.accent_tint,
                    R.color.good to R.color.good_tint,
                    R.color.warn to R.color.warn_tint,
                    R.color.muted to R.color.line,
                )
        for ((text, ground) in pairs) {
            val found = contrast(text, ground)
            val names = listOf(text, ground).joinToString(" on ") { context.resources.getResourceEntryName(it) }
            assertTrue("$names: %.2f".format(found), found >= 4.5)
        }
    }

    @Test
    fun `contrast ratio is at least 4,5`() = contrasts()

    @Test
    @Config(qualifiers = "+night")
    fun `contrast ratio is at least 4,5 in dark mode`() {
        assertTrue("dark mode is not active", Color.red(context.getColor(R.color.ground)) < 64)
        contrasts()
    }

    private fun everyScreen(look: (View) -> Unit) {
        Phone.setSensors(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)
        val activity = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        Phone.waitForModel()
        Phone.replay(GoldenWalk.steady(12.0))
        look(activity.window.decorView)
        activity.requireView<View>(R.id.tab_selftest).performClick()
        activity.requireView<View>(R.id.selftest_run).performClick()
        Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Done }
        look(activity.window.decorView)
        activity.requireView<View>(R.id.tab_record).performClick()
        Phone.app.recording.start("WALKING", 50.0)
        Phone.replay(GoldenWalk.steady(2.0))
        Phone.app.recording.stop()
        Phone.waitForFile()
        look(activity.window.decorView)
    }

    private fun fits(root: View) {
        val touch = context.resources.getDimension(R.dimen.touch)
        val views = root.all().filter { it.isShown && it.width > 0 }
        for (view in views.filter { it.isClickable }) {
            val name = (view as? TextView)?.text ?: view
            assertTrue("$name is ${view.width} by ${view.height}", view.width >= touch && view.height >= touch)
        }
        for (view in views.filterIsInstance<TextView>().filter { it.text.isNotEmpty() }) {
            val layout = checkNotNull(view.layout)
            for (line in 0 until layout.lineCount) assertEquals("${view.text} is cut", 0, layout.getEllipsisCount(line))
            val room = view.height - view.compoundPaddingTop - view.compoundPaddingBottom
            assertTrue("${view.text} is higher than its $room px", layout.height <= room)
            for (line in 0 until layout.lineCount) {
                val wide = layout.getLineMax(line) // without the space at its end
                assertTrue("${view.text} is wider than its view", wide <= view.width - view.compoundPaddingLeft - view.compoundPaddingRight + 1)
            }
        }
        for (view in views.filter { it is BarsView || it is PlotView }) {
            assertFalse("$view has no content description", view.contentDescription.isNullOrBlank())
        }
        val right = context.resources.displayMetrics.widthPixels
        for (view in views) {
            val place = IntArray(2).also(view::getLocationInWindow)
            assertTrue("$view is beyond the edge", place[0] >= 0 && place[0] + view.width <= right)
        }
    }

    @Test
    fun `all views fit and touch targets are large enough`() = everyScreen(::fits)

    @Test
    fun `all views fit with the largest text`() {
        RuntimeEnvironment.setFontScale(2f)
        everyScreen(::fits)
    }

    @Test
    @Config(qualifiers = "+w320dp-h533dp")
    fun `all views fit on a small phone with large text`() {
        RuntimeEnvironment.setFontScale(1.5f)
        everyScreen(::fits)
    }

    @Test
    @Config(qualifiers = "+w891dp-h411dp-land")
    fun `all views fit in landscape`() = everyScreen(::fits)

    @Test
    fun `system bars do not cover the content`() {
        val activity = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        val root = activity.requireView<View>(R.id.root)
        val bars =
            android.view.WindowInsets.Builder()
                .setInsets(android.view.WindowInsets.Type.systemBars(), android.graphics.Insets.of(0, 72, 0, 48))
                .build()
        root.dispatchApplyWindowInsets(bars)
        assertEquals(72, activity.requireView<View>(R.id.screen_live).paddingTop)
        assertEquals(48, activity.requireView<View>(R.id.tabs).paddingBottom)
    }
}
