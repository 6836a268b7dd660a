package org.harexport.demo

import android.content.ComponentName
import android.content.Intent
import java.io.File
import java.io.FileNotFoundException
import java.io.OutputStream
import java.nio.ByteBuffer
import org.json.JSONObject

/** The app with modified assets. */
abstract class ModifiedAssets : DemoApplication() {
    /** Returns the modified [content] of the asset [name]; throws FileNotFoundException to simulate a missing one. */
    protected abstract fun modify(name: String, content: ByteArray): ByteArray

    override fun asset(name: String): ByteBuffer {
        val buffer = super.asset(name)
        val content = ByteArray(buffer.remaining())
        buffer.get(content)
        return ByteBuffer.wrap(modify(name, content))
    }

    /** Returns golden.json with the checksum [key] of [other] bytes, so that only later checks can fail. */
    protected fun withChecksum(golden: ByteArray, key: String, other: ByteArray): ByteArray {
        val plain = JSONObject(String(golden))
        plain.put(key, org.harexport.core.sha256(ByteBuffer.wrap(other)))
        return plain.toString().toByteArray()
    }

    protected fun original(name: String): ByteArray = File(property("assets"), name).readBytes()
}

/** One byte of the model differs. */
class DamagedModel : ModifiedAssets() {
    override fun modify(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.MODEL) content.apply { this[size / 2] = (this[size / 2] + 1).toByte() } else content
}

/** The model file is text, with a matching checksum. */
class TextAsModel : ModifiedAssets() {
    private val text = "this is not a model".toByteArray()

    override fun modify(name: String, content: ByteArray): ByteArray =
        when (name) {
            ModelLoader.MODEL -> text
            ModelLoader.GOLDEN -> withChecksum(content, "model_sha256", text)
            else -> content
        }
}

/** A reference logit differs; all checksums match. */
class OtherLogits : ModifiedAssets() {
    override fun modify(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.GOLDEN) {
            val plain = JSONObject(String(content))
            val first = plain.getJSONArray("logits").getJSONArray(0)
            first.put(0, first.getDouble(0) + 0.01)
            plain.toString().toByteArray()
        } else {
            content
        }
}

/** A contract with five labels for a model with six, with matching checksums. */
class OtherContract : ModifiedAssets() {
    private fun contract(): ByteArray {
        val plain = JSONObject(String(original(ModelLoader.CONTRACT)))
        plain.put("labels", org.json.JSONArray(listOf("A", "B", "C", "D", "E")))
        return plain.toString().toByteArray()
    }

    override fun modify(name: String, content: ByteArray): ByteArray =
        when (name) {
            ModelLoader.CONTRACT -> contract()
            ModelLoader.LABELS -> "A\nB\nC\nD\nE\n".toByteArray()
            ModelLoader.GOLDEN -> {
                val plain = JSONObject(String(withChecksum(content, "contract_sha256", contract())))
                val rows = plain.getJSONArray("logits")
                for (k in 0 until rows.length()) rows.getJSONArray(k).remove(5)
                plain.toString().toByteArray()
            }
            else -> content
        }
}

/** A contract with another hop that does not match golden.json. */
class ForeignContract : ModifiedAssets() {
    override fun modify(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.CONTRACT) JSONObject(String(content)).put("hop", 32).toString().toByteArray() else content
}

/** A contract of version 1, without a mount stage, with a matching checksum. */
class ContractWithoutFrame : ModifiedAssets() {
    private fun contract(): ByteArray {
        val json = JSONObject(String(original(ModelLoader.CONTRACT)))
        json.put("contract_version", 1)
        json.remove("frame")
        json.remove("mount")
        return json.toString().toByteArray()
    }

    override fun modify(name: String, content: ByteArray): ByteArray =
        when (name) {
            ModelLoader.CONTRACT -> contract()
            ModelLoader.GOLDEN -> withChecksum(content, "contract_sha256", contract())
            else -> content
        }
}

class BrokenContract : ModifiedAssets() {
    override fun modify(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.CONTRACT) content.copyOf(content.size / 2) else content
}

/** The contract of the model for phones without a gyroscope is damaged. */
class BrokenFallback : ModifiedAssets() {
    override fun modify(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.FALLBACK + ModelLoader.CONTRACT) content.copyOf(content.size / 2) else content
}

/** There is no model for phones without a gyroscope. */
class OneModel : ModifiedAssets() {
    override fun modify(name: String, content: ByteArray): ByteArray =
        if (name.startsWith(ModelLoader.FALLBACK)) throw FileNotFoundException(name) else content
}

class OtherLabels : ModifiedAssets() {
    override fun modify(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.LABELS) String(content).replace("WALKING\n", "RUNNING\n").toByteArray() else content
}

class MissingGoldenVectors : ModifiedAssets() {
    override fun modify(name: String, content: ByteArray): ByteArray =
        if (name == ModelLoader.GOLDEN) throw FileNotFoundException(name) else content
}

/** A phone whose storage is full after [FREE_BYTES] bytes. */
class FullStorage : DemoApplication() {
    override fun openRecording(file: File): OutputStream {
        val real = super.openRecording(file)
        return object : OutputStream() {
            private var free = FREE_BYTES

            override fun write(byte: Int) {
                if (free-- <= 0) throw java.io.IOException("No space left on device")
                real.write(byte)
            }

            override fun close() = real.close()
        }
    }

    companion object {
        const val FREE_BYTES = 20_000
    }
}

/** A phone that does not let the app run in the background. */
class NoBackground : DemoApplication() {
    override fun startForegroundService(service: Intent): ComponentName? = throw IllegalStateException("restricted by the battery saver")
}
