package org.harexport.core

import java.nio.BufferUnderflowException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/**
 * Windows in the file format of `harexport bench --target adb`, little-endian.
 *
 * Four int32 (the ASCII characters HARW, [count], [samples], [channels]), followed by float32
 * `[count, samples, channels]` in the contract's units.
 */
class WindowFile private constructor(val count: Int, val samples: Int, val channels: Int, private val values: FloatBuffer) {
    /** Returns window [index] as `samples * channels` values, one sample after the other. */
    operator fun get(index: Int): FloatArray {
        require(index in 0 until count) { "window $index of $count" }
        val window = FloatArray(samples * channels)
        val source = values.duplicate()
        source.position(index * window.size)
        source.get(window)
        return window
    }

    /** Throws [InputException] if the windows do not have the shape that [contract] specifies. */
    fun check(contract: Contract) {
        if (samples != contract.window || channels != contract.channels.size) {
            throw InputException(
                "the windows have $samples samples of $channels channels; the model requires ${contract.window} samples of " +
                    "${contract.channels.size} channels",
            )
        }
    }

    companion object {
        private const val MAGIC = 0x57524148

        /** Reads the file from the buffer's position to its limit. Throws [InputException] for any other content. */
        fun parse(bytes: ByteBuffer): WindowFile {
            val file = bytes.slice().order(ByteOrder.LITTLE_ENDIAN)
            val (magic, count, samples, channels) =
                try {
                    List(4) { file.int }
                } catch (error: BufferUnderflowException) {
                    throw InputException("the windows file is truncated in its header; push it again", error)
                }
            if (magic != MAGIC) {
                throw InputException("the windows file does not begin with HARW; push a file that harexport bench wrote")
            }
            if (count < 1 || samples < 1 || channels < 1) {
                throw InputException("the windows file is empty: $count windows of $samples samples and $channels channels")
            }
            val expected = count.toBigInteger() * samples.toBigInteger() * channels.toBigInteger() * 4.toBigInteger()
            if (expected != file.remaining().toBigInteger()) {
                throw InputException(
                    "the windows file has ${file.remaining()} bytes after its header instead of $expected; push it again",
                )
            }
            return WindowFile(count, samples, channels, file.slice().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer())
        }
    }
}
