package org.harexport.demo

import android.content.Context
import java.io.IOException
import java.nio.ByteBuffer
import org.harexport.core.BadInput
import org.harexport.core.Classifier
import org.harexport.core.Contract
import org.harexport.core.Golden
import org.harexport.core.SelfTest
import org.harexport.core.sha256

/** The model of assets/, which has answered the golden windows on this phone as it did in Python. */
class TrustedModel(val contract: Contract, val golden: Golden, val bytes: ByteBuffer, val classifier: Classifier) {
    val sha256: String = sha256(bytes)
}

sealed interface ModelState {
    data object Checking : ModelState

    class Trusted(val model: TrustedModel) : ModelState

    /** [sentence] says why there is none; [contract] is there where it could be read: one can record without a model. */
    class Refused(val sentence: String, val contract: Contract?) : ModelState
}

/** Reads model, labels, contract and golden vectors by [asset], and trusts them only after they have proven themselves. */
class ModelLoader(private val context: Context, private val asset: (String) -> ByteBuffer) {
    @Volatile
    var state: ModelState = ModelState.Checking
        private set

    /** The contract, as soon as it is known. */
    val contract: Contract?
        get() =
            when (val now = state) {
                is ModelState.Checking -> null
                is ModelState.Trusted -> now.model.contract
                is ModelState.Refused -> now.contract
            }

    /** Takes a moment: not for the main thread. Never throws; [state] says how it went. */
    fun load() {
        var contract: Contract? = null
        state =
            try {
                val contractBytes = bytes(read(CONTRACT))
                contract = Contract.parse(String(contractBytes), CONTRACT)
                ModelState.Trusted(trusted(contract, contractBytes))
            } catch (error: BadInput) {
                ModelState.Refused(sentence(error), contract)
            } catch (error: LinkageError) {
                ModelState.Refused(context.getString(R.string.library_missing, "${error.message}"), contract)
            } catch (error: VirtualMachineError) {
                // memory or stack: files of a size, or json of a depth, that nobody exported
                ModelState.Refused(context.getString(R.string.assets_too_large, "$error"), contract)
            } catch (error: RuntimeException) {
                ModelState.Refused(context.getString(R.string.unexpected, "$error"), contract)
            }
    }

    private fun trusted(contract: Contract, contractBytes: ByteArray): TrustedModel {
        val labels = String(bytes(read(LABELS))).lines().filter { it.isNotBlank() }
        if (labels != contract.labels) throw BadInput(context.getString(R.string.labels_differ))
        val golden = Golden.parse(String(bytes(read(GOLDEN))), contract, GOLDEN)
        val model = read(MODEL)
        golden.checkFiles(model, contractBytes)
        val classifier = TfliteClassifier(model, contract)
        try {
            val parity = SelfTest(contract).parity(classifier, golden)
            if (!parity.passed) throw BadInput(context.getString(R.string.parity_differs, parity.failures.joinToString(" ")))
        } catch (error: Throwable) {
            classifier.close()
            throw error
        }
        return TrustedModel(contract, golden, model, classifier)
    }

    private fun read(name: String): ByteBuffer =
        try {
            asset(name)
        } catch (error: IOException) {
            throw BadInput(context.getString(R.string.asset_missing, name), error)
        }

    private fun bytes(buffer: ByteBuffer): ByteArray = ByteArray(buffer.remaining()).also(buffer.duplicate()::get)

    companion object {
        const val MODEL = "model.tflite"
        const val LABELS = "labels.txt"
        const val CONTRACT = "contract.json"
        const val GOLDEN = "golden.json"
    }
}

/** The message as a sentence of its own: core's begin small, and many end without a stop. Names of files stay as they are. */
fun sentence(error: Throwable): String {
    val message = error.message?.ifBlank { null } ?: error.toString()
    val begun = if (message.substringBefore(' ').all(Char::isLetter)) message.replaceFirstChar { it.uppercase() } else message
    return begun + if (message.last() in ".!?") "" else "."
}
