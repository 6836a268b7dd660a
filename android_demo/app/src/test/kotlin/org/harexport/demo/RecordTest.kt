package org.harexport.demo

import android.content.Intent
import android.net.Uri
import android.provider.OpenableColumns
import java.io.File
import java.io.FileNotFoundException
import java.time.Duration
import java.util.zip.ZipFile
import org.harexport.core.RecordingWriter
import org.harexport.core.Sensor
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config

/** An app that was killed while recording: an incomplete file exists at its next start. */
class Crashed : DemoApplication() {
    override fun recover() {
        val folder = checkNotNull(recordings()).apply { mkdirs() }
        File(folder, "old.csv.part").writeText("timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,label\n5,1.0,2.0,3.0,WALKING\n6,1.0,2")
        super.recover()
    }
}

/** The Record screen and the files it writes. */
@RunWith(RobolectricTestRunner::class)
class RecordTest {
    @get:Rule val screens = ClosedScreens()

    private val folder: File get() = checkNotNull(Phone.app.recordings())
    private val files: List<File> get() = folder.listFiles().orEmpty().sorted()

    private fun open(vararg sensors: Sensor = arrayOf(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)) =
        Phone.open(*sensors).also {
            Phone.app.settings.update { it.copy(countdownSeconds = 0) }
            Screen.click("Record")
        }

    private fun start(label: String) {
        Screen.click(label)
        Screen.click("Start recording")
    }

    private fun stop() {
        Screen.click("Stop")
        Phone.waitForFile()
    }

    private fun lines(file: File) = file.readText().removeSuffix("\n").split("\n")

    @Test
    fun `the file contains every sample, who was recorded and where the phone was`() {
        open()
        assertFalse("a label must be selected first", Screen.isEnabled("Start recording"))
        Screen.assertShows("Select an activity.")
        Phone.app.settings.update { it.copy(subject = "Anna", placement = Placement.POCKET) }
        start("Walking downstairs")
        val samples = GoldenWalk.steady(12.0)
        Phone.replay(samples)
        Screen.assertShows("Recorded for 0:12")
        stop()
        val file = files.single()
        assertTrue(file.name, Regex("Anna-walking_downstairs-pocket-\\d{8}-\\d{6}\\.csv").matches(file.name))
        Screen.assertShows("Saved as ${file.name}.")
        val lines = lines(file)
        assertEquals("timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s,label,subject", lines[0])
        assertEquals(samples.size, lines.size - 1)
        val first = lines[1].substringBefore(',').toLong() - samples[0].timeNs
        lines.drop(1).zip(samples).forEach { (line, sample) ->
            val cells = line.split(",")
            assertEquals(sample.timeNs, cells[0].toLong() - first)
            val from = if (sample.sensor == Sensor.ACCELEROMETER) 1 else 4
            for (axis in 0..2) assertEquals(sample.values[axis], cells[from + axis].toFloat(), 0f)
            for (axis in 0..2) assertEquals("", cells[5 - from + axis])
            assertEquals(listOf("WALKING_DOWNSTAIRS", "Anna"), cells.drop(7))
        }
    }

    @Test
    fun `the placement is chosen on the screen, and remembered`() {
        open()
        Screen.click("in the hand")
        assertEquals(Placement.HAND, Settings(Phone.app).choices.value.placement)
        start("Sitting")
        Phone.replay(GoldenWalk.steady(2.0))
        stop()
        assertTrue(files.single().name, files.single().name.startsWith("sitting-hand-"))
    }

    @Test
    fun `after the process was killed, the file is whole up to the last second`() {
        open()
        start("Walking")
        val samples = GoldenWalk.steady(7.3)
        Phone.replay(samples)
        val copy = File(folder, "copy").apply { mkdirs() } // as it is on the storage at this moment
        files.single { it.name.endsWith(".part") }.copyTo(File(copy, "killed.csv.part"))
        val restored = lines(RecordingWriter.recover(copy).single())
        val end = { line: String -> line.substringBefore(',').toLong() }
        val offset = end(restored[1]) - samples[0].timeNs
        assertTrue(samples.last().timeNs - (end(restored.last()) - offset) < 1_000_000_000)
        assertTrue(restored.all { it.count { char -> char == ',' } == 7 })
        copy.deleteRecursively()
        stop()
    }

    @Test
    fun `refused and silent sensors are reported while recording`() {
        open()
        start("Walking")
        Phone.replay(GoldenWalk.steady(2.0))
        Phone.advanceTime(Duration.ofSeconds(6))
        Screen.assertShows("has delivered no sample for")
        stop()
        assertEquals(1, files.size)
        Phone.refuseSensors()
        Screen.click("Start recording")
        Phone.waitForFile()
        Screen.assertShows("The phone refuses to start the accelerometer. Restart the phone and try again.")
        assertEquals("the first recording", 1, files.size)
    }

    @Test
    @Config(application = NoBackground::class)
    fun `on a phone that allows no service a message is shown, and the app records while it is visible`() {
        open()
        start("Walking")
        Screen.assertShows("The phone does not allow the app to run in the background (restricted by the battery saver). Open the app's battery settings.")
        Phone.replay(GoldenWalk.steady(2.0))
        stop()
        assertEquals(1 + GoldenWalk.steady(2.0).size, lines(files.single()).size)
    }

    @Test
    fun `countdown, trimming and a change of the label`() {
        open()
        Phone.app.settings.update { it.copy(countdownSeconds = 3, trimSeconds = 2) }
        start("Walking")
        Screen.assertShows("Starts in 3 s")
        assertTrue(Screen.isEnabled("Stop"))
        Phone.advanceTime(Duration.ofSeconds(3))
        Phone.replay(GoldenWalk.steady(5.0))
        Screen.click("Sitting")
        Phone.replay(GoldenWalk.steady(5.0))
        stop()
        val rows = lines(files.single()).drop(1).map { it.split(",") }
        val seconds = (rows.last()[0].toLong() - rows.first()[0].toLong()) / 1e9
        assertEquals("10 s and two pauses, without 2 s at both ends", 7.0, seconds, 0.8)
        assertEquals(listOf("WALKING", "SITTING"), rows.map { it[7] }.distinct())
    }

    @Test
    fun `Stop during the countdown records nothing`() {
        open()
        Phone.app.settings.update { it.copy(countdownSeconds = 10) }
        start("Walking")
        Screen.click("Stop")
        Phone.advanceTime(Duration.ofSeconds(12))
        assertTrue(files.isEmpty())
        assertEquals(RecordingPhase.IDLE, Phone.app.recording.state.value.phase)
    }

    @Test
    fun `recording and label survive a rotation`() {
        val controller = open()
        start("Sitting")
        Phone.replay(GoldenWalk.steady(3.0))
        Phone.rotate(controller)
        Phone.replay(GoldenWalk.steady(3.0))
        Screen.assertShows("Recording")
        stop()
        assertTrue(lines(files.single()).size > 1.9 * GoldenWalk.steady(3.0).size)
        assertTrue("the selection was lost", Screen.isSelected("Sitting"))
    }

    @Test
    fun `labels are added, reordered, renamed and removed`() {
        open()
        Screen.click("Edit activities")
        Screen.type("Cycling")
        Screen.click("Add")
        assertEquals("Cycling", Phone.app.settings.choices.value.labels.last())
        Screen.click("Move Cycling up")
        assertEquals(5, Phone.app.settings.choices.value.labels.indexOf("Cycling"))
        Screen.click("Rename Cycling")
        Screen.type("Jumping, high")
        Screen.click("Rename")
        Screen.click("Remove Lying down")
        Screen.click("Done")
        assertEquals(listOf("Jumping, high"), Phone.app.settings.choices.value.labels.takeLast(1))
        start("Jumping, high")
        Phone.replay(GoldenWalk.steady(2.0))
        stop()
        assertTrue(lines(files.single())[1].endsWith(",\"Jumping, high\""))
        assertEquals("the choice is remembered", Phone.app.settings.choices.value.labels, Settings(Phone.app).choices.value.labels)
    }

    @Test
    fun `several people are shared as one zip for harexport train`() {
        open()
        for (who in listOf("anna", "ben")) {
            Phone.app.settings.update { it.copy(subject = who) }
            start("Walking")
            Phone.replay(GoldenWalk.steady(12.0))
            Screen.click("Sitting")
            Phone.replay(GoldenWalk.steady(12.0).map { Sample(it.sensor, it.timeNs, if (it.sensor == Sensor.ACCELEROMETER) floatArrayOf(9.8f, 0.1f * (it.timeNs % 3), if (who == "anna") 0.3f else 0.4f) else floatArrayOf(0f, 0f, 0.01f)) })
            stop()
        }
        Screen.click("Share 2 recordings as a zip")
        val chooser = Phone.waitForChooser()
        val zip = File(RecordingProvider.shared(Phone.app), "recordings.zip")
        ZipFile(zip).use { opened -> assertEquals(listOf("harexport.toml") + files.map { it.name }.sorted(), opened.entries().asSequence().map { it.name }.toList().sortedBy { if (it == "harexport.toml") "" else it }) }
        assertEquals("application/zip", checkNotNull(chooser.getParcelableExtra(Intent.EXTRA_INTENT, Intent::class.java)).type)
        zip.copyTo(File(File(property("kept")).apply { mkdirs() }, "recordings.zip"), overwrite = true)
        files.first().copyTo(File(property("kept"), "recording.csv"), overwrite = true)
    }

    @Test
    fun `a recording is replayed through the model`() {
        open()
        start("Walking")
        Phone.replay(GoldenWalk.steady(20.0))
        stop()
        Screen.click("Replay")
        Phone.waitFor("the replay") { "Windows that match" in Screen.text }
        val matching = checkNotNull(Regex("match their label: (\\d+) of (\\d+)").find(Screen.text)).groupValues
        assertTrue(Screen.text, matching[1] == matching[2] && matching[1].toInt() >= 5)
        Screen.click("Back to the recordings")
        Screen.assertShows("Start recording")
    }

    @Test
    fun `foreign and damaged recordings are refused by Replay`() {
        open()
        folder.mkdirs()
        for ((name, content) in mapOf("foreign" to "time,x\n1,2\n", "broken" to "timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,label\n5,1.0,x,3.0,WALKING\n", "empty" to "", "early" to "timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,label\n-9000000000000000000,1,2,3,\n9000000000000000000,1,2,3,\n", "binary" to "\u0000\u0001\n".repeat(99))) {
            val file = File(folder, "$name.csv").apply { writeText(content) }
            val model = (Phone.app.model.state as ModelState.Verified).model
            val error = assertThrows(org.harexport.core.InputException::class.java) { Replay.run(file, model) }
            assertTrue(error.message, checkNotNull(error.message).startsWith("$name.csv "))
        }
    }

    @Test
    @Config(application = FullStorage::class)
    fun `full storage is reported and the samples are preserved`() {
        open()
        start("Walking")
        Phone.replay(GoldenWalk.steady(12.0))
        assertEquals(RecordingPhase.IDLE, Phone.app.recording.state.value.phase)
        val file = files.single()
        Screen.assertShows("No space left on device")
        Screen.assertShows("are in ${file.name}")
        assertTrue(file.length() in 10_000..FullStorage.FREE_BYTES.toLong())
        assertTrue("the last line is incomplete", file.readText().endsWith("WALKING\n"))
    }

    @Test
    fun `a clock reset ends the recording`() {
        open()
        start("Walking")
        Phone.replay(GoldenWalk.steady(3.0))
        Phone.deliver(Sensor.ACCELEROMETER, 1L, floatArrayOf(1f, 2f, 3f))
        Phone.replay(emptyList())
        Screen.assertShows("jumped backwards")
        assertTrue(files.single().name.endsWith(".csv"))
    }

    @Test
    fun `a recording without samples creates no file`() {
        open()
        start("Walking")
        stop()
        Screen.assertShows("Nothing was recorded: no sensor delivered a sample.")
        assertTrue(files.isEmpty())
    }

    @Test
    fun `a phone without a gyroscope records the accelerometer`() {
        open(Sensor.ACCELEROMETER)
        Screen.assertShows("This phone has no gyroscope; only the other sensor is recorded.")
        start("Walking")
        Phone.replay(GoldenWalk.steady(2.0).filter { it.sensor == Sensor.ACCELEROMETER })
        stop()
        assertTrue(lines(files.single())[0].startsWith("timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,label"))
    }

    @Test
    fun `a phone without sensors cannot record`() {
        open(*emptyArray())
        Screen.click("Walking")
        assertFalse(Screen.isEnabled("Start recording"))
        Screen.assertShows("no accelerometer and no gyroscope")
    }

    @Test
    @Config(application = Crashed::class)
    fun `interrupted recordings are restored`() {
        open()
        assertEquals(listOf("old.csv"), files.map { it.name })
        assertEquals(2, lines(files[0]).size)
        Screen.assertShows("old.csv")
    }

    @Test
    fun `only recordings are shared, and read-only`() {
        open()
        start("Walking")
        Phone.replay(GoldenWalk.steady(2.0))
        stop()
        val file = files.single()
        val chooser = RecordingProvider.share(Phone.app, file)
        val send = checkNotNull(chooser.getParcelableExtra(Intent.EXTRA_INTENT, Intent::class.java))
        val uri = checkNotNull(send.getParcelableExtra(Intent.EXTRA_STREAM, Uri::class.java))
        assertTrue(send.flags and Intent.FLAG_GRANT_READ_URI_PERMISSION != 0)
        assertEquals(uri, checkNotNull(send.clipData).getItemAt(0).uri)
        val resolver = RuntimeEnvironment.getApplication().contentResolver
        assertEquals("text/csv", resolver.getType(uri))
        assertEquals(file.readText(), checkNotNull(resolver.openInputStream(uri)).use { it.reader().readText() })
        checkNotNull(resolver.query(uri, null, null, null, null)).use {
            it.moveToFirst()
            assertEquals(file.name, it.getString(it.getColumnIndexOrThrow(OpenableColumns.DISPLAY_NAME)))
            assertEquals(file.length(), it.getLong(it.getColumnIndexOrThrow(OpenableColumns.SIZE)))
        }
        assertThrows(SecurityException::class.java) { resolver.openFileDescriptor(uri, "rw") }
        File(checkNotNull(Phone.app.folder()), "secret.csv").writeText("secret")
        for (path in listOf("..%2Fsecret.csv", "../secret.csv", "x/${file.name}", "", "absent.csv")) {
            val other = Uri.parse("content://${uri.authority}/$path")
            assertThrows(path, FileNotFoundException::class.java) { resolver.openInputStream(other) }
        }
    }

    @Test
    fun `deleting requires a confirmation`() {
        open()
        start("Walking")
        Phone.replay(GoldenWalk.steady(2.0))
        stop()
        Screen.click("Delete")
        Screen.assertShows("Delete this recording?")
        assertEquals(1, files.size)
        Screen.click("Delete")
        assertTrue(files.isEmpty())
        Screen.assertShows("No recordings yet.")
    }
}
