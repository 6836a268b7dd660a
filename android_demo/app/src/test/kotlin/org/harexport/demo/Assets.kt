package org.harexport.demo

import java.io.File
import java.io.FileNotFoundException
import java.io.OutputStream
import java.nio.ByteBuffer
import org.json.JSONObject

/** The app with other assets than it was built with. */
abstract class OtherAssets : DemoApplication() {
    /** The asset [name], which holds [content]; throws FileNotFoundException for one that is not there. */
    protected abstract fun changed(name: String, content: ByteArray): ByteArray

    override fun asset(name: String): ByteBuffer {
        val buffer = super.asset(name)
        val content = ByteArray(buffer.remaining())
        buffer.get(content)
        return ByteBuffer.wrap(changed(name, content))
    }

    /** golden.json, made to fit other bytes: so that it is the model or the contract that has to be found wrong. */
    protected fun fitting(golden: ByteArray, key: String, other: ByteArray): ByteArray {
        val plain = JSONObject(String(golden))
        plain.put(key, org.harexport.core.sha256(ByteBuffer.wrap(other)))
        return plain.toString().toByteArray()
    }

    protected fun original(name: String): ByteArray = File(property("assets"), name).readBytes()
}

/** A bit of the model has fallen over. */
class DamagedModel : OtherAssets() {
    override fun changed(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.MODEL) content.apply { this[size / 2] = (this[size / 2] + 1).toByte() } else content
}

/** The model is no model at all, and golden.json was made for it. */
class NoModel : OtherAssets() {
    private val text = "this is no model".toByteArray()

    override fun changed(name: String, content: ByteArray): ByteArray =
        when (name) {
            ModelLoader.MODEL -> text
            ModelLoader.GOLDEN -> fitting(content, "model_sha256", text)
            else -> content
        }
}

/** Weights are others than those that golden.json was made with, though its checksum fits: only the answers differ. */
class OtherWeights : OtherAssets() {
    override fun changed(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.GOLDEN) {
            val plain = JSONObject(String(content))
            val first = plain.getJSONArray("logits").getJSONArray(0)
            first.put(0, first.getDouble(0) + 0.01)
            plain.toString().toByteArray()
        } else {
            content
        }
}

/** A contract with windows of other lengths; golden.json was made with it, for the same number of numbers. */
class OtherContract : OtherAssets() {
    private fun contract(): ByteArray {
        val plain = JSONObject(String(original(ModelLoader.CONTRACT)))
        plain.put("labels", org.json.JSONArray(listOf("A", "B", "C", "D", "E")))
        return plain.toString().toByteArray()
    }

    override fun changed(name: String, content: ByteArray): ByteArray =
        when (name) {
            ModelLoader.CONTRACT -> contract()
            ModelLoader.LABELS -> "A\nB\nC\nD\nE\n".toByteArray()
            ModelLoader.GOLDEN -> {
                val plain = JSONObject(String(fitting(content, "contract_sha256", contract())))
                val rows = plain.getJSONArray("logits")
                for (k in 0 until rows.length()) rows.getJSONArray(k).remove(5)
                plain.toString().toByteArray()
            }
            else -> content
        }
}

/** Another contract of the same sizes: the one of a phone in other units. */
class ForeignContract : OtherAssets() {
    override fun changed(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.CONTRACT) String(content).replace("\"g\"", "\"m/s2\"").toByteArray() else content
}

class BrokenContract : OtherAssets() {
    override fun changed(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.CONTRACT) content.copyOf(content.size / 2) else content
}

class OtherLabels : OtherAssets() {
    override fun changed(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.LABELS) String(content).replace("WALKING\n", "RUNNING\n").toByteArray() else content
}

class NoGolden : OtherAssets() {
    override fun changed(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.GOLDEN) throw FileNotFoundException(name) else content
}

/** A phone whose storage is full after [ROOM] bytes. */
class FullStorage : DemoApplication() {
    override fun openRecording(file: File): OutputStream {
        val real = super.openRecording(file)
        return object : OutputStream() {
            private var left = ROOM

            override fun write(byte: Int) {
                if (left-- <= 0) throw java.io.IOException("No space left on device")
                real.write(byte)
            }

            override fun close() = real.close()
        }
    }

    companion object {
        const val ROOM = 20_000
    }
}
