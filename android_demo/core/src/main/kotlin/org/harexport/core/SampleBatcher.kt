package org.harexport.core

/** One sample of a sensor: its timestamp in nanoseconds and its three axes. [values] may contain NaN. */
class SensorSample(val sensor: Sensor, val timeNs: Long, val values: DoubleArray)

/**
 * Collects samples and passes them on in batches of at least [seconds], so that a phone computes less often.
 *
 * Only the arrival is delayed; samples keep their order, and recognition gives the same predictions. The clock of a
 * sensor that jumps backwards ends a batch. Not thread-safe.
 *
 * @property seconds duration of a batch in sensor time; 0 passes on each sample at once
 * @param onBatch receives the samples in the order of their arrival
 */
class SampleBatcher(var seconds: Double = BACKGROUND_SECONDS, private val onBatch: (List<SensorSample>) -> Unit) {
    private var batch = ArrayList<SensorSample>()
    private val newest = HashMap<Sensor, Long>()

    fun push(sample: SensorSample) {
        val before = newest.put(sample.sensor, sample.timeNs)
        batch.add(sample)
        // Phones deliver each sensor's samples in groups, so one sensor may be a second behind another.
        val isReset = before != null && sample.timeNs < before - GAP_SECONDS * SECOND
        if (isReset || elapsedNs(batch[0].timeNs, sample.timeNs) >= seconds * SECOND) flush()
    }

    /** Passes on the samples that have been collected. */
    fun flush() {
        if (batch.isEmpty()) return
        val full = batch
        batch = ArrayList()
        onBatch(full)
    }

    companion object {
        /** Duration of a batch while the screen is off: a prediction is due every 1.28 s at the earliest. */
        const val BACKGROUND_SECONDS: Double = 1.5
    }
}
