package org.harexport.demo

import android.os.Build
import android.view.View
import android.view.WindowInsets

/**
 * Android 15 lets every app draw under the system's bars: [pad] is told how much of each side they cover, left, top, right
 * and bottom. Before that, the system keeps the app clear of them, and all four are 0.
 */
fun padForBars(root: View, pad: (Int, Int, Int, Int) -> Unit) {
    if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R) return
    root.setOnApplyWindowInsetsListener { _, insets ->
        val covered = insets.getInsets(WindowInsets.Type.systemBars() or WindowInsets.Type.displayCutout())
        pad(covered.left, covered.top, covered.right, covered.bottom)
        WindowInsets.CONSUMED
    }
}
