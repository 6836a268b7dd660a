package org.harexport.example

import android.content.Context
import org.harexport.recognition.ActivityRecognizer
import org.harexport.recognition.RecognitionUpdate

/** The example of the README. The caller closes the recognizer. */
fun showActivity(context: Context, show: (text: String) -> Unit): ActivityRecognizer {
    // README: from here on
    val recognizer = ActivityRecognizer(context)
    recognizer.start { update ->
        when (update) {
            is RecognitionUpdate.Predicted -> show(update.prediction.run { if (qualityFlag == null) smoothedLabel else "unknown: $qualityFlag" })
            is RecognitionUpdate.SensorChanged -> show(update.problem?.message ?: "")
            is RecognitionUpdate.Failed -> show(update.message)
            else -> Unit // started, restarted
        }
    }
    // README: to here
    return recognizer
}
