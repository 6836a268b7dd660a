package org.harexport.core

/**
 * Median of the last [size] samples: the answer for the sample `size / 2` before the newest. Zeros around the ends.
 *
 * Throws [BadInput] for a size without a middle.
 */
class Median(private val size: Int) {
    private val recent: DoubleArray
    private val sorted: DoubleArray
    private var count: Int

    init {
        if (size < 1 || size % 2 == 0 || size > LARGEST) {
            throw BadInput("a median filter of $size samples has no middle: choose 1, 3, 5, ...")
        }
        recent = DoubleArray(size)
        sorted = DoubleArray(size)
        count = size / 2 // zeros before the first sample
    }

    /** The next answer; null while the first sample still lacks its neighbours. */
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
        const val LARGEST = 9999
    }
}

/**
 * A cascade of second-order sections, direct form II transposed, from zero state.
 *
 * The order of operations is scipy.signal.sosfilt's, so the answers are the same bit for bit.
 */
class Sections(private val sections: List<Section>) {
    private val state = DoubleArray(2 * sections.size)

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
