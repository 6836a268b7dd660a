package org.harexport.demo

import android.app.NotificationManager
import android.app.Service
import android.content.Intent
import android.media.AudioManager
import android.os.PowerManager
import android.os.Vibrator
import android.speech.tts.TextToSpeech
import java.time.Duration
import org.harexport.core.Prediction
import org.harexport.core.QualityFlag
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ServiceController
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowPowerManager
import org.robolectric.shadows.ShadowTextToSpeech

/** The life cycle of the service that keeps recognition and recording alive. */
@RunWith(RobolectricTestRunner::class)
class ServiceTest {
    @get:Rule val screens = ClosedScreens()

    /** Starts the service that the app has requested. */
    private fun service(): ServiceController<ActivityService> {
        val intent = shadowOf(Phone.app).nextStartedService
        assertEquals(ActivityService::class.java.name, intent.component?.className)
        return Robolectric.buildService(ActivityService::class.java, intent).create().startCommand(0, 1)
    }

    private fun Service.isStopped() = shadowOf(this).isStoppedBySelf

    @Test
    fun `recognition goes on in the background, in batches, with the activity in the notification`() {
        val controller = Phone.open()
        Screen.click("Keep recognizing while the screen is off")
        val service = service()
        assertTrue(checkNotNull(ShadowPowerManager.getLatestWakeLock()).isHeld)
        Phone.replay(GoldenWalk.steady(12.0))
        controller.pause().stop()
        val before = Phone.app.live.batches
        Phone.replay(GoldenWalk.steady(15.0))
        assertTrue("${Phone.app.live.batches - before} batches in 15 s", Phone.app.live.batches - before in 8..11)
        assertEquals("Walking", Phone.notification?.first)
        // The task is swiped away.
        service.get().onTaskRemoved(Intent())
        controller.destroy()
        Phone.replay(GoldenWalk.steady(5.0))
        assertTrue(Phone.live.isRunning)
        assertFalse(service.get().isStopped())
    }

    @Test
    fun `the stop action ends recognition and the service`() {
        val controller = Phone.open()
        Phone.app.setBackground(true)
        val service = service()
        controller.pause().stop()
        assertTrue(Phone.listeners > 0)
        val notification = shadowOf(Phone.app.getSystemService(NotificationManager::class.java)).getNotification(ActivityService.ID)
        val stop = shadowOf(notification.actions.single().actionIntent).savedIntent
        assertEquals(ActivityService.STOP, stop.action)
        service.get().onStartCommand(stop, 0, 2)
        Phone.advanceTime(Duration.ofMillis(500))
        assertEquals(0, Phone.listeners)
        assertTrue(service.get().isStopped())
        val lock = checkNotNull(ShadowPowerManager.getLatestWakeLock())
        service.destroy()
        assertFalse(lock.isHeld)
    }

    @Test
    fun `a recording goes on in the background, and the service ends with it`() {
        val controller = Phone.open()
        Screen.click("Record")
        Screen.click("Sitting")
        Phone.app.settings.update { it.copy(countdownSeconds = 0) }
        Screen.click("Start recording")
        val service = service()
        Phone.replay(GoldenWalk.steady(2.0))
        controller.pause().stop()
        assertEquals("Recording: Sitting", Phone.notification?.first)
        // The task is swiped away.
        service.get().onTaskRemoved(Intent())
        controller.destroy()
        Phone.replay(GoldenWalk.steady(3.0))
        Phone.app.recording.stop()
        Phone.waitForFile()
        assertTrue(service.get().isStopped())
        val file = checkNotNull(checkNotNull(Phone.app.recordings()).listFiles()).single()
        assertEquals(1 + GoldenWalk.steady(2.0).size + GoldenWalk.steady(3.0).size, file.readLines().size)
    }

    @Test
    fun `recognition and recording go on during a call`() {
        val controller = Phone.open()
        Phone.app.setBackground(true)
        val service = service()
        Phone.app.settings.update { it.copy(countdownSeconds = 0) }
        Screen.click("Record")
        Screen.click("Sitting")
        Screen.click("Start recording")
        checkNotNull(Phone.app.getSystemService(AudioManager::class.java)).mode = AudioManager.MODE_IN_CALL
        controller.pause() // the call is shown over the app, and then instead of it
        Phone.replay(GoldenWalk.steady(6.0))
        controller.stop()
        Phone.replay(GoldenWalk.steady(8.0))
        assertEquals("WALKING", Phone.live.prediction?.smoothedLabel)
        assertEquals(RecordingPhase.RECORDING, Phone.app.recording.state.value.phase)
        assertEquals(GoldenWalk.steady(6.0).size + GoldenWalk.steady(8.0).size, Phone.app.recording.state.value.samples.values.sum().toInt())
        assertFalse(service.get().isStopped())
        Phone.app.recording.stop()
        Phone.waitForFile()
    }

    @Test
    fun `the screen goes off in a pocket while the app is visible`() {
        shadowOf(Phone.app.getSystemService(PowerManager::class.java)).setIsWakeLockLevelSupported(PowerManager.PROXIMITY_SCREEN_OFF_WAKE_LOCK, true)
        val controller = Phone.open()
        Phone.app.setBackground(true)
        val service = service()
        val lock = checkNotNull(ShadowPowerManager.getLatestWakeLock())
        assertEquals("harexport:pocket", shadowOf(lock).tag)
        assertTrue(lock.isHeld)
        controller.pause().stop()
        assertFalse("other apps are not affected", lock.isHeld)
        controller.start().resume()
        assertTrue(lock.isHeld)
        service.destroy()
        assertFalse(lock.isHeld)
    }

    @Test
    fun `without a proximity sensor, only the processor is kept awake`() {
        Phone.open()
        Phone.app.setBackground(true)
        service()
        assertEquals("harexport:recognition", shadowOf(checkNotNull(ShadowPowerManager.getLatestWakeLock())).tag)
    }

    @Test
    @Config(application = NoBackground::class)
    fun `a service that the phone refuses is reported`() {
        Phone.open()
        Screen.click("Keep recognizing while the screen is off")
        Screen.assertShows("The phone does not allow the app to run in the background (restricted by the battery saver).")
        assertFalse(Phone.app.background.value)
        assertTrue("recognition goes on while the app is visible", Phone.live.isRunning)
    }

    @Test
    fun `a service that may not come to the foreground ends and is reported`() {
        Phone.open()
        Phone.app.setBackground(true)
        val controller = Robolectric.buildService(ActivityService::class.java, Intent()).create()
        shadowOf(controller.get() as Service).setThrowInStartForeground(SecurityException("no permission for health"))
        controller.startCommand(0, 1)
        assertTrue(controller.get().isStopped())
        assertFalse(Phone.app.background.value)
        Screen.assertShows("The phone does not allow the app to run in the background (no permission for health).")
    }

    private fun prediction(label: String, flag: QualityFlag? = null): Prediction {
        val labels = listOf("WALKING", "SITTING")
        val probabilities = DoubleArray(2) { if (labels[it] == label) 1.0 else 0.0 }
        return Prediction(0, 1, labels, probabilities, probabilities, flag, 1, null)
    }

    private val vibrator get() = shadowOf(Phone.app.getSystemService(Vibrator::class.java))

    @Test
    fun `a change of activity is announced by vibration, or not at all`() {
        val announcer = Announcer(Phone.app)
        announcer.show(prediction("WALKING"), Announcement.HAPTICS)
        announcer.show(prediction("SITTING", QualityFlag.MOUNT), Announcement.HAPTICS)
        announcer.show(prediction("SITTING"), Announcement.NONE)
        assertFalse("the first activity, an unreliable one, or switched off", vibrator.isVibrating)
        announcer.show(prediction("WALKING"), Announcement.HAPTICS)
        assertTrue(vibrator.isVibrating)
        assertNull(ShadowTextToSpeech.getLastTextToSpeechInstance())
    }

    @Test
    fun `a change of activity is spoken, but not during a call`() {
        val announcer = Announcer(Phone.app)
        announcer.show(prediction("WALKING"), Announcement.VOICE)
        announcer.show(prediction("SITTING"), Announcement.VOICE)
        val speech = shadowOf(ShadowTextToSpeech.getLastTextToSpeechInstance())
        speech.onInitListener.onInit(TextToSpeech.SUCCESS)
        assertEquals("Sitting", speech.lastSpokenText)
        announcer.show(prediction("WALKING"), Announcement.VOICE)
        assertEquals("Walking", speech.lastSpokenText)
        assertFalse(vibrator.isVibrating)
        checkNotNull(Phone.app.getSystemService(AudioManager::class.java)).mode = AudioManager.MODE_IN_CALL
        announcer.show(prediction("SITTING"), Announcement.VOICE)
        assertEquals("Walking", speech.lastSpokenText)
        assertTrue(vibrator.isVibrating)
        announcer.close()
        assertTrue(speech.isShutdown)
    }

    @Test
    fun `a phone without a voice vibrates`() {
        val announcer = Announcer(Phone.app)
        announcer.show(prediction("WALKING"), Announcement.VOICE)
        announcer.show(prediction("SITTING"), Announcement.VOICE)
        shadowOf(ShadowTextToSpeech.getLastTextToSpeechInstance()).onInitListener.onInit(TextToSpeech.ERROR)
        assertTrue(vibrator.isVibrating)
    }

    @Test
    fun `the service ends at once if nothing is to be done`() {
        Phone.open()
        val service = Robolectric.buildService(ActivityService::class.java, Intent()).create().startCommand(0, 1)
        Phone.advanceTime(Duration.ofMillis(500))
        assertTrue(service.get().isStopped())
        assertNotNull(service.get())
    }
}
