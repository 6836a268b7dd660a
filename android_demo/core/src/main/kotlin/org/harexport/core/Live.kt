package org.harexport.core

import java.util.Locale
import kotlin.math.abs

/**
 * A [Session] for a phone whose rates are not known: holds the first seconds back, measures, and then answers.
 *
 * A sensor that is much faster than the model's rate is averaged; one that is slower, or missing, is a [problem], and the
 * next seconds are looked at in turn. Where a sensor's rate changes so that another average fits, a [Restart] is told and
 * all is measured anew. Not for several threads at once. Throws [BadInput] for a contract that this chain cannot serve.
 */
class Live(
    private val contract: Contract,
    private val classifier: Classifier,
    private val units: Map<Sensor, String> = Sensor.ANDROID_UNITS,
) {
    private class Sample(val sensor: Sensor, val timeNs: Long, val values: DoubleArray)

    /** One sensor from sample to sample: its time, its rate of late, and since when that does not fit [meanOf]. */
    private class Pace {
        val meter = RateMeter(seconds = 1.0)
        var newestNs: Long? = null
        var meanOf = 1
        var unfitSinceNs: Long? = null
    }

    val sensors: List<Sensor> = sensorsOf(contract)
    private val held = ArrayList<Sample>()
    private var paces = sensors.associateWith { Pace() }
    private var fromNs: Long? = null
    private var session: Session? = null

    init {
        Stream(contract, units) // what it cannot serve is said now, not seconds later
    }

    /** What keeps it from answering; null where nothing does. */
    var problem: String? = null
        private set

    /** Whether the first seconds are over and windows are answered. */
    val answering: Boolean get() = session != null

    /** Hz of each sensor as measured in the first seconds; empty before. */
    var rates: Map<Sensor, Double> = emptyMap()
        private set

    /** The first time of the grid since it last began: settling counts from here. Null where it has not begun. */
    val startNs: Long? get() = session?.startNs

    /** What was left out since rates were last measured, a sensor; empty before. */
    val dropped: Map<Sensor, Dropped> get() = session?.dropped ?: emptyMap()

    /** One sample, three axes in Android's units, at `SensorEvent.timestamp`. Throws [BadInput] where the model cannot answer. */
    fun push(sensor: Sensor, timeNs: Long, values: DoubleArray): List<Told> {
        val pace = paces[sensor] ?: return emptyList()
        val before = pace.newestNs
        val ranBack = before != null && timeNs < before - GAP_SECONDS * SECOND
        if (ranBack) paces.values.forEach { it.newestNs = null } // told once, not by each sensor
        pace.newestNs = maxOf(pace.newestNs ?: timeNs, timeNs)
        pace.meter.push(timeNs)
        val sample = Sample(sensor, timeNs, values)
        session?.let { return it.push(sensor, timeNs, values) + changed(sample, pace) }

        val out = ArrayList<Told>()
        if (ranBack) {
            held.clear() // nothing recorded by the old clock fits to the new one
            fromNs = null
            out += Restart(timeNs, "the time of the ${sensor.title} runs back")
        }
        fromNs?.let { if (timeNs < it) return out } // a batch, still at the old rate
        held += sample
        if (longEnough(timeNs)) out += open()
        return out
    }

    /** The samples have ended; what comes next is a new recording. */
    fun finish(): List<Told> {
        val out = session?.finish() ?: emptyList()
        held.clear()
        paces = sensors.associateWith { Pace() }
        fromNs = null
        session = null
        rates = emptyMap()
        return out
    }

    /** Ends the session where the sensor's rate has not fitted its average for [UNFIT_SECONDS]. */
    private fun changed(sample: Sample, pace: Pace): List<Told> {
        val (sensor, timeNs) = sample.sensor to sample.timeNs
        val hz = pace.meter.hz
        val since = pace.unfitSinceNs
        if (hz == 0.0 || abs(hz / contract.rateHz - pace.meanOf) <= FIT || pace.meanOf == meanLength(hz, contract.rateHz)) {
            pace.unfitSinceNs = null
        } else if (since == null || timeNs < since - GAP_SECONDS * SECOND) {
            pace.unfitSinceNs = timeNs
        } else if (timeNs - since >= UNFIT_SECONDS * SECOND) {
            val reason = String.format(Locale.ROOT, "the %s gives %.0f samples a second now, %.0f before", sensor.title, hz, rates[sensor])
            held += sample
            fromNs = timeNs
            session = null
            rates = emptyMap()
            return listOf(Restart(timeNs, reason))
        }
        return emptyList()
    }

    private fun longEnough(newestNs: Long): Boolean {
        val first = sensors.map { sensor -> held.firstOrNull { it.sensor == sensor } }
        if (newestNs - held.minOf { it.timeNs } > PATIENCE_SECONDS * SECOND) return true
        return first.all { it != null && newestNs - it.timeNs >= OPENING_SECONDS * SECOND }
    }

    private fun open(): List<Told> {
        rates =
            sensors.associateWith { sensor ->
                val meter = RateMeter(seconds = PATIENCE_SECONDS)
                held.filter { it.sensor == sensor }.forEach { meter.push(it.timeNs) }
                meter.hz
            }
        problem = rates.firstNotNullOfOrNull { (sensor, hz) -> Guard.slow(sensor, hz, contract.rateHz) }
        val samples = ArrayList(held)
        held.clear()
        if (problem != null) return emptyList()
        for ((sensor, hz) in rates) {
            val pace = paces.getValue(sensor)
            pace.meanOf = meanLength(hz, contract.rateHz)
            pace.unfitSinceNs = null
        }
        val opened = Session(contract, classifier, units, paces.mapValues { (_, pace) -> pace.meanOf })
        session = opened
        return samples.flatMap { opened.push(it.sensor, it.timeNs, it.values) }
    }

    private companion object {
        /** Before rates are told; no window is whole earlier. */
        const val OPENING_SECONDS = 2.5

        /** How long a rate must not fit its average. */
        const val UNFIT_SECONDS = 2.0

        /** How far, in periods of the grid, a rate may be off its average; more than a half, or a steady one might flap. */
        const val FIT = 0.7
    }
}

private inline fun <K, V, R : Any> Map<K, V>.firstNotNullOfOrNull(transform: (Map.Entry<K, V>) -> R?): R? =
    entries.firstNotNullOfOrNull(transform)
