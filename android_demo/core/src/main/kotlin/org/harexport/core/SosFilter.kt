package org.harexport.core

/**
 * Median filter over [size] samples, with zeros before the first sample.
 *
 * Throws [InputException] for an even size.
 */
class MedianFilter(private val size: Int) {
    private val recent: DoubleArray
    private val sorted: DoubleArray
    private var count: Int

    init {
        if (size < 1 || size % 2 == 0 || size > MAX_SIZE) {
            throw InputException("the length of a median filter must be odd; found $size")
        }
        recent = DoubleArray(size)
        sorted = DoubleArray(size)
        count = size / 2 // zeros before the first sample
    }

    /** Returns the median around the sample `size / 2` before [x]; null while that is before the first sample. */
    fun push(x: Double): Double? {
        if (count == size) {
            System.arraycopy(recent, 1, recent, 0, size - 1)
            count--
        }
        recent[count++] = x
        if (count < size) return null
        System.arraycopy(recent, 0, sorted, 0, size)
        sorted.sort()
        return sorted[size / 2]
    }

    private companion object {
        const val MAX_SIZE = 9999
    }
}

/**
 * Filter of cascaded second-order sections (direct form II transposed), starting from zero state.
 *
 * The order of operations is that of scipy.signal.sosfilt; results are identical bit for bit.
 */
class SosFilter(private val sections: List<Section>) {
    private val state = DoubleArray(2 * sections.size)

    /** Returns the filtered [sample]. */
    fun push(sample: Double): Double {
        var x = sample
        for (k in sections.indices) {
            val section = sections[k]
            val y = section.b0 * x + state[2 * k]
            state[2 * k] = section.b1 * x - section.a1 * y + state[2 * k + 1]
            state[2 * k + 1] = section.b2 * x - section.a2 * y
            x = y
        }
        return x
    }
}
