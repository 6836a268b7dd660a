package org.harexport.demo

import android.content.Context
import android.media.AudioManager
import android.os.VibrationEffect
import android.os.Vibrator
import android.speech.tts.TextToSpeech
import org.harexport.core.Prediction

/** Announces a change of activity by vibration or voice; by vibration during calls and on a phone without a voice. Used on the main thread. */
class Announcer(private val context: Context) : AutoCloseable {
    private val vibrator = checkNotNull(context.getSystemService(Vibrator::class.java))
    private val audio = checkNotNull(context.getSystemService(AudioManager::class.java))
    private var speech: TextToSpeech? = null
    private var announced: String? = null

    /** Announces the activity of [prediction] if it is reliable and differs from the last one. */
    fun show(prediction: Prediction?, how: Announcement) {
        if (prediction == null || prediction.qualityFlag != null || prediction.smoothedLabel == announced) return
        val isFirst = announced == null
        announced = prediction.smoothedLabel
        if (isFirst) return
        when (how) {
            Announcement.NONE -> Unit
            Announcement.HAPTICS -> vibrate()
            // A voice would disturb a call.
            Announcement.VOICE -> if (audio.mode == AudioManager.MODE_NORMAL) speak(context.displayName(prediction.smoothedLabel)) else vibrate()
        }
    }

    private fun vibrate() = vibrator.vibrate(VibrationEffect.createOneShot(DURATION_MS, VibrationEffect.DEFAULT_AMPLITUDE))

    private fun speak(text: String) {
        val ready = speech
        if (ready != null) {
            ready.speak(text, TextToSpeech.QUEUE_FLUSH, null, text)
            return
        }
        var created: TextToSpeech? = null
        created = TextToSpeech(context) { status ->
            if (status == TextToSpeech.SUCCESS) created?.speak(text, TextToSpeech.QUEUE_FLUSH, null, text) else vibrate()
        }
        speech = created
    }

    override fun close() {
        speech?.shutdown()
        speech = null
    }

    private companion object {
        const val DURATION_MS = 300L
    }
}
