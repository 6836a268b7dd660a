package org.harexport.demo

import androidx.lifecycle.ViewModel
import androidx.lifecycle.viewModelScope
import java.io.File
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import org.harexport.core.InputException
import org.harexport.core.RecordingStopped

/** State and actions of the Live screen. */
class LiveViewModel(private val demo: DemoApplication) : ViewModel() {
    val live: StateFlow<LiveState> = demo.live.state
    val model: StateFlow<ModelState> = demo.model.states
    val background: StateFlow<Boolean> = demo.background
    val serviceError: StateFlow<String?> = demo.serviceError
    val choices: StateFlow<Choices> = demo.settings.choices
    val traces get() = demo.live.traces

    private val mutableMessage = MutableStateFlow<String?>(null)

    /** Result of the last action; null for none. */
    val message: StateFlow<String?> = mutableMessage

    fun clearMessage() {
        mutableMessage.value = null
    }

    fun restart() = demo.live.restart()

    /** Loads the model again after it was rejected. */
    fun reload() = demo.worker.execute { demo.model.load() }

    fun setStanding(isOn: Boolean) = demo.live.setStanding(isOn)

    fun setBackground(isOn: Boolean) = demo.setBackground(isOn)

    fun setAnnouncement(announcement: Announcement) = demo.settings.update { it.copy(announcement = announcement) }

    /** Saves the last 30 s as a recording with the right [label]. */
    fun correct(label: String) {
        demo.worker.execute {
            val choices = demo.settings.choices.value
            val folder = demo.recordings()
            mutableMessage.value =
                try {
                    if (folder == null) throw InputException(demo.getString(R.string.record_no_storage))
                    val file = demo.live.saveRecent(folder, RecordingSession.fileName(choices, label), label, choices.subject)
                    if (file == null) demo.getString(R.string.record_nothing)
                    else demo.getString(R.string.correction_saved, demo.displayName(label), file.name)
                } catch (error: InputException) {
                    errorMessage(error)
                } catch (stopped: RecordingStopped) {
                    demo.describe(stopped)
                }
        }
    }

    /** Writes the timeline as CSV or picture, and then passes the file to [share] on the main thread. */
    fun shareTimeline(isPicture: Boolean, share: (File) -> Unit) {
        val timeline = live.value.timeline
        val file = File(RecordingProvider.shared(demo), if (isPicture) "timeline.png" else "timeline.csv")
        viewModelScope.launch {
            try {
                withContext(demo.dispatcher) {
                    if (isPicture) TimelinePicture.write(demo, timeline, file) else RecordingFolder.write(file, timeline.csv())
                }
                share(file)
            } catch (error: InputException) {
                mutableMessage.value = errorMessage(error)
            }
        }
    }
}
