package org.harexport.demo

import android.os.Bundle
import android.view.WindowManager
import androidx.activity.ComponentActivity
import androidx.activity.compose.setContent
import androidx.activity.enableEdgeToEdge
import androidx.lifecycle.Lifecycle
import androidx.lifecycle.lifecycleScope
import androidx.lifecycle.repeatOnLifecycle
import kotlinx.coroutines.launch
import org.harexport.demo.ui.DemoTheme
import org.harexport.demo.ui.MainScreen

/** The app's window. Recognition runs while it is visible, and longer if the user wants that. */
class MainActivity : ComponentActivity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        enableEdgeToEdge()
        super.onCreate(savedInstanceState)
        demo.load()
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        setContent { DemoTheme { MainScreen() } }
        lifecycleScope.launch {
            repeatOnLifecycle(Lifecycle.State.STARTED) { demo.model.states.collect { demo.startLive() } }
        }
    }

    override fun onStart() {
        super.onStart()
        demo.setVisible(true)
    }

    override fun onStop() {
        super.onStop()
        // During a rotation the sensors keep running: the filters need seconds to settle.
        if (!isChangingConfigurations) demo.setVisible(false)
    }
}
