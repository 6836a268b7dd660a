package org.harexport.demo

import android.view.View
import android.widget.GridLayout
import android.widget.TextView
import org.harexport.core.Sensor
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config

/** Invalid assets are reported on all screens and prevent predictions. */
@RunWith(RobolectricTestRunner::class)
class InvalidAssetsTest {
    private fun assertRejected(message: String, recordable: Boolean = true) {
        Phone.setSensors(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)
        val activity = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        Phone.waitForModel()
        assertEquals("No prediction", activity.requireView<TextView>(R.id.activity).text.toString())
        val status = activity.requireView<TextView>(R.id.state).text.toString()
        assertTrue(status, status.contains(message))
        assertEquals(0, Phone.listeners)

        activity.requireView<View>(R.id.tab_selftest).performClick()
        activity.requireView<View>(R.id.selftest_run).performClick()
        Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Failed }
        assertEquals("The self-test could not run", activity.requireView<TextView>(R.id.selftest_headline).text.toString())
        assertTrue(activity.requireView<TextView>(R.id.selftest_reason).text.toString().contains(message))
        assertEquals(View.GONE, activity.requireView<View>(R.id.selftest_share).visibility)

        activity.requireView<View>(R.id.tab_record).performClick()
        val labels = activity.requireView<GridLayout>(R.id.record_labels)
        if (recordable) {
            labels.getChildAt(0).performClick()
            activity.requireView<View>(R.id.record_toggle).performClick()
            assertTrue(Phone.app.recording.recording)
            Phone.app.recording.stop()
        } else {
            assertEquals(0, labels.childCount)
            assertTrue(activity.requireView<TextView>(R.id.record_notice).text.toString().contains(message))
        }
    }

    @Test
    @Config(application = DamagedModel::class)
    fun `a corrupt model is rejected`() = assertRejected("The model file is corrupt")

    @Test
    @Config(application = TextAsModel::class)
    fun `a file that is not a model is rejected`() = assertRejected("The model file is corrupt, not a .tflite file")

    @Test
    @Config(application = OtherLogits::class)
    fun `a model with other logits than in Python is rejected`() = assertRejected("The model does not reproduce the reference predictions")

    @Test
    @Config(application = OtherContract::class)
    fun `a contract that does not match the model is rejected`() = assertRejected("Model and contract do not match")

    @Test
    @Config(application = ForeignContract::class)
    fun `a contract of another model is rejected`() = assertRejected("contract.json does not match golden.json")

    @Test
    @Config(application = BrokenContract::class)
    fun `a truncated contract is rejected`() = assertRejected("contract.json is not valid JSON", recordable = false)

    @Test
    @Config(application = OtherLabels::class)
    fun `labels of another model are rejected`() = assertRejected("labels.txt and contract.json contain different labels")

    @Test
    @Config(application = MissingGoldenVectors::class)
    fun `missing golden vectors are reported`() = assertRejected("golden.json is missing from the app")
}
