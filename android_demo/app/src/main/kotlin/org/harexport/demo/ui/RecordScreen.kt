package org.harexport.demo.ui

import android.annotation.SuppressLint
import android.Manifest
import android.os.Build
import android.text.format.Formatter
import androidx.activity.compose.rememberLauncherForActivityResult
import androidx.activity.result.contract.ActivityResultContracts
import androidx.annotation.StringRes
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.FlowRow
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.heightIn
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.AlertDialog
import androidx.compose.material3.Button
import androidx.compose.material3.ButtonDefaults
import androidx.compose.material3.Checkbox
import androidx.compose.material3.FilterChip
import androidx.compose.material3.Icon
import androidx.compose.material3.IconButton
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.Text
import androidx.compose.material3.TextButton
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.saveable.rememberSaveable
import androidx.compose.runtime.setValue
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.platform.LocalContext
import androidx.compose.ui.res.painterResource
import androidx.compose.ui.res.pluralStringResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.text.font.FontWeight
import androidx.compose.ui.unit.dp
import androidx.lifecycle.compose.collectAsStateWithLifecycle
import java.io.File
import org.harexport.core.Contract
import org.harexport.core.Sensor
import org.harexport.demo.Choices
import org.harexport.demo.DemoApplication
import org.harexport.demo.ModelState
import org.harexport.demo.Placement
import org.harexport.demo.R
import org.harexport.demo.RecordViewModel
import org.harexport.demo.RecordingPhase
import org.harexport.demo.RecordingProvider
import org.harexport.demo.RecordingState
import org.harexport.demo.describe
import org.harexport.demo.displayName
import org.harexport.demo.formatDuration
import org.harexport.demo.sensorName
import org.harexport.demo.startOrReport

private val COUNTDOWNS = listOf(0, 3, 10)
private val TRIMS = listOf(0, 2, 5)

/** Makes, shares, replays and deletes labeled recordings. */
@Composable
fun RecordScreen(model: RecordViewModel) {
    val replay by model.replay.collectAsStateWithLifecycle()
    replay?.let {
        ReplayScreen(it, model::closeReplay)
        return
    }
    val state by model.model.collectAsStateWithLifecycle()
    val recording by model.recording.collectAsStateWithLifecycle()
    val choices by model.choices.collectAsStateWithLifecycle()
    val contract =
        when (val now = state) {
            is ModelState.Verified -> now.model.contract
            is ModelState.Rejected -> now.contract
            ModelState.Checking -> null
        }
    var label by rememberSaveable { mutableStateOf<String?>(null) }
    Column(Modifier.fillMaxSize().verticalScroll(rememberScrollState()).padding(16.dp), verticalArrangement = Arrangement.spacedBy(12.dp)) {
        Text(stringResource(R.string.record_about), color = MaterialTheme.colorScheme.onSurfaceVariant)
        Notices(model, recording, state, contract)
        val labels = choices.labels.ifEmpty { contract?.labels.orEmpty() }
        if (contract != null) {
            Section(R.string.record_activity) { Labels(labels, if (recording.isActive) recording.label else label, contract, choices, recording, model) { label = it } }
        }
        Control(recording, label.takeIf { it in labels && contract != null }, model)
        if (!recording.isActive) {
            Section(R.string.record_who) { Who(choices, model) }
            FoldedSection(R.string.record_timing) { Timing(choices, model) }
            Files(model)
        }
    }
}

@Composable
private fun Notices(model: RecordViewModel, recording: RecordingState, state: ModelState, contract: Contract?) {
    val context = LocalContext.current
    val recoveryError by model.recoveryError.collectAsStateWithLifecycle()
    val message by model.message.collectAsStateWithLifecycle()
    val serviceError by model.serviceError.collectAsStateWithLifecycle()
    for (error in listOfNotNull(message, serviceError)) Notice(error, Tone.BAD)
    if (state is ModelState.Rejected && contract == null) Notice(state.message, Tone.BAD)
    recoveryError?.let { Notice(it, Tone.BAD) }
    recording.problem?.let { Notice(context.describe(it), Tone.BAD) }
    recording.result?.let { Notice(it, if (recording.isFailure) Tone.BAD else Tone.GOOD) }
    val missing = Sensor.entries.filter { it !in model.sensors }
    if (model.sensors.isEmpty()) Notice(stringResource(R.string.record_no_sensors), Tone.BAD)
    else if (missing.isNotEmpty()) Notice(stringResource(R.string.record_only, context.sensorName(missing[0])), Tone.INFO)
}

@Composable
private fun Labels(
    labels: List<String>,
    selected: String?,
    contract: Contract,
    choices: Choices,
    recording: RecordingState,
    model: RecordViewModel,
    onSelect: (String) -> Unit,
) {
    val context = LocalContext.current
    var isEditing by rememberSaveable { mutableStateOf(false) }
    if (recording.isActive) Text(stringResource(R.string.record_change), color = MaterialTheme.colorScheme.onSurfaceVariant)
    FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp), verticalArrangement = Arrangement.spacedBy(8.dp)) {
        for (label in labels) {
            FilterChip(
                label == selected,
                {
                    onSelect(label)
                    if (recording.isActive) model.changeLabel(label)
                },
                { Text(context.displayName(label)) },
                Modifier.heightIn(min = 48.dp),
            )
        }
    }
    if (!recording.isActive) TextButton({ isEditing = true }) { Text(stringResource(R.string.labels_edit)) }
    if (isEditing) LabelEditor(labels, contract, model) { isEditing = false }
}

/** Adds, renames, removes and reorders labels. The labels of the model cannot be renamed. */
@Composable
private fun LabelEditor(labels: List<String>, contract: Contract, model: RecordViewModel, onClose: () -> Unit) {
    val context = LocalContext.current
    var name by rememberSaveable { mutableStateOf("") }
    var renamed by rememberSaveable { mutableStateOf<String?>(null) }
    val clean = name.trim()
    val isNew = clean.isNotEmpty() && labels.none { it.equals(clean, ignoreCase = true) || context.displayName(it).equals(clean, ignoreCase = true) }
    fun save(changed: List<String>) = model.update { it.copy(labels = if (changed == contract.labels) emptyList() else changed) }
    AlertDialog(
        onDismissRequest = onClose,
        confirmButton = { TextButton(onClose) { Text(stringResource(R.string.done)) } },
        title = { Text(stringResource(R.string.labels_edit)) },
        text = {
            Column(Modifier.verticalScroll(rememberScrollState())) {
                labels.forEachIndexed { index, label ->
                    val text = context.displayName(label)
                    Row(verticalAlignment = Alignment.CenterVertically) {
                        Text(text, Modifier.weight(1f))
                        if (index > 0) {
                            Action(R.drawable.ic_less, R.string.label_up, text) {
                                save(labels.toMutableList().apply { add(index - 1, removeAt(index)) })
                            }
                        }
                        if (label !in contract.labels) {
                            Action(R.drawable.ic_edit, R.string.label_rename, text) {
                                renamed = label
                                name = label
                            }
                        }
                        if (labels.size > 1) Action(R.drawable.ic_delete, R.string.label_remove, text) { save(labels - label) }
                    }
                }
                OutlinedTextField(
                    name,
                    { name = it.filterNot(Char::isISOControl) },
                    Modifier.fillMaxWidth().padding(top = 8.dp),
                    label = { Text(stringResource(if (renamed == null) R.string.label_new else R.string.label_new_name)) },
                    singleLine = true,
                )
                TextButton(
                    {
                        save(if (renamed == null) labels + clean else labels.map { if (it == renamed) clean else it })
                        renamed = null
                        name = ""
                    },
                    enabled = isNew,
                ) { Text(stringResource(if (renamed == null) R.string.label_add else R.string.label_rename_button)) }
                if (labels != contract.labels) TextButton({ save(contract.labels) }) { Text(stringResource(R.string.labels_reset)) }
            }
        },
    )
}

@Composable
private fun Action(icon: Int, @StringRes text: Int, name: String, onClick: () -> Unit) {
    IconButton(onClick) { Icon(painterResource(icon), stringResource(text, name)) }
}

@Composable
private fun Control(recording: RecordingState, label: String?, model: RecordViewModel) {
    val context = LocalContext.current
    val permission = rememberLauncherForActivityResult(ActivityResultContracts.RequestPermission()) { label?.let(model::start) }
    Section(R.string.record_title) {
        if (recording.phase == RecordingPhase.COUNTDOWN) {
            Text(stringResource(R.string.record_countdown, recording.countdownSeconds), style = MaterialTheme.typography.headlineMedium)
        } else {
            val spoken = stringResource(R.string.record_elapsed_spoken, formatDuration(recording.elapsedMs))
            Text(
                formatDuration(recording.elapsedMs),
                Modifier.semantics { contentDescription = spoken },
                style = MaterialTheme.typography.displayMedium,
                fontWeight = FontWeight.Medium,
                color = if (recording.phase == RecordingPhase.RECORDING) MaterialTheme.colorScheme.error else MaterialTheme.colorScheme.onSurfaceVariant,
            )
        }
        if (recording.samples.isNotEmpty()) {
            Text(recording.samples.map { (sensor, count) -> stringResource(R.string.record_count, context.sensorName(sensor), count) }.joinToString(" · "))
        }
        if (recording.isActive) {
            Button(model::stop, Modifier.fillMaxWidth(), colors = ButtonDefaults.buttonColors(MaterialTheme.colorScheme.error, MaterialTheme.colorScheme.onError)) {
                Text(stringResource(R.string.record_stop))
            }
        } else {
            if (label == null) Text(stringResource(R.string.record_choose))
            val isReady = label != null && model.sensors.isNotEmpty() && recording.phase == RecordingPhase.IDLE
            Button(
                {
                    if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) permission.launch(Manifest.permission.POST_NOTIFICATIONS)
                    else label?.let(model::start)
                },
                Modifier.fillMaxWidth(),
                enabled = isReady,
            ) { Text(stringResource(R.string.record_start)) }
        }
    }
}

@Composable
private fun Who(choices: Choices, model: RecordViewModel) {
    OutlinedTextField(
        choices.subject,
        { text -> model.update { it.copy(subject = text.filterNot(Char::isISOControl).take(MAX_NAME)) } },
        Modifier.fillMaxWidth(),
        label = { Text(stringResource(R.string.record_subject)) },
        supportingText = { Text(stringResource(R.string.record_subject_why)) },
        singleLine = true,
    )
    Text(stringResource(R.string.record_placement))
    FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp)) {
        for (placement in Placement.entries) {
            FilterChip(choices.placement == placement, { model.update { it.copy(placement = placement) } }, { Text(stringResource(placement.text)) })
        }
    }
}

private const val MAX_NAME = 40

@Composable
private fun Timing(choices: Choices, model: RecordViewModel) {
    Text(stringResource(R.string.record_countdown_choice))
    FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp)) {
        for (seconds in COUNTDOWNS) {
            FilterChip(choices.countdownSeconds == seconds, { model.update { it.copy(countdownSeconds = seconds) } }, { Text(stringResource(R.string.seconds, seconds)) })
        }
    }
    Text(stringResource(R.string.record_trim_choice))
    FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp)) {
        for (seconds in TRIMS) {
            FilterChip(choices.trimSeconds == seconds, { model.update { it.copy(trimSeconds = seconds) } }, { Text(stringResource(R.string.seconds, seconds)) })
        }
    }
}

@SuppressLint("SdCardPath") // the path for adb, not for the app
@Composable
private fun Files(model: RecordViewModel) {
    val context = LocalContext.current
    val files by model.files.collectAsStateWithLifecycle()
    val selected by model.selected.collectAsStateWithLifecycle()
    var deleted by rememberSaveable { mutableStateOf<String?>(null) }
    Section(R.string.record_list) {
        if (files.isEmpty()) {
            Text(stringResource(R.string.record_empty))
            return@Section
        }
        val share = { file: File -> context.startOrReport(RecordingProvider.share(context, file)) }
        OutlinedButton({ model.shareZip(share) }) {
            val count = if (selected.isEmpty()) files.size else selected.size
            Text(pluralStringResource(R.plurals.record_share_zip, count, count))
        }
        for (file in files) {
            Column {
                Row(verticalAlignment = Alignment.CenterVertically) {
                    val description = stringResource(R.string.record_select, file.name)
                    Checkbox(file.name in selected, { model.select(file, it) }, Modifier.semantics { contentDescription = description })
                    Column(Modifier.weight(1f)) {
                        Text(file.name)
                        Text(Formatter.formatShortFileSize(context, file.length()), style = MaterialTheme.typography.bodySmall)
                    }
                }
                FlowRow {
                    TextButton({ model.startReplay(file) }) { Text(stringResource(R.string.replay)) }
                    TextButton({ share(file) }) { Text(stringResource(R.string.record_share)) }
                    TextButton({ deleted = file.name }) { Text(stringResource(R.string.record_delete)) }
                }
            }
        }
        Text(
            stringResource(R.string.record_where, "/sdcard/Android/data/${context.packageName}/files/${DemoApplication.RECORDINGS}"),
            style = MaterialTheme.typography.bodySmall,
            color = MaterialTheme.colorScheme.onSurfaceVariant,
        )
    }
    files.firstOrNull { it.name == deleted }?.let { file ->
        AlertDialog(
            onDismissRequest = { deleted = null },
            confirmButton = {
                TextButton({
                    model.delete(file)
                    deleted = null
                }) { Text(stringResource(R.string.record_delete)) }
            },
            dismissButton = { TextButton({ deleted = null }) { Text(stringResource(R.string.cancel)) } },
            title = { Text(stringResource(R.string.record_delete_sure)) },
            text = { Text(file.name) },
        )
    }
}
