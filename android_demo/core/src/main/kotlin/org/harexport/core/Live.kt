package org.harexport.core

/**
 * A [Session] for a phone whose rates are not known: holds the first seconds back, measures, and then answers.
 *
 * A sensor that is much faster than the model's rate is averaged; one that is slower, or missing, is a [problem], and the
 * next seconds are looked at in turn. Not for several threads at once. Throws [BadInput] for a contract that this chain
 * cannot serve.
 */
class Live(
    private val contract: Contract,
    private val classifier: Classifier,
    private val units: Map<Sensor, String> = Sensor.ANDROID_UNITS,
) {
    private class Sample(val sensor: Sensor, val timeNs: Long, val values: DoubleArray)

    val sensors: List<Sensor> = sensorsOf(contract)
    private val held = ArrayList<Sample>()
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

    /** What was left out so far, a sensor; empty before the first seconds are over. */
    val dropped: Map<Sensor, Dropped> get() = session?.dropped ?: emptyMap()

    /** One sample, three axes in Android's units, at `SensorEvent.timestamp`. Throws [BadInput] where the model cannot answer. */
    fun push(sensor: Sensor, timeNs: Long, values: DoubleArray): List<Told> {
        session?.let { return it.push(sensor, timeNs, values) }
        if (sensor !in sensors) return emptyList()
        val before = held.lastOrNull { it.sensor == sensor }
        if (before != null && timeNs < before.timeNs - GAP_SECONDS * SECOND) held.clear() // the clock ran back
        held += Sample(sensor, timeNs, values)
        if (!longEnough(timeNs)) return emptyList()
        return open()
    }

    /** The samples have ended; what comes next is a new recording. */
    fun finish(): List<Told> {
        val out = session?.finish() ?: emptyList()
        held.clear()
        session = null
        rates = emptyMap()
        return out
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
        val opened = Session(contract, classifier, units, rates.mapValues { (_, hz) -> meanLength(hz, contract.rateHz) })
        session = opened
        return samples.flatMap { opened.push(it.sensor, it.timeNs, it.values) }
    }

    private companion object {
        /** Before rates are told; no window is whole earlier. */
        const val OPENING_SECONDS = 2.5
    }
}

private inline fun <K, V, R : Any> Map<K, V>.firstNotNullOfOrNull(transform: (Map.Entry<K, V>) -> R?): R? =
    entries.firstNotNullOfOrNull(transform)
