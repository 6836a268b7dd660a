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
 * Touches only what is the same from TensorFlow Lite 2.6 to LiteRT 1.4. Throws [BadInput] where the file cannot be run; the
 * first window is refused in the same way where input or logits are not those of [contract]: loading runs nothing. [model]
 * need not be a direct buffer; it is not changed.
 */
class TfliteClassifier(model: ByteBuffer, private val contract: Contract) : Classifier {
    override val runtime: RuntimeInfo = RuntimeInfo("TensorFlow Lite / LiteRT", version(), xnnpack = true)

    private val interpreter: Interpreter
    private val input = ByteBuffer.allocateDirect(4 * contract.inputSize).order(ByteOrder.nativeOrder())
    private val output = arrayOf(FloatArray(contract.labels.size)) // an array must have the exact shape and type of the output
    private val inputs = arrayOf<Any>(input)
    private val outputs: Map<Int, Any>
    private var fits = false

    init {
        val options = Interpreter.Options()
        options.setNumThreads(1)
        options.setUseXNNPACK(true) // asked for, as it is not the default everywhere: three times as fast
        interpreter = tried("the model file is damaged, no .tflite file, or newer than this runtime") { Interpreter(direct(model), options) }
        try {
            val logits = tried("the model has no output called ${Contract.LOGITS_NAME}") { interpreter.getOutputIndex(Contract.LOGITS_NAME) }
            outputs = mapOf(logits to output)
        } catch (error: BadInput) {
            interpreter.close()
            throw error
        }
    }

    override fun logits(window: FloatArray): FloatArray {
        input.rewind()
        input.asFloatBuffer().put(window)
        tried(if (fits) "this phone's runtime cannot run the model" else disagreement()) {
            interpreter.resetVariableTensors()
            interpreter.runForMultipleInputsOutputs(inputs, outputs)
        }
        fits = true
        return output[0].copyOf()
    }

    override fun close() = interpreter.close()

    private fun disagreement(): String =
        "model and contract disagree: the contract says windows of ${contract.window} samples of ${contract.channels.size} " +
            "channels, one at a time, in float32, and answers of ${contract.labels.size} labels; the model has others"

    private fun <T> tried(words: String, block: () -> T): T =
        try {
            block()
        } catch (error: IllegalArgumentException) {
            throw BadInput("$words (${said(error)})", error)
        } catch (error: IllegalStateException) {
            throw BadInput("$words (${said(error)})", error)
        }

    private companion object {
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
