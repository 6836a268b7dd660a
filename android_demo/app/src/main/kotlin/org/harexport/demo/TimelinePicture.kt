package org.harexport.demo

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import java.io.File
import java.io.IOException
import java.text.DateFormat
import java.util.Date
import org.harexport.core.InputException

/** Draws the timeline of a session as a picture to share. */
object TimelinePicture {
    private const val WIDTH = 1200
    private const val MARGIN = 60f
    private const val STRIP = 120f
    private const val LINE = 64f
    private const val TEXT = 40f

    fun draw(context: Context, timeline: Timeline): Bitmap {
        val totals = timeline.totals
        val height = (MARGIN * 3 + LINE * 2 + STRIP + totals.size * LINE).toInt()
        val bitmap = Bitmap.createBitmap(WIDTH, height, Bitmap.Config.ARGB_8888)
        val canvas = Canvas(bitmap)
        canvas.drawColor(Color.WHITE)
        val paint = Paint(Paint.ANTI_ALIAS_FLAG)
        paint.textSize = TEXT
        paint.color = Color.BLACK
        val format = DateFormat.getDateTimeInstance(DateFormat.MEDIUM, DateFormat.SHORT)
        canvas.drawText("${format.format(Date(timeline.startMs))} · ${formatDuration(timeline.endMs - timeline.startMs)}", MARGIN, MARGIN + TEXT, paint)
        val top = MARGIN + LINE * 1.5f
        val scale = (WIDTH - 2 * MARGIN) / maxOf(1L, timeline.endMs - timeline.startMs)
        for (segment in timeline.segments) {
            paint.color = activityColor(segment.label)
            canvas.drawRect(MARGIN + (segment.startMs - timeline.startMs) * scale, top, MARGIN + (segment.endMs - timeline.startMs) * scale, top + STRIP, paint)
        }
        var y = top + STRIP + LINE * 1.5f
        for ((label, ms) in totals) {
            paint.color = activityColor(label)
            canvas.drawRect(MARGIN, y - TEXT * 0.8f, MARGIN + TEXT * 0.8f, y, paint)
            paint.color = Color.BLACK
            canvas.drawText("${context.displayName(label)}  ${formatDuration(ms)}", MARGIN + TEXT * 1.5f, y, paint)
            y += LINE
        }
        return bitmap
    }

    /** Writes the picture as PNG. Throws [InputException]. */
    fun write(context: Context, timeline: Timeline, file: File) {
        try {
            file.parentFile?.mkdirs()
            file.outputStream().use { draw(context, timeline).compress(Bitmap.CompressFormat.PNG, 100, it) }
        } catch (error: IOException) {
            throw InputException("${file.name} cannot be written (${error.message}); check the phone's free storage", error)
        }
    }
}

/** Returns the color of an activity as ARGB: dark enough for white text on it. Gray for null, one color for own labels. */
fun activityColor(label: String?): Int =
    when (label) {
        null -> 0xFF8A9099.toInt()
        "WALKING" -> 0xFF1F5FA8.toInt()
        "WALKING_UPSTAIRS" -> 0xFF00695C.toInt()
        "WALKING_DOWNSTAIRS" -> 0xFF4E6A00.toInt()
        "SITTING" -> 0xFFA84300.toInt()
        "STANDING" -> 0xFF6A3BA8.toInt()
        "LAYING" -> 0xFFA12655.toInt()
        else -> 0xFF5A4A3F.toInt()
    }
