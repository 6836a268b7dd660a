package org.harexport.demo

import android.content.Intent
import android.net.Uri
import android.provider.OpenableColumns
import android.view.View
import android.view.ViewGroup
import android.widget.GridLayout
import android.widget.RadioButton
import android.widget.TextView
import java.io.File
import java.io.FileNotFoundException
import org.harexport.core.Sensor
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
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
    private lateinit var controller: ActivityController<MainActivity>
    private val activity: MainActivity get() = controller.get()
    private val folder: File get() = checkNotNull(Phone.app.recordings())
    private val files: List<File> get() = folder.listFiles().orEmpty().sorted()

    private fun open(vararg sensors: Sensor = arrayOf(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)) {
        Phone.setSensors(*sensors)
        controller = Robolectric.buildActivity(MainActivity::class.java).setup()
        Phone.waitForModel()
        activity.requireView<View>(R.id.tab_record).performClick()
    }

    private fun choose(index: Int) = activity.requireView<GridLayout>(R.id.record_labels).getChildAt(index).performClick()

    private fun toggle() {
        val stops = Phone.app.recording.recording
        activity.requireView<View>(R.id.record_toggle).performClick()
        if (stops) Phone.waitForFile()
    }

    private fun text(id: Int) = activity.requireView<TextView>(id).text.toString()

    private fun lines(file: File) = file.readText().removeSuffix("\n").split("\n")

    @Test
    fun `the file contains every sample`() {
        open()
        assertFalse("a label must be selected first", activity.requireView<View>(R.id.record_toggle).isEnabled)
        assertEquals("Select an activity.", text(R.id.record_counts))
        choose(2)
        toggle()
        assertEquals("Stop", text(R.id.record_toggle))
        val samples = GoldenWalk.steady(12.0)
        Phone.replay(samples)
        assertTrue(text(R.id.record_elapsed), Regex("0:1[12]\\.\\d").matches(text(R.id.record_elapsed)))
        val counts = samples.groupingBy { it.sensor }.eachCount()
        assertEquals(
            "Accelerometer ${counts[Sensor.ACCELEROMETER]} · Gyroscope ${counts[Sensor.GYROSCOPE]}",
            text(R.id.record_counts),
        )
        toggle()
        assertEquals(0, Phone.listeners)
        val file = files.single()
        assertTrue(file.name, Regex("walking_downstairs-\\d{8}-\\d{6}\\.csv").matches(file.name))
        assertEquals("Saved as ${file.name}.", text(R.id.record_notice))

        val lines = lines(file)
        assertEquals("timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s,label", lines[0])
        assertEquals(samples.size, lines.size - 1)
        val first = lines[1].substringBefore(',').toLong() - samples[0].timeNs
        lines.drop(1).zip(samples).forEach { (line, sample) ->
            val cells = line.split(",")
            assertEquals(sample.timeNs, cells[0].toLong() - first)
            val from = if (sample.sensor == Sensor.ACCELEROMETER) 1 else 4
            for (axis in 0..2) assertEquals(sample.values[axis], cells[from + axis].toFloat(), 0f)
            for (axis in 0..2) assertEquals("", cells[5 - from + axis])
            assertEquals("WALKING_DOWNSTAIRS", cells[7])
        }
        keep("recording.csv", file.readText())
    }

    @Test
    fun `leaving the app ends and saves the recording`() {
        open()
        choose(0)
        toggle()
        Phone.replay(GoldenWalk.steady(3.0))
        controller.pause()
        assertEquals(0, Phone.listeners)
        Phone.waitForFile()
        val file = files.single()
        assertEquals(GoldenWalk.steady(3.0).size, lines(file).size - 1)
        controller.resume()
        assertEquals("The recording ended because the app left the screen. Saved as ${file.name}.", text(R.id.record_notice))
        assertEquals("Start recording", text(R.id.record_toggle))
    }

    @Test
    fun `recording continues during a rotation`() {
        open()
        choose(3)
        toggle()
        Phone.replay(GoldenWalk.steady(3.0))
        RuntimeEnvironment.setQualifiers("+w891dp-h411dp-land")
        controller.configurationChange()
        assertTrue(Phone.app.recording.recording)
        assertEquals("Stop", text(R.id.record_toggle))
        Phone.replay(GoldenWalk.steady(3.0))
        toggle()
        assertTrue(lines(files.single()).size > 1.9 * GoldenWalk.steady(3.0).size)
        assertTrue("the selection was lost", (activity.requireView<GridLayout>(R.id.record_labels).getChildAt(3) as RadioButton).isChecked)
    }

    @Test
    @Config(application = FullStorage::class)
    fun `full storage is reported and the samples are preserved`() {
        open()
        choose(0)
        toggle()
        Phone.replay(GoldenWalk.steady(12.0))
        assertFalse(Phone.app.recording.recording)
        assertEquals(0, Phone.listeners)
        val file = files.single()
        assertTrue(text(R.id.record_notice), text(R.id.record_notice).contains("No space left on device"))
        assertTrue(text(R.id.record_notice), text(R.id.record_notice).contains("are in ${file.name}"))
        assertTrue(file.length() in 10_000..FullStorage.FREE_BYTES.toLong())
        assertTrue("the last line is incomplete", file.readText().endsWith("WALKING\n"))
        assertEquals("Start recording", text(R.id.record_toggle))
    }

    @Test
    fun `a clock reset ends the recording`() {
        open()
        choose(0)
        toggle()
        Phone.replay(GoldenWalk.steady(3.0))
        Phone.deliver(Sensor.ACCELEROMETER, 1L, floatArrayOf(1f, 2f, 3f))
        Phone.replay(emptyList())
        assertTrue(text(R.id.record_notice), text(R.id.record_notice).contains("jumped backwards"))
        assertTrue(files.single().name.endsWith(".csv"))
    }

    @Test
    fun `a recording without samples creates no file`() {
        open()
        choose(0)
        toggle()
        Phone.replay(emptyList())
        toggle()
        assertEquals("Nothing was recorded: no sensor delivered a sample.", text(R.id.record_notice))
        assertTrue(files.isEmpty())
    }

    @Test
    fun `a phone without a gyroscope records the accelerometer`() {
        open(Sensor.ACCELEROMETER)
        assertEquals("This phone has no gyroscope; only the other sensor is recorded.", text(R.id.record_notice))
        choose(0)
        toggle()
        Phone.replay(GoldenWalk.steady(2.0).filter { it.sensor == Sensor.ACCELEROMETER })
        toggle()
        assertTrue(lines(files.single())[0].startsWith("timestamp_ns,acc_x_m/s2"))
    }

    @Test
    fun `a phone without sensors cannot record`() {
        open(*emptyArray())
        choose(0)
        assertFalse(activity.requireView<View>(R.id.record_toggle).isEnabled)
        assertTrue(text(R.id.record_notice), text(R.id.record_notice).contains("no accelerometer and no gyroscope"))
    }

    @Test
    @Config(application = Crashed::class)
    fun `interrupted recordings are restored`() {
        open()
        assertEquals(listOf("old.csv"), files.map { it.name })
        assertEquals(2, lines(files[0]).size)
        assertTrue(activity.requireView<View>(R.id.record_list).visibleTexts().contains("old.csv"))
    }

    @Test
    fun `only recordings are shared, and read-only`() {
        open()
        choose(0)
        toggle()
        Phone.replay(GoldenWalk.steady(2.0))
        toggle()
        val file = files.single()
        activity.requireView<View>(R.id.recording_share).performClick()
        val chooser = shadowOf(RuntimeEnvironment.getApplication()).nextStartedActivity
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
    fun `deleting requires two taps`() {
        open()
        choose(0)
        toggle()
        Phone.replay(GoldenWalk.steady(2.0))
        toggle()
        val delete = activity.requireView<TextView>(R.id.recording_delete)
        delete.performClick()
        assertEquals("Confirm deletion", delete.text.toString())
        assertEquals(1, files.size)
        delete.performClick()
        assertTrue(files.isEmpty())
        assertTrue(activity.requireView<ViewGroup>(R.id.record_list).visibleTexts().contains("No recordings yet."))
    }
}
