package org.harexport.core

/**
 * Median filter over [size] samples, with zeros before the first sample unless [start] is called.
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

    /** The samples inside the filter, which a rotation changes. */
    internal val state: DoubleArray get() = recent

    /** Assumes [x] instead of zeros before the first sample. */
    fun start(x: Double) {
        count = size / 2
        recent.fill(x, 0, count)
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
 * Filter of cascaded second-order sections (direct form II transposed), starting from zero state unless [start] is called.
 *
 * The order of operations is that of scipy.signal.sosfilt; results are identical bit for bit.
 */
class SosFilter(private val sections: List<Section>) {
    /** Two values per section. */
    internal val state: DoubleArray = DoubleArray(2 * sections.size)

    /** Sets the state that a constant input [x] leads to, as scipy.signal.sosfilt_zi. */
    fun start(x: Double) {
        var input = x
        for (k in sections.indices) {
            val section = sections[k]
            val y = input * (section.b0 + section.b1 + section.b2) / (1.0 + section.a1 + section.a2)
            val z1 = section.b2 * input - section.a2 * y
            state[2 * k] = section.b1 * input - section.a1 * y + z1
            state[2 * k + 1] = z1
            input = y
        }
    }

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
