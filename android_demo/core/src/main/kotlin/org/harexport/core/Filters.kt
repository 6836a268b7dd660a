package org.harexport.core

/** Grid samples (three axes of each of [sensors]) in, samples of the contract's channels out, one median late. */
class Filters(contract: Contract) {
    val sensors: List<Sensor> = sensorsOf(contract)
    private val axes: List<Axis>
    private val lookAhead: Int

    /** For each channel: which axis, and whether its slow part is taken away. */
    private val picks: List<Pair<Int, Boolean>>

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
        picks =
            contract.channels.map { channel ->
                val kind = Channel.of(channel)!!
                3 * sensors.indexOf(kind.sensor) + AXES.indexOf(channel.last()) to kind.body
            }
    }

    /** One grid sample -> the channels of the sample before it; null at the start. */
    fun push(values: DoubleArray): DoubleArray? {
        var whole = false // all or none: every axis has the same median
        for (k in axes.indices) {
            whole = axes[k].push(values[k])
        }
        if (!whole) return null
        return DoubleArray(picks.size) { k ->
            val (axis, body) = picks[k]
            if (body) axes[axis].body else axes[axis].total
        }
    }

    /** The channels of the last samples, whose neighbours beyond the end are zeros. The filters are used up. */
    fun flush(): List<DoubleArray> = List(lookAhead) { push(DoubleArray(axes.size)) }.filterNotNull()

    /** One axis of one sensor: the smoothed signal, and the same without its slow part (gravity or drift). */
    private class Axis(median: Int, noise: List<Section>, slow: List<Section>) {
        private val median = Median(median)
        private val noise = Sections(noise)
        private val slow = Sections(slow)
        var total = 0.0
            private set
        var body = 0.0
            private set

        fun push(raw: Double): Boolean {
            val middle = median.push(raw) ?: return false
            total = noise.push(middle)
            body = total - slow.push(total)
            return true
        }
    }
}

private const val AXES = "xyz"

/** The kinds of channel that this chain makes. */
private enum class Channel(val prefix: String, val sensor: Sensor, val unit: String, val body: Boolean) {
    BODY_ACC("body_acc", Sensor.ACCELEROMETER, "g", true),
    TOTAL_ACC("total_acc", Sensor.ACCELEROMETER, "g", false),
    BODY_GYRO("body_gyro", Sensor.GYROSCOPE, "rad/s", true),
    ;

    companion object {
        /** The kind of a channel like "body_acc_x"; null where there is none. */
        fun of(channel: String): Channel? =
            values().firstOrNull { kind -> AXES.any { axis -> channel == "${kind.prefix}_$axis" } }
    }
}

/**
 * The sensors that a contract's channels are made of: accelerometer, or accelerometer and gyroscope, or gyroscope.
 *
 * Throws [BadInput] for channels or units that this chain cannot make.
 */
fun sensorsOf(contract: Contract): List<Sensor> {
    val needed = HashSet<Sensor>()
    for ((channel, unit) in contract.channels.zip(contract.units)) {
        val kind =
            Channel.of(channel) ?: throw BadInput(
                "the model wants a channel '$channel', which this app does not make; it makes " +
                    Channel.values().joinToString { "${it.prefix}_x|y|z" },
            )
        if (unit != kind.unit) {
            throw BadInput("the model wants $channel in $unit; this app makes it in ${kind.unit}")
        }
        needed += kind.sensor
    }
    return Sensor.values().filter { it in needed }
}
