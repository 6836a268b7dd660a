package org.harexport.foreign

import java.io.File
import java.nio.ByteBuffer
import org.harexport.recognition.ActivityRecognizer
import org.harexport.recognition.ModelFiles
import org.junit.Assert.assertTrue
import org.junit.Test

/** The library that `harexport export --android-library` wrote, with the real Java interpreter. */
class LibraryTest {
    @Test
    fun `the model of the library reproduces its golden vectors`() {
        val folder = File(System.getProperty("library"), "src/main/assets/${ActivityRecognizer.ASSETS}")
        val files = ModelFiles.read { name -> ByteBuffer.wrap(File(folder, name).readBytes()) }
        files.open().use { classifier ->
            val logits = classifier.logits(FloatArray(files.contract.inputSize))
            assertTrue(logits.size == files.contract.labels.size && logits.all(Float::isFinite))
        }
    }
}
