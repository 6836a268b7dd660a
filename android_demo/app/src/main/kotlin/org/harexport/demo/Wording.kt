package org.harexport.demo

import android.content.Context
import android.content.Intent
import android.widget.Toast
import java.util.Locale
import org.harexport.core.RecordingStopped
import org.harexport.core.RestartCause
import org.harexport.core.Sensor
import org.harexport.core.SensorProblem
import org.harexport.core.StandingProblem
import org.harexport.core.StopReason

private val NAMES =
    mapOf(
        "WALKING" to R.string.activity_walking,
        "WALKING_UPSTAIRS" to R.string.activity_upstairs,
        "WALKING_DOWNSTAIRS" to R.string.activity_downstairs,
        "SITTING" to R.string.activity_sitting,
        "STANDING" to R.string.activity_standing,
        "LAYING" to R.string.activity_lying,
    )

/** Returns a label in the user's language: "Lying down" for LAYING. Labels of other models are shown as they are. */
fun Context.displayName(label: String): String = NAMES[label]?.let(::getString) ?: label.replace('_', ' ')

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

fun Context.sensorName(sensor: Sensor): String =
    getString(
        when (sensor) {
            Sensor.ACCELEROMETER -> R.string.accelerometer
            Sensor.GYROSCOPE -> R.string.gyroscope
        },
    )

private fun Context.sensorNames(sensors: List<Sensor>) = sensors.joinToString(getString(R.string.and)) { sensorName(it) }

fun Context.describe(problem: SensorProblem): String =
    when (problem) {
        is SensorProblem.Missing -> getString(R.string.problem_missing, sensorNames(problem.sensors))
        is SensorProblem.Refused -> getString(R.string.problem_refused, sensorName(problem.sensor))
        is SensorProblem.Slow -> getString(R.string.problem_slow, sensorName(problem.sensor), problem.hz, problem.requiredHz)
        is SensorProblem.Silent -> getString(R.string.problem_silent, sensorName(problem.sensor), problem.seconds)
        is SensorProblem.ClockReset -> getString(R.string.problem_clock, sensorName(problem.sensor))
    }

fun Context.describe(cause: RestartCause): String =
    when (cause) {
        is RestartCause.Gap -> getString(R.string.restart_gap, sensorNames(cause.sensors), cause.seconds)
        is RestartCause.Timeout -> getString(R.string.restart_timeout, sensorNames(cause.sensors))
        is RestartCause.ClockReset -> getString(R.string.restart_clock, sensorName(cause.sensor))
        is RestartCause.RateChange -> getString(R.string.restart_rate, sensorName(cause.sensor), cause.beforeHz, cause.afterHz)
    }

fun Context.describe(problem: StandingProblem): String =
    getString(
        when (problem) {
            StandingProblem.MOVING, StandingProblem.TOO_SHORT -> R.string.standing_moving
            StandingProblem.CONSTANT, StandingProblem.NOT_FINITE, StandingProblem.NO_GRAVITY -> R.string.standing_sensor
        },
    )

fun Context.describe(stopped: RecordingStopped): String {
    val rest = stopped.file?.let { getString(R.string.record_rest, it.name) } ?: getString(R.string.record_rest_none)
    val reason =
        when (stopped.reason) {
            StopReason.STORAGE -> getString(R.string.record_stopped_storage, "${stopped.cause?.message}")
            StopReason.CLOCK_RESET -> getString(R.string.record_stopped_clock)
        }
    return "$reason $rest"
}

/** Formats a time of [us] microseconds with three digits, in µs or ms. */
fun Context.formatTime(us: Double): String {
    val isMs = us >= US_IN_MS
    val number = if (isMs) us / US_IN_MS else us
    val digits = if (number < 10) 2 else if (number < 100) 1 else 0
    val text = String.format(Locale.getDefault(), "%.${digits}f", number)
    return getString(if (isMs) R.string.milliseconds else R.string.microseconds, text)
}

/** Formats a duration as minutes and seconds, with hours if there are any. */
fun formatDuration(ms: Long): String {
    val seconds = ms / 1_000
    val hours = seconds / 3_600
    return if (hours > 0) String.format(Locale.ROOT, "%d:%02d:%02d", hours, seconds / 60 % 60, seconds % 60)
    else String.format(Locale.ROOT, "%d:%02d", seconds / 60, seconds % 60)
}

/** Starts [intent], or shows a message if the phone refuses it. */
fun Context.startOrReport(intent: Intent) =
    try {
        startActivity(if (this is android.app.Activity) intent else intent.addFlags(Intent.FLAG_ACTIVITY_NEW_TASK))
    } catch (error: RuntimeException) { // no app for it, not permitted, or the message is too large
        Toast.makeText(this, getString(R.string.share_failed, "${error.message}"), Toast.LENGTH_LONG).show()
    }

private const val US_IN_MS = 1e3
