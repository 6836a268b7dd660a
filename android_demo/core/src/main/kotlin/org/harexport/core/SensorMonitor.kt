package org.harexport.core

import java.util.Locale

/**
 * Monitors the rate, timestamps and silence of [sensors] as their samples arrive. Thread-safe.
 *
 * @param sensors the sensors that the model needs
 * @param requiredHz the model's sampling rate in Hz
 * @param clock the arrival clock in nanoseconds, independent of the samples' own timestamps
 */
class SensorMonitor(
    private val sensors: List<Sensor>,
    private val requiredHz: Double,
    private val clock: () -> Long = System::nanoTime,
) {
    private class Status(var arrivalNs: Long) {
        val rate = RateMeter()
        var lastNs: Long? = null
        var clockResetNs: Long? = null
    }

    private val status = sensors.associateWith { Status(clock()) }

    /** Records one sample at [timeNs], its sensor timestamp. Sensors that are not monitored are ignored. */
    @Synchronized
    fun push(sensor: Sensor, timeNs: Long) {
        val current = status[sensor] ?: return
        current.arrivalNs = clock()
        val last = current.lastNs
        if (last != null && timeNs < last - GAP_SECONDS * SECOND) current.clockResetNs = current.arrivalNs
        current.lastNs = timeNs
        current.rate.push(timeNs)
    }

    /** Returns the current sampling rate in Hz. */
    @Synchronized
    fun hz(sensor: Sensor): Double = status.getValue(sensor).rate.hz

    /** Returns the most severe problem at this moment as a message for the user; null if there is none. */
    @Synchronized
    fun problem(): String? {
        val now = clock()
        return sensors.firstNotNullOfOrNull { silenceMessage(it, (now - status.getValue(it).arrivalNs).toDouble() / SECOND) }
            ?: sensors.firstNotNullOfOrNull { sensor ->
                status.getValue(sensor).clockResetNs?.takeIf { now - it < DISPLAY_SECONDS * SECOND }?.let {
                    "The ${sensor.title} timestamps jumped backwards. Earlier samples were discarded."
                }
            }
            ?: sensors.firstNotNullOfOrNull { sensor ->
                val rate = status.getValue(sensor).rate
                if (rate.span < MIN_RATE_SECONDS) null else slowMessage(sensor, rate.hz, requiredHz)
            }
    }

    companion object {
        /** Minimum share of the model's rate: phones that are set to 50 Hz deliver 48 to 53 Hz. */
        const val MIN_RATE_SHARE: Double = 0.9

        /** Maximum time in seconds without a sample: phones deliver batches of up to a few seconds. */
        const val MAX_SILENCE_SECONDS: Double = 3.0

        private const val DISPLAY_SECONDS = 5L
        private const val MIN_RATE_SECONDS = 2.0

        /** Returns a message if the phone lacks a sensor that the contract needs; null otherwise. */
        fun missingMessage(contract: Contract, available: Set<Sensor>): String? {
            val missing = sensorsOf(contract).filter { it !in available }.joinToString(" and no ") { it.title }
            return if (missing.isEmpty()) null else "This phone has no $missing, which the model requires."
        }

        /** Returns a message if [hz] is below [MIN_RATE_SHARE] of [requiredHz]; null otherwise. */
        fun slowMessage(sensor: Sensor, hz: Double, requiredHz: Double): String? =
            if (hz >= MIN_RATE_SHARE * requiredHz) {
                null
            } else if (hz == 0.0) {
                "The ${sensor.title} delivers no two samples within $GAP_SECONDS s; the model requires ${round(requiredHz)} per second."
            } else {
                String.format(
                    Locale.ROOT,
                    "The %s delivers only %.1f samples per second; the model requires %s. A power saving mode may limit it.",
                    sensor.title,
                    hz,
                    round(requiredHz),
                )
            }

        /** Returns a message if a sensor has been silent for more than [MAX_SILENCE_SECONDS]; null otherwise. */
        fun silenceMessage(sensor: Sensor, seconds: Double): String? =
            if (seconds <= MAX_SILENCE_SECONDS) {
                null
            } else {
                String.format(
                    Locale.ROOT,
                    "The %s has delivered no sample for %.0f s. Close other apps that use it and try again.",
                    sensor.title,
                    seconds,
                )
            }

        private fun round(hz: Double): String = String.format(Locale.ROOT, "%.0f", hz)
    }
}
