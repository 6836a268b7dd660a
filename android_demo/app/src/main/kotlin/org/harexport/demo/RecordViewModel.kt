package org.harexport.demo

import androidx.lifecycle.ViewModel
import androidx.lifecycle.viewModelScope
import java.io.File
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.distinctUntilChanged
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import org.harexport.core.InputException
import org.harexport.core.Sensor

/** State of a replay. */
sealed interface ReplayState {
    data class Running(val name: String) : ReplayState

    class Done(val result: ReplayResult) : ReplayState

    data class Failed(val name: String, val message: String) : ReplayState
}

/** State and actions of the Record screen, and of replays. */
class RecordViewModel(private val demo: DemoApplication) : ViewModel() {
    val model: StateFlow<ModelState> = demo.model.states
    val recording: StateFlow<RecordingState> = demo.recording.state
    val choices: StateFlow<Choices> = demo.settings.choices
    val recoveryError: StateFlow<String?> = demo.recoveryError
    val serviceError: StateFlow<String?> = demo.serviceError
    val sensors: List<Sensor> get() = demo.recording.sensors

    private val mutableFiles = MutableStateFlow<List<File>>(emptyList())
    val files: StateFlow<List<File>> = mutableFiles

    private val mutableSelected = MutableStateFlow<Set<String>>(emptySet())

    /** Names of the recordings that are selected for sharing. */
    val selected: StateFlow<Set<String>> = mutableSelected

    private val mutableReplay = MutableStateFlow<ReplayState?>(null)
    val replay: StateFlow<ReplayState?> = mutableReplay

    private val mutableMessage = MutableStateFlow<String?>(null)
    val message: StateFlow<String?> = mutableMessage

    init {
        viewModelScope.launch {
            // The list changes when a recording has ended, and when interrupted ones have been restored.
            recording.map { it.phase }.distinctUntilChanged().collect { updateFiles() }
        }
        viewModelScope.launch { model.collect { updateFiles() } }
    }

    fun updateFiles() {
        mutableFiles.value = RecordingFolder.list(demo.recordings())
        mutableSelected.update { names -> names.intersect(mutableFiles.value.map { it.name }.toSet()) }
    }

    /** Starts a recording with [label], and the service that keeps it alive. */
    fun start(label: String) {
        val contract = demo.model.contract ?: return
        demo.recording.start(label, contract.rateHz, choices.value)
        ActivityService.start(demo)
    }

    fun stop() = demo.recording.stop()

    fun changeLabel(label: String) = demo.recording.changeLabel(label)

    fun update(change: (Choices) -> Choices) = demo.settings.update(change)

    fun select(file: File, isSelected: Boolean) = mutableSelected.update { if (isSelected) it + file.name else it - file.name }

    fun delete(file: File) {
        file.delete()
        updateFiles()
    }

    /** Packs the selected recordings, or all if none is selected, and then passes the zip to [share] on the main thread. */
    fun shareZip(share: (File) -> Unit) {
        val contract = demo.model.contract ?: return
        val chosen = files.value.filter { selected.value.isEmpty() || it.name in selected.value }
        val zip = File(RecordingProvider.shared(demo), "recordings.zip")
        viewModelScope.launch {
            try {
                withContext(demo.dispatcher) { RecordingFolder.zip(chosen, zip, contract) }
                share(zip)
            } catch (error: InputException) {
                mutableMessage.value = errorMessage(error)
            }
        }
    }

    /** Runs [file] through the model. */
    fun startReplay(file: File) {
        val model = (demo.model.state as? ModelState.Verified)?.model
        if (model == null) {
            mutableReplay.value = ReplayState.Failed(file.name, demo.getString(R.string.replay_no_model))
            return
        }
        mutableReplay.value = ReplayState.Running(file.name)
        demo.worker.execute {
            val ended =
                try {
                    ReplayState.Done(Replay.run(file, model))
                } catch (error: InputException) {
                    ReplayState.Failed(file.name, errorMessage(error))
                }
            mutableReplay.update { if (it == ReplayState.Running(file.name)) ended else it }
        }
    }

    fun closeReplay() {
        mutableReplay.value = null
    }
}
