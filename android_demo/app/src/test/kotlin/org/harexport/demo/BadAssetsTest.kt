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

/** What is wrong with the assets is said on all screens, and no answer is given. */
@RunWith(RobolectricTestRunner::class)
class BadAssetsTest {
    private fun refused(words: String, recordable: Boolean = true) {
        Phone.has(Sensor.ACCELEROMETER, Sensor.GYROSCOPE)
        val activity = Robolectric.buildActivity(MainActivity::class.java).setup().get()
        Phone.waitForModel()
        assertEquals("No answers", activity.part<TextView>(R.id.activity).text.toString())
        val said = activity.part<TextView>(R.id.state).text.toString()
        assertTrue(said, said.contains(words))
        assertEquals(0, Phone.listeners)

        activity.part<View>(R.id.tab_selftest).performClick()
        activity.part<View>(R.id.selftest_run).performClick()
        Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Failed }
        assertEquals("The self-test could not run", activity.part<TextView>(R.id.selftest_headline).text.toString())
        assertTrue(activity.part<TextView>(R.id.selftest_reason).text.toString().contains(words))
        assertEquals(View.GONE, activity.part<View>(R.id.selftest_share).visibility)

        activity.part<View>(R.id.tab_record).performClick()
        val labels = activity.part<GridLayout>(R.id.record_labels)
        if (recordable) {
            labels.getChildAt(0).performClick()
            activity.part<View>(R.id.record_toggle).performClick()
            assertTrue(Phone.app.recording.recording)
            Phone.app.recording.stop()
        } else {
            assertEquals(0, labels.childCount)
            assertTrue(activity.part<TextView>(R.id.record_notice).text.toString().contains(words))
        }
    }

    @Test
    @Config(application = DamagedModel::class)
    fun `a damaged model`() = refused("The model file is damaged")

    @Test
    @Config(application = NoModel::class)
    fun `no model at all`() = refused("The model file is damaged, no .tflite file")

    @Test
    @Config(application = OtherWeights::class)
    fun `a model that answers otherwise than in Python`() = refused("On this phone the model does not answer as it did in Python")

    @Test
    @Config(application = OtherContract::class)
    fun `model and contract disagree`() = refused("Model and contract disagree")

    @Test
    @Config(application = ForeignContract::class)
    fun `another model's contract`() = refused("contract.json is not the one that golden.json was made with")

    @Test
    @Config(application = BrokenContract::class)
    fun `a contract cut in half`() = refused("contract.json is damaged", recordable = false)

    @Test
    @Config(application = OtherLabels::class)
    fun `labels of another model`() = refused("labels.txt and contract.json name different activities")

    @Test
    @Config(application = NoGolden::class)
    fun `no golden vectors`() = refused("golden.json is missing from the app")
}
