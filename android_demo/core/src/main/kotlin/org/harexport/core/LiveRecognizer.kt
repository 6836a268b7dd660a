package org.harexport.core

import kotlin.math.abs

/**
 * Activity recognition for a phone with unknown sensor rates: buffers the first seconds, measures the rates, then predicts.
 *
 * A sensor that is much faster than the model's rate is averaged. A slow or missing sensor is reported as [problem], and
 * the rates are measured again on the next seconds. A lasting change of a rate that requires another averaging causes a
 * [Restart]. Not thread-safe. Throws [InputException] for a contract that this preprocessing does not support.
 *
 * @param units unit of each sensor's samples
 */
class LiveRecognizer(
    private val contract: Contract,
    private val classifier: Classifier,
    private val units: Map<Sensor, String> = Sensor.ANDROID_UNITS,
) {
    /** Rate of one sensor, and since when it has not matched [averageOver]. */
    private class SensorRate {
        val meter = RateMeter(seconds = 1.0)
        var newestNs: Long? = null
        var averageOver = 1
        var mismatchNs: Long? = null
    }

    /** The sensors that the model needs. */
    val sensors: List<Sensor> = sensorsOf(contract)
    private val buffer = ArrayList<SensorSample>()
    private var sensorRates = sensors.associateWith { SensorRate() }
    private var bufferStartNs: Long? = null
    private var recognizer: Recognizer? = null
    private val tracker = MountTracker(contract)

    init {
        Stream(contract, units) // reports an unsupported contract before the first sample
    }

    /** Why there are no predictions; null if nothing is wrong. */
    var problem: SensorProblem? = null
        private set

    /** Whether the rates are known and windows are classified. */
    val isReady: Boolean get() = recognizer != null

    /** Measured rate of each sensor in Hz; empty before [isReady]. */
    var rates: Map<Sensor, Double> = emptyMap()
        private set

    /** Time of the first grid sample since the last restart, in nanoseconds; null before it. Settling counts from here. */
    val startNs: Long? get() = recognizer?.startNs

    /** Whether the mounting is known; null for a model without a mount stage. */
    val mountState: MountState? get() = tracker.state

    /** Share of the level walking that the first estimate of the mounting requires, 0 to 1. */
    val mountProgress: Double get() = tracker.progress

    /** The estimated mounting; null while it is unknown, and for a model without a mount stage. */
    val mountEstimate: MountEstimate? get() = tracker.estimate

    /** Samples dropped since the rates were last measured, per sensor; empty before [isReady]. */
    val dropped: Map<Sensor, Dropped> get() = recognizer?.dropped ?: emptyMap()

    /**
     * Processes one sample and returns the predictions and restarts it caused.
     *
     * Throws [InputException] if the model cannot be run.
     *
     * @param timeNs `SensorEvent.timestamp` in nanoseconds
     * @param values three axes in the sensor's unit
     */
    fun push(sensor: Sensor, timeNs: Long, values: DoubleArray): List<RecognitionEvent> {
        val rate = sensorRates[sensor] ?: return emptyList()
        val previousNs = rate.newestNs
        val isReset = previousNs != null && timeNs < previousNs - GAP_SECONDS * SECOND
        if (isReset) sensorRates.values.forEach { it.newestNs = null } // reported once, not once per sensor
        rate.newestNs = maxOf(rate.newestNs ?: timeNs, timeNs)
        rate.meter.push(timeNs)
        val sample = SensorSample(sensor, timeNs, values)
        recognizer?.let { return it.push(sensor, timeNs, values) + restartAfterRateChange(sample, rate) }

        val events = ArrayList<RecognitionEvent>()
        if (isReset) {
            buffer.clear() // timestamps before and after the reset are not comparable
            bufferStartNs = null
            events += Restart(timeNs, RestartCause.ClockReset(sensor))
        }
        bufferStartNs?.let { if (timeNs < it) return events } // rest of a batch at the old rate
        buffer += sample
        if (isBufferFull(timeNs)) events += start()
        return events
    }

    /** Processes [samples] in the order of their arrival and returns the predictions and restarts they caused. */
    fun push(samples: List<SensorSample>): List<RecognitionEvent> = samples.flatMap { push(it.sensor, it.timeNs, it.values) }

    /** Uses an estimate of the mounting from standing, for example of a [StandingCountdown] (see [MountTracker.start]). */
    fun startFrom(estimate: MountEstimate) {
        val started = recognizer
        if (started == null) tracker.start(estimate) else started.startFrom(estimate)
    }

    /** Ends the recording and returns the last predictions. The next sample starts a new recording. */
    fun finish(): List<RecognitionEvent> {
        val events = recognizer?.finish() ?: emptyList()
        buffer.clear()
        sensorRates = sensors.associateWith { SensorRate() }
        bufferStartNs = null
        recognizer = null
        tracker.reset()
        rates = emptyMap()
        return events
    }

    /** Stops recognition once the sensor's rate has not matched its averaging for [MISMATCH_SECONDS]. */
    private fun restartAfterRateChange(sample: SensorSample, rate: SensorRate): List<RecognitionEvent> {
        val (sensor, timeNs) = sample.sensor to sample.timeNs
        val hz = rate.meter.hz
        val since = rate.mismatchNs
        val isMatching = abs(hz / contract.rateHz - rate.averageOver) <= RATE_TOLERANCE
        if (hz == 0.0 || isMatching || rate.averageOver == averagingLength(hz, contract.rateHz)) {
            rate.mismatchNs = null
        } else if (since == null || timeNs < since - GAP_SECONDS * SECOND) {
            rate.mismatchNs = timeNs
        } else if (elapsedNs(since, timeNs) >= MISMATCH_SECONDS * SECOND) {
            val cause = RestartCause.RateChange(sensor, rates.getValue(sensor), hz)
            buffer += sample
            bufferStartNs = timeNs
            recognizer = null
            rates = emptyMap()
            return listOf(Restart(timeNs, cause))
        }
        return emptyList()
    }

    private fun isBufferFull(newestNs: Long): Boolean {
        val first = sensors.map { sensor -> buffer.firstOrNull { it.sensor == sensor } }
        if (elapsedNs(buffer.minOf { it.timeNs }, newestNs) > SENSOR_TIMEOUT_SECONDS * SECOND) return true
        return first.all { it != null && elapsedNs(it.timeNs, newestNs) >= MEASUREMENT_SECONDS * SECOND }
    }

    private fun start(): List<RecognitionEvent> {
        rates =
            sensors.associateWith { sensor ->
                val meter = RateMeter(seconds = SENSOR_TIMEOUT_SECONDS)
                buffer.filter { it.sensor == sensor }.forEach { meter.push(it.timeNs) }
                meter.hz
            }
        problem = rates.firstNotNullOfOrNull { (sensor, hz) -> SensorMonitor.findSlowness(sensor, hz, contract.rateHz) }
        val samples = ArrayList(buffer)
        buffer.clear()
        if (problem != null) return emptyList()
        for ((sensor, hz) in rates) {
            val rate = sensorRates.getValue(sensor)
            rate.averageOver = averagingLength(hz, contract.rateHz)
            rate.mismatchNs = null
        }
        val averageOver = sensorRates.mapValues { (_, rate) -> rate.averageOver }
        val started = Recognizer(contract, classifier, units, averageOver, tracker = tracker)
        recognizer = started
        return samples.flatMap { started.push(it.sensor, it.timeNs, it.values) }
    }

    private companion object {
        /** Seconds over which the rates are measured; less than one window. */
        const val MEASUREMENT_SECONDS = 2.5

        /** Seconds that a rate may mismatch its averaging before recognition restarts. */
        const val MISMATCH_SECONDS = 2.0

        /** Allowed deviation of a rate from its averaging, in grid periods; above 0.5 so that a steady rate cannot toggle. */
        const val RATE_TOLERANCE = 0.7
    }
}

private inline fun <K, V, R : Any> Map<K, V>.firstNotNullOfOrNull(transform: (Map.Entry<K, V>) -> R?): R? =
    entries.firstNotNullOfOrNull(transform)
