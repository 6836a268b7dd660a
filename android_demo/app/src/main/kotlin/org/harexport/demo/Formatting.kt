package org.harexport.demo

import android.content.Context
import android.content.Intent
import android.widget.Toast
import java.util.Locale
import org.harexport.core.Sensor

/** Returns a label of the contract as text: "Walking upstairs" for WALKING_UPSTAIRS, "Lying down" for LAYING. */
fun displayName(label: String): String =
    if (label == "LAYING") "Lying down" else label.lowercase(Locale.ROOT).replace('_', ' ').replaceFirstChar { it.titlecase(Locale.ROOT) }

/** Returns the icon of an activity, or a generic icon for an unknown label. */
fun pictogram(label: String): Int =
    when (label) {
        "WALKING" -> R.drawable.ic_walking
        "WALKING_UPSTAIRS" -> R.drawable.ic_upstairs
        "WALKING_DOWNSTAIRS" -> R.drawable.ic_downstairs
        "SITTING" -> R.drawable.ic_sitting
        "STANDING" -> R.drawable.ic_standing
        "LAYING" -> R.drawable.ic_laying
        else -> R.drawable.ic_unknown
    }

/** Returns the localized name of a sensor. */
fun sensorName(context: Context, sensor: Sensor): String =
    context.getString(
        when (sensor) {
            Sensor.ACCELEROMETER -> R.string.accelerometer
            Sensor.GYROSCOPE -> R.string.gyroscope
        },
    )

/** Formats a time of [us] microseconds with three digits, in µs or ms. */
fun formatTime(context: Context, us: Double): String {
    val isMs = us >= US_IN_MS
    val number = if (isMs) us / US_IN_MS else us
    val digits = if (number < 10) 2 else if (number < 100) 1 else 0
    val text = String.format(Locale.getDefault(), "%.${digits}f", number)
    return context.getString(if (isMs) R.string.milliseconds else R.string.microseconds, text)
}

/** Formats a duration as minutes, seconds and tenths. */
fun formatElapsed(ms: Long): String = String.format(Locale.ROOT, "%d:%02d.%d", ms / 60_000, ms / 1_000 % 60, ms / 100 % 10)

/** Starts [intent], or shows a message if the phone refuses it. */
fun Context.startOrReport(intent: Intent) =
    try {
        startActivity(intent)
    } catch (error: RuntimeException) { // no app for it, not permitted, or the message is too large
        Toast.makeText(this, getString(R.string.share_failed, "${error.message}"), Toast.LENGTH_LONG).show()
    }

private const val US_IN_MS = 1e3
