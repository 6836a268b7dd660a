package org.harexport.demo

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.app.Service
import android.content.Intent
import android.content.pm.ServiceInfo
import android.graphics.drawable.Icon
import android.os.Build
import android.os.IBinder
import android.os.PowerManager
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.combine
import kotlinx.coroutines.flow.distinctUntilChanged
import kotlinx.coroutines.launch

/**
 * Keeps recognition and recording alive while the app is not visible: with the screen off, during calls, and after the
 * task was swiped away. Its notification shows the activity and a button that stops both.
 *
 * After the process was killed it does not start again; the recording is complete up to the last second.
 */
class ActivityService : Service() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Main.immediate)
    private lateinit var power: PowerManager
    private lateinit var awake: PowerManager.WakeLock
    private var pocket: PowerManager.WakeLock? = null
    private var announcer: Announcer? = null

    override fun onCreate() {
        super.onCreate()
        power = checkNotNull(getSystemService(PowerManager::class.java))
        awake = power.newWakeLock(PowerManager.PARTIAL_WAKE_LOCK, "harexport:recognition")
        awake.acquire(MAX_MS)
        if (power.isWakeLockLevelSupported(PowerManager.PROXIMITY_SCREEN_OFF_WAKE_LOCK)) {
            pocket = power.newWakeLock(PowerManager.PROXIMITY_SCREEN_OFF_WAKE_LOCK, "harexport:pocket")
        }
        val channel = NotificationChannel(CHANNEL, getString(R.string.service_channel), NotificationManager.IMPORTANCE_LOW)
        notifications().createNotificationChannel(channel)
        announcer = Announcer(this)
    }

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        try {
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE) startForeground(ID, notification(describe()), ServiceInfo.FOREGROUND_SERVICE_TYPE_HEALTH)
            else startForeground(ID, notification(describe()))
            demo.onService(null)
        } catch (error: RuntimeException) { // not allowed at this moment
            demo.onService(error)
            stopSelf()
            return START_NOT_STICKY
        }
        if (intent?.action == STOP) {
            demo.recording.stop()
            demo.setBackground(false)
        }
        if (!isObserving) observe()
        return START_NOT_STICKY
    }

    private var isObserving = false

    private fun observe() {
        isObserving = true
        scope.launch {
            combine(demo.background, demo.recording.state, demo.live.state) { _, _, _ -> describe() }.distinctUntilChanged().collect {
                notifications().notify(ID, notification(it))
            }
        }
        scope.launch {
            demo.live.state.collect { live -> announcer?.show(live.prediction, demo.settings.choices.value.announcement) }
        }
        scope.launch {
            // The screen goes off in a pocket, so that nothing is pressed there; other apps are not affected.
            demo.visible.collect { isVisible ->
                val lock = pocket ?: return@collect
                if (isVisible && !lock.isHeld) lock.acquire(MAX_MS) else if (!isVisible && lock.isHeld) lock.release()
            }
        }
        scope.launch {
            combine(demo.background, demo.recording.state) { background, recording -> background || recording.phase != RecordingPhase.IDLE }
                .collect { isNeeded -> if (!isNeeded) stopSelf() }
        }
    }

    /** Returns title and text of the notification. */
    private fun describe(): Pair<String, String> {
        val recording = demo.recording.state.value
        val prediction = demo.live.state.value.prediction
        val activity =
            when {
                !demo.background.value -> null
                prediction == null || prediction.qualityFlag != null -> getString(R.string.service_unknown)
                else -> displayName(prediction.smoothedLabel)
            }
        val title = if (recording.isActive) getString(R.string.service_recording, displayName(recording.label)) else activity ?: getString(R.string.app_name)
        return title to if (recording.isActive && activity != null) activity else getString(R.string.service_text)
    }

    private fun notification(text: Pair<String, String>): Notification {
        val open = PendingIntent.getActivity(this, 0, Intent(this, MainActivity::class.java), PendingIntent.FLAG_IMMUTABLE)
        val stop = PendingIntent.getService(this, 1, Intent(this, ActivityService::class.java).setAction(STOP), PendingIntent.FLAG_IMMUTABLE)
        val icon = Icon.createWithResource(this, R.drawable.ic_tab_live)
        return Notification.Builder(this, CHANNEL)
            .setSmallIcon(R.drawable.ic_tab_live)
            .setContentTitle(text.first)
            .setContentText(text.second)
            .setContentIntent(open)
            .setOngoing(true)
            .setOnlyAlertOnce(true)
            .setCategory(Notification.CATEGORY_WORKOUT)
            .addAction(Notification.Action.Builder(icon, getString(R.string.service_stop), stop).build())
            .build()
    }

    private fun notifications() = checkNotNull(getSystemService(NotificationManager::class.java))

    override fun onDestroy() {
        scope.cancel()
        announcer?.close()
        if (awake.isHeld) awake.release()
        pocket?.let { if (it.isHeld) it.release() }
        super.onDestroy()
    }

    override fun onBind(intent: Intent?): IBinder? = null

    companion object {
        const val STOP = "org.harexport.demo.STOP"
        const val ID = 1
        private const val CHANNEL = "recognition"

        /** The wake locks end after this time at the latest: a day. */
        private const val MAX_MS = 24 * 60 * 60 * 1_000L

        /** Starts the service. A refusal is reported in [DemoApplication.serviceError]. */
        fun start(demo: DemoApplication) {
            try {
                demo.startForegroundService(Intent(demo, ActivityService::class.java))
            } catch (error: RuntimeException) { // not allowed, for example by a battery saver
                demo.onService(error)
            }
        }
    }
}
