package org.harexport.demo

import android.app.NotificationManager
import android.app.Service
import android.content.Intent
import java.time.Duration
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ServiceController
import org.robolectric.shadows.ShadowPowerManager

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
        Phone.replay(GoldenWalk.steady(3.0))
        Phone.app.recording.stop()
        Phone.waitForFile()
        assertTrue(service.get().isStopped())
        val file = checkNotNull(checkNotNull(Phone.app.recordings()).listFiles()).single()
        assertEquals(1 + GoldenWalk.steady(2.0).size + GoldenWalk.steady(3.0).size, file.readLines().size)
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
