package org.harexport.demo

import android.app.Activity
import android.content.res.Configuration
import android.os.Bundle
import android.view.View

/** The three screens and the bar that leads to them. */
class MainActivity : Activity() {
    private lateinit var tabs: List<View>
    private lateinit var screens: List<Screen>
    private lateinit var record: RecordScreen
    private var chosen = 0
    private var resumed = false

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
        padForBars(part(R.id.root)) { left, top, right, bottom ->
            if (land) {
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
    }

    override fun onPause() {
        super.onPause()
        resumed = false
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
