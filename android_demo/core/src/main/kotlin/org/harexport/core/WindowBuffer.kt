package org.harexport.core

/** Filters that start from zero answer nonsense at first: harexport's benchmarks/stream_fidelity.json has the accuracy by seconds. */
const val SETTLING_SECONDS: Double = 5.0

/**
 * [signals] in the contract's units, sample after sample, each with all channels, from the one at [startNs] to the one at
 * [endNs]. [settled] is false where it begins less than [SETTLING_SECONDS] after the chain's start.
 */
class Window(val startNs: Long, val endNs: Long, val signals: DoubleArray, val settled: Boolean) : StreamEvent {
    /** The signals as a model reads them. */
    fun floats(): FloatArray = FloatArray(signals.size) { signals[it].toFloat() }
}

/** Samples of channels in; every `hop` samples, from the first `window` on, the last `window` of them out. */
class WindowBuffer(contract: Contract) {
    private val window = contract.window
    private val hop = contract.hop
    private val settling = SETTLING_SECONDS * contract.rateHz
    private val times = LongArray(window)
    private val recent = arrayOfNulls<DoubleArray>(window)
    private val width = contract.channels.size
    private var count = 0L

    fun push(timeNs: Long, channels: DoubleArray): Window? {
        val place = (count % window).toInt()
        times[place] = timeNs
        recent[place] = channels
        count++
        val begins = count - window
        if (begins < 0 || begins % hop != 0L) return null
        val first = (count % window).toInt()
        val signals = DoubleArray(window * width)
        for (k in 0 until window) {
            recent[(first + k) % window]!!.copyInto(signals, k * width)
        }
        return Window(times[first], timeNs, signals, settled = begins >= settling)
    }
}
