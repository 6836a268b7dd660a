package org.harexport.demo

import android.content.Context
import android.content.Intent
import android.widget.Toast
import java.util.Locale
import org.harexport.core.Sensor

/** A label of the contract as people write it: WALKING_UPSTAIRS is "Walking upstairs". */
fun spoken(label: String): String = label.lowercase(Locale.ROOT).replace('_', ' ').replaceFirstChar { it.titlecase(Locale.ROOT) }

/** The picture of an activity; one for those that are not known, too. */
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

fun name(context: Context, sensor: Sensor): String =
    context.getString(
        when (sensor) {
            Sensor.ACCELEROMETER -> R.string.accelerometer
            Sensor.GYROSCOPE -> R.string.gyroscope
        },
    )

/** A time with three digits, in the unit that suits it. */
fun time(context: Context, us: Double): String {
    val ms = us >= US_IN_MS
    val number = if (ms) us / US_IN_MS else us
    val digits = if (number < 10) 2 else if (number < 100) 1 else 0
    val text = String.format(Locale.getDefault(), "%.${digits}f", number)
    return context.getString(if (ms) R.string.milliseconds else R.string.microseconds, text)
}

/** Minutes, seconds and tenths. */
fun elapsed(ms: Long): String = String.format(Locale.ROOT, "%d:%02d.%d", ms / 60_000, ms / 1_000 % 60, ms / 100 % 10)

/** Starts [intent]; where the phone refuses, says so, for the app goes on all the same. */
fun Context.startOrSay(intent: Intent) =
    try {
        startActivity(intent)
    } catch (error: RuntimeException) { // no app for it, one that may not be started, or too large a message
        Toast.makeText(this, getString(R.string.share_failed, "${error.message}"), Toast.LENGTH_LONG).show()
    }

private const val US_IN_MS = 1e3
