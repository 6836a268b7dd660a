package org.harexport.core

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.OutputStream
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class RecordingWriterTest {
    @get:Rule val folder = TemporaryFolder()
    private val header = "timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s,label"

    @Test
    fun `writes the CSV format that predict reads`() {
        val writer = RecordingWriter(folder.root, "walk")
        writer.label = "WALKING"
        writer.write(Sensor.ACCELEROMETER, 1718030736876545874, floatArrayOf(9.81f, -0.5f, 1e-4f))
        writer.write(Sensor.GYROSCOPE, 1718030736883416757, floatArrayOf(0.25f, 0f, -1f))
        writer.label = null
        writer.write(Sensor.ACCELEROMETER, 1718030736896545874, floatArrayOf(9f, 0f, 0f))
        writer.label = "sit, \"down\""
        writer.write(Sensor.GYROSCOPE, 1718030736903416757, floatArrayOf(0f, 0f, 0f))
        assertEquals(listOf("walk.csv.part"), folder.root.list()!!.toList())
        val file = writer.finish()!!
        assertEquals("walk.csv", file.name)
        assertEquals(
            listOf(
                header,
                "1718030736876545874,9.81,-0.5,1.0E-4,,,,WALKING",
                "1718030736883416757,,,,0.25,0.0,-1.0,WALKING",
                "1718030736896545874,9.0,0.0,0.0,,,,",
                "1718030736903416757,,,,0.0,0.0,0.0,\"sit, \"\"down\"\"\"",
            ),
            file.readLines(),
        )
        assertTrue(file.readText().endsWith("\n"))
        assertEquals(mapOf(Sensor.ACCELEROMETER to 2L, Sensor.GYROSCOPE to 2L), writer.samples)
        assertEquals(file, writer.finish())
    }

    @Test
    fun `the column subject contains who was recorded`() {
        val writer = RecordingWriter(folder.root, "walk", listOf(Sensor.GYROSCOPE), subject = "Anna, B.")
        writer.label = "WALKING"
        writer.write(Sensor.GYROSCOPE, 1, floatArrayOf(1f, 2f, 3f))
        val lines = writer.finish()!!.readLines()
        assertEquals(listOf("timestamp_ns,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s,label,subject", "1,1.0,2.0,3.0,WALKING,\"Anna, B.\""), lines)
        assertContains(inputError { RecordingWriter(folder.root, "x", subject = "a\nb") }, "line breaks")
        assertEquals(listOf("walk.csv"), folder.root.list()!!.toList())
    }

    @Test
    fun `lines are flushed while recording`() {
        val writer = RecordingWriter(folder.root, "long")
        times(50.0, 10.0).forEach { writer.write(Sensor.ACCELEROMETER, it, FloatArray(3)) }
        assertTrue(File(folder.root, "long.csv.part").readLines().size > 450)
        writer.finish()
        assertEquals(501, File(folder.root, "long.csv").readLines().size)
    }

    @Test
    fun `columns exist only for available sensors, and file names are unique`() {
        repeat(2) {
            val writer = RecordingWriter(folder.root, "a/b: c", listOf(Sensor.ACCELEROMETER))
            writer.write(Sensor.ACCELEROMETER, 1, floatArrayOf(1f, 2f, 3f))
            writer.write(Sensor.GYROSCOPE, 1, floatArrayOf(1f, 2f, 3f))
            writer.finish()
        }
        assertEquals(listOf("a-b--c-2.csv", "a-b--c.csv"), folder.root.list()!!.sorted())
        assertEquals("timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,label\n1,1.0,2.0,3.0,\n", File(folder.root, "a-b--c.csv").readText())
    }

    @Test
    fun `repeated and invalid samples are dropped, a clock reset ends the recording`() {
        val writer = RecordingWriter(folder.root, "back")
        writer.write(Sensor.ACCELEROMETER, SECOND, FloatArray(3))
        writer.write(Sensor.ACCELEROMETER, SECOND, FloatArray(3))
        writer.write(Sensor.ACCELEROMETER, SECOND - 5, FloatArray(3))
        writer.write(Sensor.ACCELEROMETER, SECOND + 5, floatArrayOf(0f, Float.NaN, 0f))
        assertEquals(3, writer.dropped)
        val stopped = stopped { writer.write(Sensor.ACCELEROMETER, 0, FloatArray(3)) }
        assertContains(stopped.message, "jumped backwards", "back.csv")
        assertEquals(StopReason.CLOCK_RESET, stopped.reason)
        assertEquals(2, stopped.file!!.readLines().size)
    }

    @Test
    fun `samples are preserved when the disk is full`() {
        val writer = RecordingWriter(folder.root, "full") { FullDisk(it, 5000) }
        val stopped = stopped { times(50.0, 60.0).forEach { writer.write(Sensor.ACCELEROMETER, it, floatArrayOf(1f, 2f, 3f)) } }
        assertContains(stopped.message, "No space left on device", "full.csv")
        assertEquals(StopReason.STORAGE, stopped.reason)
        val lines = stopped.file!!.readLines()
        assertTrue(lines.size > 100)
        assertTrue("whole lines only", lines.drop(1).all { it.endsWith(",1.0,2.0,3.0,,,,") })
        assertEquals(listOf("full.csv"), folder.root.list()!!.toList())
        writer.flush()
        assertEquals(stopped.file, writer.finish())
    }

    @Test
    fun `no file is left when the disk is full from the start`() {
        val stopped =
            stopped {
                val writer = RecordingWriter(folder.root, "none") { FullDisk(it, 10) }
                writer.write(Sensor.GYROSCOPE, 1, FloatArray(3))
                writer.finish()
            }
        assertContains(stopped.message, "No samples were recorded")
        assertEquals(null, stopped.file)
        assertContains(inputError { RecordingWriter(folder.root, "x") { throw IOException("No space left on device") } }, "cannot be started")
        assertContains(inputError { RecordingWriter(File(folder.newFile("plain"), "sub"), "x") }, "cannot be created")
        assertEquals(listOf("plain"), folder.root.list()!!.toList())
    }

    @Test
    fun `an empty recording creates no file, and labels are single-line`() {
        val writer = RecordingWriter(folder.root, "empty")
        assertContains(inputError { writer.label = "a\nb" }, "line breaks")
        assertEquals(null, writer.finish())
        assertEquals(0, folder.root.list()!!.size)
    }

    @Test
    fun `interrupted recordings are recovered`() {
        File(folder.root, "one.csv.part").writeText("$header\n1,1,2,3,,,,WALKING\n2,1,2")
        File(folder.root, "two.csv.part").writeText("$header\n")
        File(folder.root, "three.csv.part").writeText(header.take(20))
        File(folder.root, "other.csv").writeText("untouched")
        assertEquals(listOf("one.csv"), RecordingWriter.recover(folder.root).map { it.name })
        assertEquals("$header\n1,1,2,3,,,,WALKING\n", File(folder.root, "one.csv").readText())
        assertEquals(setOf("one.csv", "other.csv"), folder.root.list()!!.toSet())
        assertEquals(emptyList<File>(), RecordingWriter.recover(File(folder.root, "missing")))
    }

    private fun stopped(block: () -> Unit): RecordingStopped {
        try {
            block()
        } catch (error: RecordingStopped) {
            return error
        }
        fail("no RecordingStopped was thrown")
        error("unreachable")
    }

    /** A file on a disk with [free] bytes left. */
    private class FullDisk(file: File, private var free: Int) : OutputStream() {
        private val inner = FileOutputStream(file)

        override fun write(byte: Int) = write(byteArrayOf(byte.toByte()))

        override fun write(bytes: ByteArray, from: Int, count: Int) {
            val fitting = minOf(free, count)
            inner.write(bytes, from, fitting)
            free -= fitting
            if (fitting < count) throw IOException("No space left on device")
        }

        override fun close() = inner.close()
    }
}
