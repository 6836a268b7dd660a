package org.harexport.core

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

    /** Returns the most severe problem at this moment; null if there is none. */
    @Synchronized
    fun problem(): SensorProblem? {
        val now = clock()
        return sensors.firstNotNullOfOrNull { findSilence(it, (now - status.getValue(it).arrivalNs).toDouble() / SECOND) }
            ?: sensors.firstNotNullOfOrNull { sensor ->
                status.getValue(sensor).clockResetNs?.takeIf { now - it < DISPLAY_SECONDS * SECOND }?.let { SensorProblem.ClockReset(sensor) }
            }
            ?: sensors.firstNotNullOfOrNull { sensor ->
                val rate = status.getValue(sensor).rate
                if (rate.span < MIN_RATE_SECONDS) null else findSlowness(sensor, rate.hz, requiredHz)
            }
    }

    companion object {
        /** Minimum share of the model's rate: phones that are set to 50 Hz deliver 48 to 53 Hz. */
        const val MIN_RATE_SHARE: Double = 0.9

        /** Maximum time in seconds without a sample: phones deliver batches of up to a few seconds. */
        const val MAX_SILENCE_SECONDS: Double = 3.0

        private const val DISPLAY_SECONDS = 5L
        private const val MIN_RATE_SECONDS = 2.0

        /** Returns which of the sensors that the contract needs are not [available]; null if all are. */
        fun findMissing(contract: Contract, available: Set<Sensor>): SensorProblem.Missing? =
            sensorsOf(contract).filter { it !in available }.let { if (it.isEmpty()) null else SensorProblem.Missing(it) }

        /** Returns the problem if [hz] is below [MIN_RATE_SHARE] of [requiredHz]; null otherwise. */
        fun findSlowness(sensor: Sensor, hz: Double, requiredHz: Double): SensorProblem.Slow? =
            if (hz >= MIN_RATE_SHARE * requiredHz) null else SensorProblem.Slow(sensor, hz, requiredHz)

        /** Returns the problem if a sensor has been silent for more than [MAX_SILENCE_SECONDS]; null otherwise. */
        fun findSilence(sensor: Sensor, seconds: Double): SensorProblem.Silent? =
            if (seconds <= MAX_SILENCE_SECONDS) null else SensorProblem.Silent(sensor, seconds)
    }
}
