package org.harexport.demo

import android.os.BadParcelableException
import android.os.Bundle
import android.view.WindowManager
import androidx.activity.ComponentActivity
import androidx.activity.compose.setContent
import androidx.activity.enableEdgeToEdge
import androidx.compose.foundation.layout.Box
import androidx.compose.foundation.layout.safeDrawingPadding
import androidx.compose.material3.Surface
import androidx.compose.ui.Modifier
import org.harexport.demo.ui.DemoTheme
import org.harexport.demo.ui.PushedTestScreen
import org.harexport.demo.ui.Tone

/** Tests a model that a computer pushed to the app folder, and writes the result there. */
class SelfTestActivity : ComponentActivity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        enableEdgeToEdge()
        super.onCreate(savedInstanceState)
        demo.load()
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        val extras = EXTRAS.map(::extra)
        val hasExtras = extras.any { it != null }
        // The test survives a rotation. After the process was killed it runs again, unless its result is complete.
        val isLost = savedInstanceState != null && demo.selfTest.state(extras[2].orEmpty()) is JobState.Idle
        val isCompleted = isLost && demo.selfTest.hasResult(extras[2])
        if (hasExtras && !isCompleted && (savedInstanceState == null || isLost)) {
            demo.selfTest.runFiles(model = extras[0], windows = extras[1], result = extras[2])
        }
        val message =
            when {
                !hasExtras -> getString(R.string.selftest_no_extras) to Tone.BAD
                isCompleted -> getString(R.string.selftest_earlier, extras[2]) to Tone.GOOD
                else -> null
            }
        setContent {
            DemoTheme { Surface { Box(Modifier.safeDrawingPadding()) { PushedTestScreen(demo, extras[2].orEmpty(), message) } } }
        }
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
