package org.harexport.demo

import android.app.Activity
import android.os.BadParcelableException
import android.os.Bundle
import android.view.View
import android.view.WindowManager

/** Started by `harexport bench --target adb`: runs a model on windows, both in the app folder, and writes the result there. */
class SelfTestActivity : Activity() {
    private lateinit var screen: SelfTestScreen
    private var hasExtras = false
    private var isCompleted = false

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        setContentView(R.layout.activity_selftest)
        val root = requireView<View>(R.id.root)
        applySystemBarInsets(root) { left, top, right, bottom -> root.setPadding(left, top, right, bottom) }
        val extras = EXTRAS.map(::extra)
        hasExtras = extras.any { it != null }
        screen = SelfTestScreen(root, demo, extras[2].orEmpty())
        // The test survives a rotation. After the process was killed it runs again, unless its result is complete.
        val isLost = savedInstanceState != null && demo.selfTest.state(extras[2].orEmpty()) is JobState.Idle
        isCompleted = isLost && demo.selfTest.hasResult(extras[2])
        if (hasExtras && !isCompleted && (savedInstanceState == null || isLost)) {
            demo.selfTest.runFiles(model = extras[0], windows = extras[1], result = extras[2])
        }
    }

    override fun onResume() {
        super.onResume()
        if (!hasExtras) screen.showError(getString(R.string.selftest_no_extras))
        else if (isCompleted) screen.showCompleted()
        else screen.show()
    }

    override fun onPause() {
        super.onPause()
        screen.hide(rotating = isChangingConfigurations)
    }

    /** Returns a string extra; null if it is missing or of another type. */
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
