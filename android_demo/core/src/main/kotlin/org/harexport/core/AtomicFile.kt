package org.harexport.core

import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/** Atomic file writes: a reader sees either the previous content or all of the new one. */
object AtomicFile {
    /**
     * Writes [text] as UTF-8 to a temporary file in the same folder and renames it to [file].
     *
     * Throws [InputException] if that fails; the previous content of [file] is then unchanged.
     */
    fun write(file: File, text: String) {
        val part = File(file.parentFile, ".${file.name}.part")
        try {
            FileOutputStream(part).use { out ->
                out.write(text.toByteArray())
                out.fd.sync()
            }
            if (!part.renameTo(file)) throw IOException("renaming failed")
        } catch (error: IOException) {
            part.delete()
            throw InputException("${file.name} cannot be written (${error.message}); check the phone's free storage", error)
        }
    }
}
