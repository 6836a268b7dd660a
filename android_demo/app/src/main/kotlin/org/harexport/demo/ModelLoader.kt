package org.harexport.demo

import android.content.Context
import java.io.IOException
import java.nio.ByteBuffer
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import org.harexport.core.Classifier
import org.harexport.core.Contract
import org.harexport.core.GoldenVectors
import org.harexport.core.InputException
import org.harexport.core.SelfTest
import org.harexport.core.Sensor
import org.harexport.core.chooseModel
import org.harexport.core.sensorsOf
import org.harexport.core.sha256
import org.harexport.recognition.TfliteClassifier

/**
 * A model of assets/, verified on this phone: it reproduces the golden vectors.
 *
 * @property isFallback whether it is the model for phones without a gyroscope
 */
class VerifiedModel(
    val contract: Contract,
    val golden: GoldenVectors,
    val bytes: ByteBuffer,
    val classifier: Classifier,
    val isFallback: Boolean = false,
) {
    val sha256: String = sha256(bytes)
}

sealed interface ModelState {
    data object Checking : ModelState

    class Verified(val model: VerifiedModel) : ModelState

    /** The contract; null until it has been read. */
    class Rejected(val message: String, val contract: Contract?) : ModelState
}

/**
 * Loads model, labels, contract and golden vectors with [asset] and verifies the model against the golden vectors.
 *
 * @param available the sensors of this phone
 */
class ModelLoader(private val context: Context, private val asset: (String) -> ByteBuffer, private val available: () -> Set<Sensor>) {
    private val mutable = MutableStateFlow<ModelState>(ModelState.Checking)
    val states: StateFlow<ModelState> = mutable
    val state: ModelState get() = mutable.value

    /** The contract, as soon as it is known. */
    val contract: Contract?
        get() =
            when (val now = state) {
                is ModelState.Checking -> null
                is ModelState.Verified -> now.model.contract
                is ModelState.Rejected -> now.contract
            }

    /** Loads and verifies the model; takes about a second. Does not throw; [states] holds the result. */
    fun load() {
        var contract: Contract? = null
        mutable.value =
            try {
                // A contract that cannot be used is reported by the verification below, not while choosing.
                val folder =
                    try {
                        chooseFolder()
                    } catch (_: InputException) {
                        ""
                    }
                val contractBytes = bytes(read(folder + CONTRACT))
                contract = Contract.parse(String(contractBytes), CONTRACT)
                ModelState.Verified(verify(folder, contract, contractBytes))
            } catch (error: InputException) {
                ModelState.Rejected(errorMessage(error), contract)
            } catch (error: LinkageError) {
                ModelState.Rejected(context.getString(R.string.library_missing, "${error.message}"), contract)
            } catch (error: VirtualMachineError) {
                // out of memory or stack overflow: the files are too large or too deeply nested
                ModelState.Rejected(context.getString(R.string.assets_too_large, "$error"), contract)
            } catch (error: RuntimeException) {
                ModelState.Rejected(context.getString(R.string.unexpected, "$error"), contract)
            }
    }

    /** Returns the folder of the model for the sensors of this phone. Without any sensor, it is that of the main model. */
    private fun chooseFolder(): String {
        val main = Contract.parse(String(bytes(read(CONTRACT))), CONTRACT)
        if (available().containsAll(sensorsOf(main))) return ""
        val other =
            try {
                Contract.parse(String(bytes(asset(FALLBACK + CONTRACT))), FALLBACK + CONTRACT)
            } catch (_: IOException) {
                return "" // an app with one model
            }
        return if (chooseModel(listOf(main, other), available()) == 1) FALLBACK else ""
    }

    private fun verify(folder: String, contract: Contract, contractBytes: ByteArray): VerifiedModel {
        val labels = String(bytes(read(folder + LABELS))).lines().filter { it.isNotBlank() }
        if (labels != contract.labels) throw InputException(context.getString(R.string.labels_differ))
        val golden = GoldenVectors.parse(String(bytes(read(folder + GOLDEN))), contract, GOLDEN)
        val model = read(folder + MODEL)
        golden.checkFiles(model, contractBytes)
        val classifier = TfliteClassifier(model, contract)
        try {
            val parity = SelfTest(contract).checkParity(classifier, golden)
            if (!parity.passed) throw InputException(context.getString(R.string.parity_differs, parity.failures.joinToString(" ")))
        } catch (error: Throwable) {
            classifier.close()
            throw error
        }
        return VerifiedModel(contract, golden, model, classifier, isFallback = folder == FALLBACK)
    }

    private fun read(name: String): ByteBuffer =
        try {
            asset(name)
        } catch (error: IOException) {
            throw InputException(context.getString(R.string.asset_missing, name), error)
        }

    private fun bytes(buffer: ByteBuffer): ByteArray = ByteArray(buffer.remaining()).also(buffer.duplicate()::get)

    companion object {
        const val MODEL = "model.tflite"
        const val LABELS = "labels.txt"
        const val CONTRACT = "contract.json"
        const val GOLDEN = "golden.json"

        /** Folder of the model for phones without a gyroscope. */
        const val FALLBACK = "accelerometer-only/"
    }
}

/** Returns the message of [error] as a sentence: capitalized, except for file names, and with a final period. */
fun errorMessage(error: Throwable): String {
    val message = error.message?.ifBlank { null } ?: error.toString()
    val capitalized = if (message.substringBefore(' ').all(Char::isLetter)) message.replaceFirstChar { it.uppercase() } else message
    return capitalized + if (message.last() in ".!?") "" else "."
}
