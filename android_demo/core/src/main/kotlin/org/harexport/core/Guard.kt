package org.harexport.core

import java.util.Locale

/** What is wrong with the sensors, in sentences for people; null where nothing is. */
object Guard {
    /** Of the model's rate: phones asked for 50 Hz deliver 48 to 53. */
    const val LEAST_RATE: Double = 0.9

    /** A phone that lacks a sensor of the contract; [available] are those it has. */
    fun missing(contract: Contract, available: Set<Sensor>): String? {
        val missing = sensorsOf(contract).filter { it !in available }.joinToString(" and no ") { it.title }
        return if (missing.isEmpty()) null else "This phone has no $missing, which the model needs: it cannot tell activities here."
    }

    /** A sensor slower than the model's rate: what is between its samples cannot be known. */
    fun slow(sensor: Sensor, hz: Double, wantedHz: Double): String? =
        if (hz >= LEAST_RATE * wantedHz) {
            null
        } else if (hz == 0.0) {
            "The ${sensor.title} gives no two samples within $GAP_SECONDS s; the model needs ${whole(wantedHz)} a second."
        } else {
            String.format(
                Locale.ROOT,
                "The %s gives only %.1f samples a second; the model needs %s. A power saving mode may slow it down.",
                sensor.title,
                hz,
                whole(wantedHz),
            )
        }

    /** A sensor that has fallen silent. */
    fun silent(sensor: Sensor, seconds: Double): String? =
        if (seconds <= SILENCE_SECONDS) {
            null
        } else {
            String.format(Locale.ROOT, "The %s has given nothing for %.0f s. Another app may hold it; try again.", sensor.title, seconds)
        }

    /** Batches may take seconds. */
    const val SILENCE_SECONDS: Double = 3.0

    private fun whole(hz: Double): String = String.format(Locale.ROOT, "%.0f", hz)
}

/**
 * Watches the samples of [sensors] as they arrive: rate, silence, timestamps that run backwards.
 *
 * [clock] is in nanoseconds and tells when samples arrive, whatever their own timestamps say. Safe for several threads.
 */
class SensorWatch(
    private val sensors: List<Sensor>,
    private val wantedHz: Double,
    private val clock: () -> Long = System::nanoTime,
) {
    private class Seen(var arrivedNs: Long) {
        val rate = RateMeter()
        var lastNs: Long? = null
        var ranBackNs: Long? = null
    }

    private val seen = sensors.associateWith { Seen(clock()) }

    /** One sample has arrived. Sensors that are not watched are ignored. */
    @Synchronized
    fun push(sensor: Sensor, timeNs: Long) {
        val one = seen[sensor] ?: return
        one.arrivedNs = clock()
        val last = one.lastNs
        if (last != null && timeNs < last - GAP_SECONDS * SECOND) one.ranBackNs = one.arrivedNs
        one.lastNs = timeNs
        one.rate.push(timeNs)
    }

    /** Samples a second, now. */
    @Synchronized
    fun hz(sensor: Sensor): Double = seen.getValue(sensor).rate.hz

    /** What is wrong at this moment, the worst first; null where nothing is. */
    @Synchronized
    fun problem(): String? {
        val now = clock()
        return sensors.firstNotNullOfOrNull { Guard.silent(it, (now - seen.getValue(it).arrivedNs).toDouble() / SECOND) }
            ?: sensors.firstNotNullOfOrNull { sensor ->
                seen.getValue(sensor).ranBackNs?.takeIf { now - it < SHOWN_SECONDS * SECOND }?.let {
                    "The time of the ${sensor.title} ran backwards: what was before is left out."
                }
            }
            ?: sensors.firstNotNullOfOrNull { sensor ->
                val rate = seen.getValue(sensor).rate
                if (rate.span < ENOUGH_SECONDS) null else Guard.slow(sensor, rate.hz, wantedHz)
            }
    }

    private companion object {
        const val SHOWN_SECONDS = 5L
        const val ENOUGH_SECONDS = 2.0
    }
}
