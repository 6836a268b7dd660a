package org.harexport.core

/**
 * Applies the contract's filter chain sample by sample, from zero state unless [start] is called before the first sample.
 *
 * Input: grid samples with three axes for each of [sensors]. Output: the contract's channels, delayed by half the
 * median filter.
 */
class Filters(contract: Contract) {
    val sensors: List<Sensor> = sensorsOf(contract)
    private val axes: List<Axis>
    private val lookAhead: Int

    /** Source of each channel: index of the axis, and whether its low-frequency part is subtracted. */
    private val sources: List<Pair<Int, Boolean>>

    init {
        val chain = contract.filters
        val noise = Butterworth.sections(chain.noise, contract.rateHz)
        val slow =
            mapOf(
                Sensor.ACCELEROMETER to Butterworth.sections(chain.gravity, contract.rateHz),
                Sensor.GYROSCOPE to Butterworth.sections(chain.drift, contract.rateHz),
            )
        axes = sensors.flatMap { sensor -> List(3) { Axis(chain.median, noise, slow.getValue(sensor)) } }
        lookAhead = chain.median / 2
        sources =
            contract.channels.map { channel ->
                val kind = Channel.of(channel)!!
                3 * sensors.indexOf(kind.sensor) + AXES.indexOf(channel.last()) to kind.isBody
            }
    }

    /**
     * Starts from the steady state of the first grid samples, which are pushed afterwards.
     *
     * Median and noise filter start as if the first sample had lasted forever, the gravity filter as if the mean
     * acceleration of [samples] had, and the drift filter from no rotation.
     */
    fun start(samples: List<DoubleArray>) {
        for (k in axes.indices) {
            val isAcceleration = sensors[k / 3] == Sensor.ACCELEROMETER
            val lowFrequency = if (isAcceleration) samples.sumOf { it[k] } / samples.size else 0.0
            axes[k].start(samples[0][k], lowFrequency)
        }
    }

    /**
     * Continues as if all earlier samples had been rotated by [mount].
     *
     * Exact except for medians that were already taken: the other filters are linear and the same for all axes of a sensor.
     */
    fun rotate(mount: Mount) {
        for (first in axes.indices step 3) {
            val states = List(3) { axes[first + it].states }
            for (part in states[0].indices) {
                for (k in states[0][part].indices) {
                    val rotated = mount.rotate(DoubleArray(3) { states[it][part][k] })
                    for (axis in 0..2) states[axis][part][k] = rotated[axis]
                }
            }
        }
    }

    /**
     * Filters one grid sample.
     *
     * Returns the channels of the sample `median / 2` before it, null at the start.
     */
    fun push(values: DoubleArray): DoubleArray? {
        var isReady = false // the same for all axes: they share the median length
        for (k in axes.indices) {
            isReady = axes[k].push(values[k])
        }
        if (!isReady) return null
        return DoubleArray(sources.size) { k ->
            val (axis, isBody) = sources[k]
            if (isBody) axes[axis].body else axes[axis].total
        }
    }

    /** Returns the channels of the last samples, with zeros after the end. The filters cannot be used afterwards. */
    fun flush(): List<DoubleArray> = List(lookAhead) { push(DoubleArray(axes.size)) }.filterNotNull()

    /** One axis of one sensor: the smoothed signal, and the same without its low-frequency part (gravity or drift). */
    private class Axis(median: Int, noise: List<Section>, slow: List<Section>) {
        private val median = MedianFilter(median)
        private val noise = SosFilter(noise)
        private val slow = SosFilter(slow)
        var total = 0.0
            private set
        var body = 0.0
            private set

        /** Everything that depends linearly on earlier samples. */
        val states: List<DoubleArray> get() = listOf(median.state, noise.state, slow.state)

        fun start(first: Double, lowFrequency: Double) {
            median.start(first)
            noise.start(first)
            slow.start(lowFrequency)
        }

        fun push(raw: Double): Boolean {
            val middle = median.push(raw) ?: return false
            total = noise.push(middle)
            body = total - slow.push(total)
            return true
        }
    }
}

private const val AXES = "xyz"

/** Time whose mean acceleration starts the gravity filter, in seconds. */
const val START_SECONDS: Double = 1.0

/** Throws [InputException] unless the channels are x, y, z of whole vectors, which a rotation requires. */
fun checkVectors(contract: Contract) {
    val kinds = contract.channels.filterIndexed { k, _ -> k % 3 == 0 }.map { it.removeSuffix("_x") }
    if (contract.channels != kinds.flatMap { kind -> AXES.map { "${kind}_$it" } }) {
        throw InputException("a rotation requires channels x, y, z of whole vectors; the model has ${contract.channels.joinToString()}")
    }
}

/** The kinds of channels that the filter chain produces. */
private enum class Channel(val prefix: String, val sensor: Sensor, val unit: String, val isBody: Boolean) {
    BODY_ACC("body_acc", Sensor.ACCELEROMETER, "g", true),
    TOTAL_ACC("total_acc", Sensor.ACCELEROMETER, "g", false),
    BODY_GYRO("body_gyro", Sensor.GYROSCOPE, "rad/s", true),
    ;

    companion object {
        /** Returns the kind of a channel such as "body_acc_x"; null for an unknown name. */
        fun of(channel: String): Channel? =
            values().firstOrNull { kind -> AXES.any { axis -> channel == "${kind.prefix}_$axis" } }
    }
}

/**
 * Returns the sensors that the contract's channels require: accelerometer, gyroscope or both.
 *
 * Throws [InputException] for channels or units that the filter chain does not produce.
 */
fun sensorsOf(contract: Contract): List<Sensor> {
    val needed = HashSet<Sensor>()
    for ((channel, unit) in contract.channels.zip(contract.units)) {
        val kind =
            Channel.of(channel) ?: throw InputException(
                "the model requires the unknown channel '$channel'; supported are " +
                    Channel.values().joinToString { "${it.prefix}_x|y|z" } + "; export the model again",
            )
        if (unit != kind.unit) {
            throw InputException("the model requires $channel in $unit; supported is ${kind.unit}; export the model again")
        }
        needed += kind.sensor
    }
    return Sensor.values().filter { it in needed }
}
