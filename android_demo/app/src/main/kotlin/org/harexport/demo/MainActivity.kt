package org.harexport.demo

import android.app.Activity
import android.content.res.Configuration
import android.os.Bundle
import android.os.Handler
import android.os.Looper
import android.view.View
import android.view.WindowManager
import android.widget.TextView

/** The three screens and the bar that leads to them. */
class MainActivity : Activity() {
    private lateinit var tabs: List<View>
    private lateinit var screens: List<Screen>
    private lateinit var record: RecordScreen
    private var chosen = 0
    private var resumed = false
    private var marked = false
    private val main = Handler(Looper.getMainLooper())
    private val tick =
        object : Runnable {
            override fun run() {
                mark(demo.recording.recording)
                main.postDelayed(this, Screen.TICK_MS)
            }
        }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        val roots = listOf(R.id.screen_live, R.id.screen_selftest, R.id.screen_record).map { part<View>(it) }
        record = RecordScreen(roots[2], demo)
        record.label = savedInstanceState?.getString(LABEL)
        screens = listOf(LiveScreen(roots[0], demo), SelfTestScreen(roots[1], demo), record)
        tabs = listOf(R.id.tab_live, R.id.tab_selftest, R.id.tab_record).map { part(it) }
        tabs.forEachIndexed { index, tab -> tab.setOnClickListener { choose(index) } }
        choose(savedInstanceState?.getInt(TAB) ?: 0)
        val land = resources.configuration.orientation == Configuration.ORIENTATION_LANDSCAPE
        val bar = part<View>(R.id.tabs)
        val mirrored = resources.configuration.layoutDirection == View.LAYOUT_DIRECTION_RTL
        padForBars(part(R.id.root)) { left, top, right, bottom ->
            if (land && mirrored) {
                bar.setPadding(0, top, right, bottom)
                roots.forEach { it.setPadding(left, top, 0, bottom) }
            } else if (land) {
                bar.setPadding(left, top, 0, bottom)
                roots.forEach { it.setPadding(0, top, right, bottom) }
            } else {
                bar.setPadding(left, 0, right, bottom)
                roots.forEach { it.setPadding(left, top, right, 0) }
            }
        }
    }

    private fun choose(index: Int) {
        if (resumed && index != chosen) screens[chosen].hide(rotating = false)
        chosen = index
        tabs.forEachIndexed { place, tab -> tab.isSelected = place == index }
        SCREENS.forEachIndexed { place, id -> part<View>(id).visibility = if (place == index) View.VISIBLE else View.GONE }
        if (resumed) screens[index].show()
    }

    override fun onResume() {
        super.onResume()
        resumed = true
        screens[chosen].show()
        tick.run()
    }

    /** A recording goes on whatever tab is looked at: the screen, whose end would be its end, stays on, and its tab says so. */
    private fun mark(recording: Boolean) {
        if (recording == marked) return
        marked = recording
        val keep = WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON
        if (recording) window.addFlags(keep) else window.clearFlags(keep)
        val tab = part<TextView>(R.id.tab_record)
        val color = getColorStateList(if (recording) R.color.bad else R.color.tab_text)
        tab.setText(if (recording) R.string.tab_recording else R.string.tab_record)
        tab.setTextColor(color)
        tab.compoundDrawableTintList = color
    }

    override fun onPause() {
        super.onPause()
        resumed = false
        main.removeCallbacks(tick)
        // While it is rotated, the sensors are still listened to: the filters need seconds to settle.
        screens[chosen].hide(rotating = isChangingConfigurations)
        if (!isChangingConfigurations) demo.recording.interrupt()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putInt(TAB, chosen)
        outState.putString(LABEL, record.label)
    }

    private companion object {
        const val TAB = "tab"
        const val LABEL = "label"
        val SCREENS = intArrayOf(R.id.screen_live, R.id.screen_selftest, R.id.screen_record)
    }
}
