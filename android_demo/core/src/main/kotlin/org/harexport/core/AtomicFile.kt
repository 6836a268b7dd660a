package org.harexport.core

import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/** Writes a file so that whoever sees it sees all of it. */
object AtomicFile {
    /**
     * Writes [text] as UTF-8 to another name in the same folder, and renames it. Throws [BadInput], in words, where that
     * fails; what was at [file] is still there then.
     */
    fun write(file: File, text: String) {
        val part = File(file.parentFile, ".${file.name}.part")
        try {
            FileOutputStream(part).use { out ->
                out.write(text.toByteArray())
                out.fd.sync()
            }
            if (!part.renameTo(file)) throw IOException("it cannot be renamed")
        } catch (error: IOException) {
            part.delete()
            throw BadInput("${file.name} cannot be written (${error.message}): is the phone's storage full?", error)
        }
    }
}
