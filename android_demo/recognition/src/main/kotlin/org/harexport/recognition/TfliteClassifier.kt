package org.harexport.recognition

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.harexport.core.Classifier
import org.harexport.core.Contract
import org.harexport.core.InputException
import org.harexport.core.RuntimeInfo
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.TensorFlowLite

/**
 * Runs a .tflite file of harexport with TensorFlow Lite or LiteRT on one thread; more threads slow down models of this
 * size.
 *
 * Uses only API that is identical from TensorFlow Lite 2.6 to LiteRT 1.4. Throws [InputException] if the file cannot be
 * loaded. Loading does not run the model: a model that does not match [contract] is reported by the first call of
 * [logits].
 *
 * @param model the content of the file; it need not be a direct buffer and is not modified
 */
public class TfliteClassifier(model: ByteBuffer, private val contract: Contract) : Classifier {
    override val runtime: RuntimeInfo = RuntimeInfo("TensorFlow Lite / LiteRT", version(), xnnpack = true)

    private val interpreter: Interpreter
    private val input = ByteBuffer.allocateDirect(4 * contract.inputSize).order(ByteOrder.nativeOrder())
    private val output = arrayOf(FloatArray(contract.labels.size)) // the array must have the exact shape of the output
    private val inputs = arrayOf<Any>(input)
    private val outputs: Map<Int, Any>
    private var isVerified = false

    init {
        val options = Interpreter.Options()
        options.setNumThreads(1)
        options.setUseXNNPACK(true) // three times as fast, and not the default in every version
        interpreter = runOrThrow("the model file is corrupt, not a .tflite file, or requires a newer runtime") { Interpreter(direct(model), options) }
        try {
            val logits = runOrThrow("the model has no output named ${Contract.LOGITS_NAME}") { interpreter.getOutputIndex(Contract.LOGITS_NAME) }
            outputs = mapOf(logits to output)
        } catch (error: InputException) {
            interpreter.close()
            throw error
        }
    }

    override fun logits(window: FloatArray): FloatArray {
        require(window.size == contract.inputSize) { "the window has ${window.size} values; the model requires ${contract.inputSize}" }
        input.rewind()
        input.asFloatBuffer().put(window)
        runOrThrow(if (isVerified) "this phone's runtime cannot run the model" else mismatchMessage()) {
            interpreter.resetVariableTensors()
            interpreter.runForMultipleInputsOutputs(inputs, outputs)
        }
        isVerified = true
        return output[0].copyOf()
    }

    override fun close(): Unit = interpreter.close()

    private fun mismatchMessage(): String =
        "model and contract do not match: the contract specifies a float32 window of ${contract.window} samples of " +
            "${contract.channels.size} channels and ${contract.labels.size} labels; export both together"

    private fun <T> runOrThrow(message: String, block: () -> T): T =
        try {
            block()
        } catch (error: IllegalArgumentException) {
            throw InputException("$message (${firstLine(error)})", error)
        } catch (error: IllegalStateException) {
            throw InputException("$message (${firstLine(error)})", error)
        }

    private companion object {
        fun direct(model: ByteBuffer): ByteBuffer {
            // the library ignores position and limit of a direct buffer
            if (model.isDirect && model.remaining() == model.capacity()) return model.duplicate().order(ByteOrder.nativeOrder())
            val copy = ByteBuffer.allocateDirect(model.remaining()).order(ByteOrder.nativeOrder())
            copy.put(model.duplicate()).rewind()
            return copy
        }

        fun version(): String =
            try {
                TensorFlowLite.runtimeVersion()
            } catch (error: LinkageError) {
                throw InputException("the app has no TensorFlow Lite library for this phone's processor", error)
            }

        fun firstLine(error: Exception): String = error.message.orEmpty().lineSequence().first().trim().take(200)
    }
}
