package org.harexport.demo

import android.app.Activity
import android.content.res.Configuration
import android.os.Bundle
import android.os.Handler
import android.os.Looper
import android.view.View
import android.view.WindowManager
import android.widget.TextView

/** The three screens and their navigation bar. */
class MainActivity : Activity() {
    private lateinit var tabs: List<View>
    private lateinit var screens: List<Screen>
    private lateinit var record: RecordScreen
    private var selected = 0
    private var resumed = false
    private var isMarkedRecording = false
    private val main = Handler(Looper.getMainLooper())
    private val tick =
        object : Runnable {
            override fun run() {
                updateRecordingState(demo.recording.recording)
                main.postDelayed(this, Screen.TICK_MS)
            }
        }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        val roots = listOf(R.id.screen_live, R.id.screen_selftest, R.id.screen_record).map { requireView<View>(it) }
        record = RecordScreen(roots[2], demo)
        record.label = savedInstanceState?.getString(LABEL)
        screens = listOf(LiveScreen(roots[0], demo), SelfTestScreen(roots[1], demo), record)
        tabs = listOf(R.id.tab_live, R.id.tab_selftest, R.id.tab_record).map { requireView(it) }
        tabs.forEachIndexed { index, tab -> tab.setOnClickListener { selectTab(index) } }
        selectTab(savedInstanceState?.getInt(TAB) ?: 0)
        val land = resources.configuration.orientation == Configuration.ORIENTATION_LANDSCAPE
        val bar = requireView<View>(R.id.tabs)
        val mirrored = resources.configuration.layoutDirection == View.LAYOUT_DIRECTION_RTL
        applySystemBarInsets(requireView(R.id.root)) { left, top, right, bottom ->
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

    private fun selectTab(index: Int) {
        if (resumed && index != selected) screens[selected].hide(rotating = false)
        selected = index
        tabs.forEachIndexed { place, tab -> tab.isSelected = place == index }
        SCREENS.forEachIndexed { place, id -> requireView<View>(id).visibility = if (place == index) View.VISIBLE else View.GONE }
        if (resumed) screens[index].show()
    }

    override fun onResume() {
        super.onResume()
        resumed = true
        screens[selected].show()
        tick.run()
    }

    /**
     * Keeps the screen on and labels the tab while recording, whichever tab is selected: leaving the app ends the
     * recording.
     */
    private fun updateRecordingState(recording: Boolean) {
        if (recording == isMarkedRecording) return
        isMarkedRecording = recording
        val keep = WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON
        if (recording) window.addFlags(keep) else window.clearFlags(keep)
        val tab = requireView<TextView>(R.id.tab_record)
        val color = getColorStateList(if (recording) R.color.bad else R.color.tab_text)
        tab.setText(if (recording) R.string.tab_recording else R.string.tab_record)
        tab.setTextColor(color)
        tab.compoundDrawableTintList = color
    }

    override fun onPause() {
        super.onPause()
        resumed = false
        main.removeCallbacks(tick)
        // During a rotation the sensors keep running: the filters need seconds to settle.
        screens[selected].hide(rotating = isChangingConfigurations)
        if (!isChangingConfigurations) demo.recording.interrupt()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putInt(TAB, selected)
        outState.putString(LABEL, record.label)
    }

    private companion object {
        const val TAB = "tab"
        const val LABEL = "label"
        val SCREENS = intArrayOf(R.id.screen_live, R.id.screen_selftest, R.id.screen_record)
    }
}
