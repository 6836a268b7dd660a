package org.harexport.demo

import android.app.Activity
import android.os.BadParcelableException
import android.os.Bundle
import android.view.View
import android.view.WindowManager

/** What `harexport bench --target adb` starts: runs a model on windows, both in the app's folder, and writes the result there. */
class SelfTestActivity : Activity() {
    private lateinit var screen: SelfTestScreen
    private var asked = false
    private var earlier = false

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        setContentView(R.layout.activity_selftest)
        val root = part<View>(R.id.root)
        padForBars(root) { left, top, right, bottom -> root.setPadding(left, top, right, bottom) }
        val extras = EXTRAS.map(::extra)
        asked = extras.any { it != null }
        screen = SelfTestScreen(root, demo, extras[2].orEmpty())
        // A rotation finds the test going on; where the process died with it, it starts anew, unless it had come to its end.
        val lost = savedInstanceState != null && demo.selfTest.state(extras[2].orEmpty()) is JobState.Idle
        earlier = lost && demo.selfTest.written(extras[2])
        if (asked && !earlier && (savedInstanceState == null || lost)) {
            demo.selfTest.files(model = extras[0], windows = extras[1], result = extras[2])
        }
    }

    override fun onResume() {
        super.onResume()
        if (!asked) screen.refuse(getString(R.string.selftest_no_extras))
        else if (earlier) screen.earlier()
        else screen.show()
    }

    override fun onPause() {
        super.onPause()
        screen.hide(rotating = isChangingConfigurations)
    }

    /** Null for an extra that is not there, or is not what it should be: extras come from outside. */
    private fun extra(name: String): String? =
        try {
            intent?.getStringExtra(name)
        } catch (_: BadParcelableException) {
            null
        }

    private companion object {
        val EXTRAS = listOf("model", "windows", "result")
    }
}
