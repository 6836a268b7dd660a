package org.harexport.demo

import org.harexport.core.Sensor
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config

/** Invalid assets are reported on all screens and prevent predictions. */
@RunWith(RobolectricTestRunner::class)
class InvalidAssetsTest {
    @get:Rule val screens = ClosedScreens()

    private fun assertRejected(message: String, recordable: Boolean = true, sensors: Array<Sensor> = Sensor.entries.toTypedArray()) {
        Phone.open(*sensors)
        Screen.assertShows("No prediction")
        Screen.assertShows(message)
        assertTrue(Screen.isEnabled("Try again"))
        assertEquals(0, Phone.listeners)

        Screen.click("Self-test")
        Screen.click("Run the self-test")
        Phone.waitFor("the self-test") { Phone.app.selfTest.state is JobState.Failed }
        Screen.assertShows("The self-test could not run. $message")

        Screen.click("Record")
        if (recordable) {
            Screen.click("Walking".takeIf { it in Screen.text.lines() } ?: "A")
            assertTrue(Screen.isEnabled("Start recording"))
        } else {
            Screen.assertShows(message)
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
    @Config(application = BrokenFallback::class)
    fun `a truncated contract of the accelerometer-only model is reported on a phone without a gyroscope`() =
        assertRejected("accelerometer-only/contract.json is not valid JSON; export the model again", sensors = arrayOf(Sensor.ACCELEROMETER))

    @Test
    @Config(application = BrokenFallback::class)
    fun `a phone with a gyroscope does not need the accelerometer-only model`() {
        Phone.open()
        assertTrue(Phone.app.model.state is ModelState.Verified)
    }

    @Test
    @Config(application = OneModel::class)
    fun `an app with one model reports the missing gyroscope`() {
        Phone.open(Sensor.ACCELEROMETER)
        Screen.assertShows("This phone has no gyroscope, which the model requires.")
        assertTrue(Screen.isEnabled("Try again"))
    }

    @Test
    @Config(application = MissingGoldenVectors::class)
    fun `missing golden vectors are reported`() = assertRejected("golden.json is missing from the app")
}
