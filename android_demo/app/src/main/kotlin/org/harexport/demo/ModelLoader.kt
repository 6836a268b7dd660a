package org.harexport.demo

import android.content.Context
import java.io.IOException
import java.nio.ByteBuffer
import org.harexport.core.Classifier
import org.harexport.core.Contract
import org.harexport.core.GoldenVectors
import org.harexport.core.InputException
import org.harexport.core.SelfTest
import org.harexport.core.sha256
import org.harexport.recognition.TfliteClassifier

/** The model of assets/, verified on this phone: it reproduces the golden vectors. */
class VerifiedModel(val contract: Contract, val golden: GoldenVectors, val bytes: ByteBuffer, val classifier: Classifier) {
    val sha256: String = sha256(bytes)
}

sealed interface ModelState {
    data object Checking : ModelState

    class Verified(val model: VerifiedModel) : ModelState

    /** The contract; null until it has been read. */
    class Rejected(val message: String, val contract: Contract?) : ModelState
}

/** Loads model, labels, contract and golden vectors with [asset] and verifies the model against the golden vectors. */
class ModelLoader(private val context: Context, private val asset: (String) -> ByteBuffer) {
    @Volatile
    var state: ModelState = ModelState.Checking
        private set

    /** The contract, as soon as it is known. */
    val contract: Contract?
        get() =
            when (val now = state) {
                is ModelState.Checking -> null
                is ModelState.Verified -> now.model.contract
                is ModelState.Rejected -> now.contract
            }

    /** Loads and verifies the model; takes about a second. Does not throw; [state] holds the result. */
    fun load() {
        var contract: Contract? = null
        state =
            try {
                val contractBytes = bytes(read(CONTRACT))
                contract = Contract.parse(String(contractBytes), CONTRACT)
                ModelState.Verified(verify(contract, contractBytes))
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

    private fun verify(contract: Contract, contractBytes: ByteArray): VerifiedModel {
        val labels = String(bytes(read(LABELS))).lines().filter { it.isNotBlank() }
        if (labels != contract.labels) throw InputException(context.getString(R.string.labels_differ))
        val golden = GoldenVectors.parse(String(bytes(read(GOLDEN))), contract, GOLDEN)
        val model = read(MODEL)
        golden.checkFiles(model, contractBytes)
        val classifier = TfliteClassifier(model, contract)
        try {
            val parity = SelfTest(contract).checkParity(classifier, golden)
            if (!parity.passed) throw InputException(context.getString(R.string.parity_differs, parity.failures.joinToString(" ")))
        } catch (error: Throwable) {
            classifier.close()
            throw error
        }
        return VerifiedModel(contract, golden, model, classifier)
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
    }
}

/** Returns the message of [error] as a sentence: capitalized, except for file names, and with a final period. */
fun errorMessage(error: Throwable): String {
    val message = error.message?.ifBlank { null } ?: error.toString()
    val capitalized = if (message.substringBefore(' ').all(Char::isLetter)) message.replaceFirstChar { it.uppercase() } else message
    return capitalized + if (message.last() in ".!?") "" else "."
}
