package org.harexport.core

/** Time in seconds after which the filters have settled; benchmarks/stream_fidelity.json has the accuracy by seconds. */
const val SETTLING_SECONDS: Double = 0.5

/**
 * One window of preprocessed signals.
 *
 * @property startNs time of the first sample in nanoseconds
 * @property endNs time of the last sample in nanoseconds
 * @property signals `[window, channels]` in the contract's units, one sample after the other
 * @property mount rotation with which the signals were computed
 * @property settled false if the window begins less than [SETTLING_SECONDS] after the start of the filters
 */
class Window(
    val startNs: Long,
    val endNs: Long,
    val signals: DoubleArray,
    val settled: Boolean,
    val mount: Mount = Mount.AS_IS,
) : StreamEvent {
    /** Returns the signals as the input of a model. */
    fun floats(): FloatArray = FloatArray(signals.size) { signals[it].toFloat() }

    /** Returns the window computed with another [mount]. The channels are x, y, z of one vector after the other. */
    fun rotateTo(mount: Mount): Window =
        if (mount === this.mount) this
        else Window(startNs, endNs, mount.after(this.mount.inverse).rotate(signals), settled, mount)
}

/** Collects channel samples into windows: one every `hop` samples, from the first `window` samples on. */
class WindowBuffer(contract: Contract) {
    private val window = contract.window
    private val hop = contract.hop
    private val settling = SETTLING_SECONDS * contract.rateHz
    private val times = LongArray(window)
    private val recent = arrayOfNulls<DoubleArray>(window)
    private val width = contract.channels.size
    private var count = 0L

    /** Rotates the samples of later windows. The channels are x, y, z of one vector after the other. */
    fun rotate(mount: Mount) {
        for (k in recent.indices) recent[k] = recent[k]?.let(mount::rotate)
    }

    /** Adds one sample, computed with [mount], and returns the window it completes; null otherwise. */
    fun push(timeNs: Long, channels: DoubleArray, mount: Mount = Mount.AS_IS): Window? {
        val place = (count % window).toInt()
        times[place] = timeNs
        recent[place] = channels
        count++
        val firstSample = count - window
        if (firstSample < 0 || firstSample % hop != 0L) return null
        val first = (count % window).toInt()
        val signals = DoubleArray(window * width)
        for (k in 0 until window) {
            recent[(first + k) % window]!!.copyInto(signals, k * width)
        }
        return Window(times[first], timeNs, signals, firstSample >= settling, mount)
    }
}
