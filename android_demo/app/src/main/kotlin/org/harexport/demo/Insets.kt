package org.harexport.demo

import android.os.Build
import android.view.View
import android.view.WindowInsets

/**
 * Calls [setPadding] with the insets of the system bars: left, top, right, bottom, in pixels.
 *
 * Android 15 draws every app edge to edge. Earlier versions keep the app clear of the bars; all insets are then 0.
 */
fun applySystemBarInsets(root: View, setPadding: (Int, Int, Int, Int) -> Unit) {
    if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R) return
    root.setOnApplyWindowInsetsListener { _, insets ->
        val insetPx = insets.getInsets(WindowInsets.Type.systemBars() or WindowInsets.Type.displayCutout())
        setPadding(insetPx.left, insetPx.top, insetPx.right, insetPx.bottom)
        WindowInsets.CONSUMED
    }
}
