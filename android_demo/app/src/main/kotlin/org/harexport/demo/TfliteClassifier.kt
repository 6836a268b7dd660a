package org.harexport.demo

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.harexport.core.BadInput
import org.harexport.core.Classifier
import org.harexport.core.Contract
import org.harexport.core.RuntimeInfo
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.TensorFlowLite

/**
 * A .tflite file of harexport in TensorFlow Lite or LiteRT, on one thread: with more, models of this size are slower.
 *
 * Touches only what is the same from TensorFlow Lite 2.6 to LiteRT 1.4. Throws [BadInput] where the file cannot be run, or
 * where its input or logits are not those of [contract]. [model] need not be a direct buffer; it is not changed.
 */
class TfliteClassifier(model: ByteBuffer, private val contract: Contract) : Classifier {
    override val runtime: RuntimeInfo = RuntimeInfo("TensorFlow Lite", version(), xnnpack = true)

    private val interpreter: Interpreter
    private val logits: Int
    private val input = floats(contract.inputSize)
    private val output = floats(contract.labels.size)
    private val inputs = arrayOf<Any>(input)
    private val outputs: Map<Int, Any>

    init {
        val options = Interpreter.Options()
        options.setNumThreads(1)
        options.setUseXNNPACK(true) // asked for, as it is not the default everywhere: three times as fast
        interpreter = tried("the model file is damaged, no .tflite file, or newer than this runtime") { Interpreter(direct(model), options) }
        try {
            logits = tried("the model has no output called ${Contract.LOGITS_NAME}") { interpreter.getOutputIndex(Contract.LOGITS_NAME) }
            outputs = mapOf(logits to output)
            check()
        } catch (error: BadInput) {
            interpreter.close()
            throw error
        }
    }

    override fun logits(window: FloatArray): FloatArray {
        input.rewind()
        input.asFloatBuffer().put(window)
        output.rewind()
        tried("this phone's runtime cannot run the model") {
            interpreter.resetVariableTensors()
            interpreter.runForMultipleInputsOutputs(inputs, outputs)
        }
        output.rewind()
        return FloatArray(contract.labels.size).also { output.asFloatBuffer().get(it) }
    }

    override fun close() = interpreter.close()

    /** Runs zeros: a buffer must have the input's exact size, an array the exact shape and type of the output. */
    private fun check() {
        val wanted =
            "windows of ${contract.window} samples of ${contract.channels.size} channels, one at a time, in float32, and " +
                "answers of ${contract.labels.size} labels"
        val answer = arrayOf(FloatArray(contract.labels.size))
        tried("model and contract disagree: the contract says $wanted; the model has others") {
            interpreter.runForMultipleInputsOutputs(inputs, mapOf<Int, Any>(logits to answer))
        }
    }

    private fun <T> tried(words: String, block: () -> T): T =
        try {
            block()
        } catch (error: IllegalArgumentException) {
            throw BadInput("$words (${said(error)})", error)
        } catch (error: IllegalStateException) {
            throw BadInput("$words (${said(error)})", error)
        }

    private companion object {
        fun floats(count: Int): ByteBuffer = ByteBuffer.allocateDirect(4 * count).order(ByteOrder.nativeOrder())

        fun direct(model: ByteBuffer): ByteBuffer {
            // the library reads a direct buffer from its first byte to its last, whatever position and limit say
            if (model.isDirect && model.remaining() == model.capacity()) return model.duplicate().order(ByteOrder.nativeOrder())
            val copy = ByteBuffer.allocateDirect(model.remaining()).order(ByteOrder.nativeOrder())
            copy.put(model.duplicate()).rewind()
            return copy
        }

        fun version(): String =
            try {
                TensorFlowLite.runtimeVersion()
            } catch (error: LinkageError) {
                throw BadInput("the app lacks TensorFlow Lite's library for this phone's processor", error)
            }

        fun said(error: Exception): String = error.message.orEmpty().lineSequence().first().trim().take(200)
    }
}
