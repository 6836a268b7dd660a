package org.harexport.core

import java.util.Locale

/** Why a sensor does not suffice for recognition. Apps word it in the user's language; [message] is English. */
sealed interface SensorProblem {
    val message: String

    /** The phone lacks [sensors], which the model requires. */
    data class Missing(val sensors: List<Sensor>) : SensorProblem {
        override val message: String
            get() = "This phone has no ${sensors.joinToString(" and no ") { it.title }}, which the model requires."
    }

    /** The phone refuses to start [sensor]. */
    data class Refused(val sensor: Sensor) : SensorProblem {
        override val message: String get() = "The phone refuses to start the ${sensor.title}. Restart the phone and try again."
    }

    /** [sensor] delivers [hz] samples per second instead of [requiredHz]; 0 if no two samples are within [GAP_SECONDS]. */
    data class Slow(val sensor: Sensor, val hz: Double, val requiredHz: Double) : SensorProblem {
        override val message: String
            get() =
                if (hz == 0.0) {
                    format("The %s delivers no two samples within $GAP_SECONDS s; the model requires %.0f per second.", sensor.title, requiredHz)
                } else {
                    format(
                        "The %s delivers only %.1f samples per second; the model requires %.0f. A power saving mode may limit it.",
                        sensor.title,
                        hz,
                        requiredHz,
                    )
                }
    }

    /** [sensor] has delivered no sample for [seconds]. */
    data class Silent(val sensor: Sensor, val seconds: Double) : SensorProblem {
        override val message: String
            get() =
                format("The %s has delivered no sample for %.0f s. Close other apps that use it and try again.", sensor.title, seconds)
    }

    /** The timestamps of [sensor] jumped backwards; earlier samples were discarded. */
    data class ClockReset(val sensor: Sensor) : SensorProblem {
        override val message: String
            get() = "The ${sensor.title} timestamps jumped backwards. Earlier samples were discarded."
    }
}

/** Why a stream restarted. Apps word it in the user's language; [reason] is English, the same as in Python. */
sealed interface RestartCause {
    val reason: String

    /** [sensors] delivered no sample for [seconds] between two samples. */
    data class Gap(val sensors: List<Sensor>, val seconds: Double) : RestartCause {
        override val reason: String get() = format("no %s for %.2f s", sensors.joinToString(" and ") { it.title }, seconds)
    }

    /** [sensors] delivered nothing for [SENSOR_TIMEOUT_SECONDS] while another sensor did. */
    data class Timeout(val sensors: List<Sensor>) : RestartCause {
        override val reason: String
            get() = format("no %s for %.0f s", sensors.joinToString(" and ") { it.title }, SENSOR_TIMEOUT_SECONDS)
    }

    /** The timestamps of [sensor] jumped backwards. */
    data class ClockReset(val sensor: Sensor) : RestartCause {
        override val reason: String get() = "the ${sensor.title} timestamps jumped backwards"
    }

    /** The rate of [sensor] changed, and its samples require another averaging. */
    data class RateChange(val sensor: Sensor, val beforeHz: Double, val afterHz: Double) : RestartCause {
        override val reason: String get() = format("the %s rate changed from %.0f to %.0f Hz", sensor.title, beforeHz, afterHz)
    }
}

private fun format(text: String, vararg values: Any): String = String.format(Locale.ROOT, text, *values)
