package org.harexport.demo

import android.content.res.Configuration
import android.content.res.Resources
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Insets
import android.graphics.Paint
import android.graphics.Typeface
import android.view.WindowInsets

/** Status bar and gesture bar, which Robolectric does not draw: the app draws edge to edge beneath them. */
class SystemBars(resources: Resources) {
    private val dp = resources.displayMetrics.density
    private val isNight = resources.configuration.uiMode and Configuration.UI_MODE_NIGHT_MASK == Configuration.UI_MODE_NIGHT_YES

    /** Height of each bar in pixels. */
    val height = (24 * dp).toInt()
    val insets: WindowInsets =
        WindowInsets.Builder()
            .setInsets(WindowInsets.Type.statusBars(), Insets.of(0, height, 0, 0))
            .setInsets(WindowInsets.Type.navigationBars(), Insets.of(0, 0, 0, height))
            .build()

    /** Draws time, signal, battery and the handle of the gesture bar. */
    fun draw(canvas: Canvas) {
        val (width, bottom) = canvas.width / dp to canvas.height / dp
        val paint = Paint(Paint.ANTI_ALIAS_FLAG)
        paint.color = if (isNight) Color.WHITE else Color.rgb(32, 33, 36)
        canvas.save()
        canvas.scale(dp, dp)
        paint.typeface = Typeface.create(Typeface.DEFAULT, Typeface.BOLD)
        paint.textSize = 13f
        canvas.drawText("10:30", 20f, 17f, paint)
        for (k in 0..3) canvas.drawRect(width - 56 + 4 * k, 15f - 2.5f * k, width - 53 + 4 * k, 18f, paint)
        canvas.drawRoundRect(width - 32, 8f, width - 14, 18f, 2f, 2f, paint)
        canvas.drawRoundRect(width - 13.5f, 11f, width - 12, 15f, 1f, 1f, paint)
        canvas.drawRoundRect(width / 2 - 54, bottom - 14, width / 2 + 54, bottom - 10, 2f, 2f, paint)
        canvas.restore()
    }
}
