package org.harexport.recognition

import android.content.res.AssetManager
import java.io.FileInputStream
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import org.harexport.core.Classifier
import org.harexport.core.Contract
import org.harexport.core.GoldenVectors
import org.harexport.core.InputException
import org.harexport.core.SelfTest

/**
 * The files of a model that `harexport export` writes, read from one folder.
 *
 * @property model content of model.tflite
 * @property contract content of contract.json
 * @property golden content of golden.json
 */
public class ModelFiles private constructor(
    public val model: ByteBuffer,
    public val contract: Contract,
    public val golden: GoldenVectors,
) {
    /**
     * Loads the model and runs the golden test vectors through it. Takes up to a second.
     *
     * Throws [InputException] if this phone does not compute what harexport computed in Python.
     */
    public fun open(create: (model: ByteBuffer, contract: Contract) -> Classifier = ::TfliteClassifier): Classifier {
        val classifier = create(model, contract)
        try {
            val parity = SelfTest(contract).checkParity(classifier, golden)
            if (!parity.passed) throw InputException("this phone computes other results than Python: ${parity.failures.joinToString(" ")}")
        } catch (error: Throwable) {
            classifier.close()
            throw error
        }
        return classifier
    }

    public companion object {
        public const val MODEL: String = "model.tflite"
        public const val LABELS: String = "labels.txt"
        public const val CONTRACT: String = "contract.json"
        public const val GOLDEN: String = "golden.json"

        /** Reads the files with [read], which throws IOException if there is none of that name. Throws [InputException]. */
        public fun read(read: (name: String) -> ByteBuffer): ModelFiles {
            fun readOrThrow(name: String): ByteBuffer =
                try {
                    read(name)
                } catch (error: IOException) {
                    throw InputException("$name is missing in the app; export the model again", error)
                }
            fun bytes(name: String): ByteArray = readOrThrow(name).let { buffer -> ByteArray(buffer.remaining()).also(buffer.duplicate()::get) }
            val contractBytes = bytes(CONTRACT)
            val contract = Contract.parse(String(contractBytes), CONTRACT)
            val labels = String(bytes(LABELS)).lines().filter { it.isNotBlank() }
            if (labels != contract.labels) throw InputException("$LABELS does not match $CONTRACT; export the model again")
            val golden = GoldenVectors.parse(String(bytes(GOLDEN)), contract, GOLDEN)
            val model = readOrThrow(MODEL)
            golden.checkFiles(model, contractBytes)
            return ModelFiles(model, contract, golden)
        }

        /**
         * Reads the files of a folder of [assets]. Throws [InputException].
         *
         * The model is mapped into memory if the APK contains it uncompressed (`androidResources { noCompress += "tflite" }`).
         */
        public fun read(assets: AssetManager, folder: String): ModelFiles =
            read { name ->
                val path = "$folder/$name"
                (if (name == MODEL) map(assets, path) else null) ?: ByteBuffer.wrap(assets.open(path).use { it.readBytes() })
            }

        private fun map(assets: AssetManager, path: String): ByteBuffer? =
            try {
                assets.openFd(path).use { asset ->
                    FileInputStream(asset.fileDescriptor).use { it.channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.length) }
                }
            } catch (_: IOException) {
                null // compressed
            }
    }
}
