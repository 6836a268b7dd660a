package org.harexport.demo

import android.content.Context
import java.io.FileNotFoundException
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
                val main = parse(CONTRACT)
                contract = main
                val fallback = chooseFallback(main)
                if (fallback != null) contract = fallback
                ModelState.Verified(verify(if (fallback == null) "" else FALLBACK, contract))
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

    /**
     * Returns the contract of the model for phones without a gyroscope, or null to use the [main] model: the phone has its
     * sensors, the app has no other model, or the phone lacks sensors for both.
     */
    private fun chooseFallback(main: Contract): Contract? {
        if (available().containsAll(sensorsOf(main))) return null
        try {
            asset(FALLBACK + CONTRACT)
        } catch (_: FileNotFoundException) {
            return null
        }
        val other = parse(FALLBACK + CONTRACT)
        if (other.labels != main.labels) throw InputException(context.getString(R.string.labels_differ, FALLBACK + CONTRACT, CONTRACT))
        return if (chooseModel(listOf(main, other), available()) == 1) other else null
    }

    private fun parse(name: String): Contract = Contract.parse(String(bytes(read(name))), name)

    private fun verify(folder: String, contract: Contract): VerifiedModel {
        val labels = String(bytes(read(folder + LABELS))).lines().filter { it.isNotBlank() }
        if (labels != contract.labels) throw InputException(context.getString(R.string.labels_differ, folder + LABELS, folder + CONTRACT))
        val golden = GoldenVectors.parse(String(bytes(read(folder + GOLDEN))), contract, folder + GOLDEN)
        val model = read(folder + MODEL)
        golden.checkFiles(model, bytes(read(folder + CONTRACT)))
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
