package org.harexport.core

import java.nio.BufferUnderflowException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/**
 * Windows as `harexport bench --target adb` packs them, little-endian: four int32 (HARW in ASCII; how many windows;
 * samples of each; channels of each), then float32 [windows, samples, channels] in the contract's units.
 */
class HarwWindows private constructor(val count: Int, val samples: Int, val channels: Int, private val numbers: FloatBuffer) {
    /** Window [k], sample after sample. */
    operator fun get(k: Int): FloatArray {
        require(k in 0 until count) { "window $k of $count" }
        val window = FloatArray(samples * channels)
        val from = numbers.duplicate()
        from.position(k * window.size)
        from.get(window)
        return window
    }

    /** Throws [BadInput] where a model of [contract] reads others. */
    fun check(contract: Contract) {
        if (samples != contract.window || channels != contract.channels.size) {
            throw BadInput(
                "the windows have $samples samples of $channels channels; the model reads ${contract.window} samples of " +
                    "${contract.channels.size}",
            )
        }
    }

    companion object {
        private const val MAGIC = 0x57524148

        /** From the buffer's position to its limit. Throws [BadInput] for anything else than such a file. */
        fun parse(bytes: ByteBuffer): HarwWindows {
            val file = bytes.slice().order(ByteOrder.LITTLE_ENDIAN)
            val (magic, count, samples, channels) =
                try {
                    List(4) { file.int }
                } catch (error: BufferUnderflowException) {
                    throw BadInput("the file of windows is cut off in its header; push it again", error)
                }
            if (magic != MAGIC) throw BadInput("the file of windows does not begin with HARW; give one that harexport bench wrote")
            if (count < 1 || samples < 1 || channels < 1) {
                throw BadInput("the file of windows holds $count windows of $samples samples and $channels channels: none to run")
            }
            val wanted = count.toBigInteger() * samples.toBigInteger() * channels.toBigInteger() * 4.toBigInteger()
            if (wanted != file.remaining().toBigInteger()) {
                throw BadInput(
                    "the file of windows has ${file.remaining()} bytes after its header, and should have $wanted; push it again",
                )
            }
            return HarwWindows(count, samples, channels, file.slice().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer())
        }
    }
}
