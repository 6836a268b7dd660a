package org.harexport.demo.ui

import android.Manifest
import android.os.Build
import android.view.HapticFeedbackConstants
import androidx.activity.compose.rememberLauncherForActivityResult
import androidx.activity.result.contract.ActivityResultContracts
import androidx.compose.foundation.Canvas
import androidx.compose.foundation.background
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.BoxWithConstraints
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.FlowRow
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.heightIn
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.size
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.selection.toggleable
import androidx.compose.foundation.shape.RoundedCornerShape
import androidx.compose.foundation.text.TextAutoSize
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.AlertDialog
import androidx.compose.material3.FilterChip
import androidx.compose.material3.Icon
import androidx.compose.material3.LinearProgressIndicator
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.Switch
import androidx.compose.material3.Text
import androidx.compose.material3.TextButton
import androidx.compose.runtime.Composable
import androidx.compose.runtime.LaunchedEffect
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.saveable.rememberSaveable
import androidx.compose.runtime.setValue
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.draw.alpha
import androidx.compose.ui.draw.clip
import androidx.compose.ui.geometry.Offset
import androidx.compose.ui.geometry.Size
import androidx.compose.ui.graphics.Color
import androidx.compose.ui.graphics.drawscope.Stroke
import androidx.compose.ui.graphics.drawscope.rotate
import androidx.compose.ui.platform.LocalContext
import androidx.compose.ui.platform.LocalResources
import androidx.compose.ui.platform.LocalView
import androidx.compose.ui.res.painterResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.LiveRegionMode
import androidx.compose.ui.semantics.Role
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.heading
import androidx.compose.ui.semantics.liveRegion
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.text.font.FontWeight
import androidx.compose.ui.text.style.TextAlign
import androidx.compose.ui.unit.dp
import androidx.compose.ui.unit.em
import androidx.compose.ui.unit.sp
import androidx.lifecycle.compose.collectAsStateWithLifecycle
import java.util.Locale
import kotlin.math.atan2
import kotlin.math.ceil
import kotlin.math.roundToInt
import org.harexport.core.Contract
import org.harexport.core.MountState
import org.harexport.core.PhonePlace
import org.harexport.core.QualityFlag
import org.harexport.core.Sensor
import org.harexport.demo.Announcement
import org.harexport.demo.LiveState
import org.harexport.demo.LiveViewModel
import org.harexport.demo.ModelState
import org.harexport.demo.R
import org.harexport.demo.RecordingProvider
import org.harexport.demo.describe
import org.harexport.demo.displayName
import org.harexport.demo.formatTime
import org.harexport.demo.pictogram
import org.harexport.demo.sensorName
import org.harexport.demo.startOrReport

/** Share of the screen for the activity. */
private const val HEADLINE_SHARE = 0.46f
private val MAX_HEADLINE = 480.dp
private const val UNRELIABLE_ALPHA = 0.45f
private const val TRACK_ALPHA = 0.2f

/** The current activity, the mounting, the timeline and the probabilities. */
@Composable
fun LiveScreen(model: LiveViewModel) {
    val live by model.live.collectAsStateWithLifecycle()
    val state by model.model.collectAsStateWithLifecycle()
    val contract = (state as? ModelState.Verified)?.model?.contract
    BoxWithConstraints(Modifier.fillMaxSize()) {
        val height = maxHeight
        if (maxWidth > maxHeight) {
            Row(Modifier.fillMaxSize().padding(16.dp), horizontalArrangement = Arrangement.spacedBy(16.dp)) {
                Column(Modifier.weight(1f).verticalScroll(rememberScrollState())) {
                    Headline(live, state, Modifier.fillMaxWidth().heightIn(min = height - 32.dp)) // without the padding
                }
                Column(Modifier.weight(1f).verticalScroll(rememberScrollState()), verticalArrangement = Arrangement.spacedBy(12.dp)) {
                    Details(live, state, contract, model)
                }
            }
        } else {
            Column(
                Modifier.fillMaxSize().verticalScroll(rememberScrollState()).padding(16.dp),
                verticalArrangement = Arrangement.spacedBy(12.dp),
            ) {
                Headline(live, state, Modifier.fillMaxWidth().heightIn(min = minOf(height * HEADLINE_SHARE, MAX_HEADLINE)))
                Details(live, state, contract, model)
            }
        }
    }
}

/** What the headline shows: label, text, icon, status and whether the prediction is reliable. */
private class HeadlineContent(val label: String?, val text: String, val icon: Int, val status: String, val isReliable: Boolean)

@Composable
private fun headlineOf(live: LiveState, state: ModelState): HeadlineContent {
    val context = LocalContext.current
    val resources = LocalResources.current
    fun text(id: Int, vararg values: Any) = resources.getString(id, *values)
    val prediction = live.prediction
    return when {
        state is ModelState.Checking -> HeadlineContent(null, text(R.string.live_checking), R.drawable.ic_unknown, text(R.string.live_checking_why), true)
        state is ModelState.Rejected -> HeadlineContent(null, text(R.string.live_none), R.drawable.ic_warn, state.message, true)
        live.failure != null -> HeadlineContent(null, text(R.string.live_none), R.drawable.ic_warn, text(R.string.live_failed, live.failure.trimEnd('.')), true)
        prediction == null && live.problem != null -> HeadlineContent(null, text(R.string.live_none), R.drawable.ic_warn, context.describe(live.problem), true)
        prediction == null -> {
            val hasFrame = (state as ModelState.Verified).model.contract.frame != null
            val why = text(if (hasFrame) R.string.live_starting_mount else R.string.live_starting_fixed)
            HeadlineContent(null, text(R.string.live_starting), R.drawable.ic_unknown, why, true)
        }
        else -> {
            val status =
                when (prediction.qualityFlag) {
                    QualityFlag.SETTLING -> text(R.string.live_settling, ceil(live.settledInSeconds).toInt().coerceAtLeast(1))
                    QualityFlag.SPARSE -> text(R.string.live_sparse)
                    QualityFlag.MOUNT -> text(if (prediction.mountState == null) R.string.live_orientation else R.string.live_mount_unknown)
                    null -> text(R.string.live_probability, (prediction.smoothedProbabilities[prediction.smoothedLabelIndex] * 100).roundToInt())
                }
            val label = prediction.smoothedLabel
            HeadlineContent(label, context.displayName(label), pictogram(label), status, prediction.qualityFlag == null)
        }
    }
}

@Composable
private fun Headline(live: LiveState, state: ModelState, modifier: Modifier) {
    val content = headlineOf(live, state)
    val colors = MaterialTheme.colorScheme
    val isColored = content.label != null && content.isReliable
    val ground = if (isColored) colorOf(content.label) else colors.surfaceVariant
    val ink = if (isColored) Color.White else colors.onSurfaceVariant
    Column(
        modifier.clip(RoundedCornerShape(28.dp)).background(ground).padding(16.dp),
        Arrangement.Center,
        Alignment.CenterHorizontally,
    ) {
        Icon(
            painterResource(content.icon),
            null,
            Modifier.size(if (content.label == null) 72.dp else 144.dp).alpha(if (content.isReliable) 1f else UNRELIABLE_ALPHA),
            tint = ink,
        )
        if (!content.isReliable) Text(stringResource(R.string.live_unreliable), color = ink, style = MaterialTheme.typography.labelLarge)
        Text(
            content.text,
            Modifier.padding(vertical = 8.dp).semantics {
                heading()
                liveRegion = LiveRegionMode.Polite // the activity alone: the probability changes every second
            },
            color = ink,
            autoSize = TextAutoSize.StepBased(minFontSize = 20.sp, maxFontSize = if (content.label == null) 34.sp else 52.sp),
            maxLines = 2,
            fontWeight = FontWeight.Bold,
            textAlign = TextAlign.Center,
            lineHeight = 1.1.em,
        )
        Text(content.status, color = ink, style = MaterialTheme.typography.bodyLarge, textAlign = TextAlign.Center)
        val isSettling = state is ModelState.Verified && live.failure == null && live.problem == null && live.settledShare < 1
        if (isSettling) LinearProgressIndicator({ live.settledShare.toFloat() }, Modifier.fillMaxWidth().padding(top = 12.dp), color = ink, trackColor = ink.copy(alpha = TRACK_ALPHA), drawStopIndicator = {})
    }
}

@Composable
private fun Details(live: LiveState, state: ModelState, contract: Contract?, model: LiveViewModel) {
    val context = LocalContext.current
    val message by model.message.collectAsStateWithLifecycle()
    message?.let { Notice(it, Tone.INFO, stringResource(R.string.ok), model::clearMessage) }
    if (state is ModelState.Rejected) Notice(stringResource(R.string.live_rejected), Tone.BAD, stringResource(R.string.try_again), model::reload)
    if (live.failure != null || live.problem != null) {
        val text = if (live.prediction != null && live.problem != null) context.describe(live.problem) else stringResource(R.string.live_other_screens)
        Notice(text, Tone.BAD, stringResource(R.string.try_again), model::restart)
    }
    live.restart?.let { Notice(stringResource(R.string.live_restarted, context.describe(it)), Tone.INFO) }
    if (contract == null) return
    if ((state as ModelState.Verified).model.isFallback) Notice(stringResource(R.string.live_accelerometer_only), Tone.INFO)
    if (live.mountState != null && live.failure == null) MountSection(live, model)
    TimelineSection(live, model)
    live.prediction?.let { prediction ->
        Correction(contract.labels, model)
        Section(R.string.probabilities, Modifier.alpha(if (prediction.qualityFlag == null) 1f else UNRELIABLE_ALPHA)) {
            Probabilities(prediction.labels, prediction.smoothedProbabilities.asList())
        }
    }
    BackgroundSection(model)
    FoldedSection(R.string.signals) {
        for (sensor in live.rates.keys) {
            if (sensor == Sensor.ACCELEROMETER) Plot(model.traces.getValue(sensor), stringResource(R.string.plot_accelerometer), 12f, 4f)
            else Plot(model.traces.getValue(sensor), stringResource(R.string.plot_gyroscope), 2f, 1f)
        }
        live.latency?.let { Fact(stringResource(R.string.fact_inference), stringResource(R.string.fact_inference_value, context.formatTime(it.p50), context.formatTime(it.p90))) }
        for ((sensor, hz) in live.rates) Fact(context.sensorName(sensor), stringResource(R.string.fact_rate, hz))
        val rate = String.format(Locale.getDefault(), "%.0f", contract.rateHz)
        Fact(stringResource(R.string.fact_model), stringResource(R.string.fact_model_value, rate, contract.window / contract.rateHz, contract.hop / contract.rateHz))
    }
}

@Composable
private fun MountSection(live: LiveState, model: LiveViewModel) {
    val view = LocalView.current
    val standing = live.standing
    val remaining = standing?.let { ceil(it.remainingSeconds).toInt() }
    LaunchedEffect(remaining) { if (remaining != null) view.performHapticFeedback(HapticFeedbackConstants.CLOCK_TICK) }
    LaunchedEffect(live.mountState) {
        if (live.mountState == MountState.ESTIMATED) view.performHapticFeedback(HapticFeedbackConstants.CONTEXT_CLICK)
    }
    val context = LocalContext.current
    Section(R.string.mount_title) {
        Row(horizontalArrangement = Arrangement.spacedBy(16.dp), verticalAlignment = Alignment.CenterVertically) {
            MountPicture(live)
            Column(Modifier.weight(1f), verticalArrangement = Arrangement.spacedBy(8.dp)) {
                val estimate = live.mountEstimate
                val text =
                    when {
                        standing != null && standing.problem != null -> context.describe(checkNotNull(standing.problem))
                        standing != null -> stringResource(R.string.mount_standing)
                        live.place == PhonePlace.ON_TABLE -> stringResource(R.string.place_table)
                        live.place == PhonePlace.IN_HAND && estimate == null -> stringResource(R.string.place_hand)
                        live.mountState == MountState.CHANGED -> stringResource(R.string.mount_changed)
                        estimate == null -> stringResource(R.string.mount_unknown)
                        else -> stringResource(R.string.mount_known, estimate.mount.tiltDegrees.roundToInt(), estimate.spreadDegrees.roundToInt())
                    }
                Text(text)
                if (standing != null) {
                    Text(stringResource(R.string.seconds, checkNotNull(remaining)), style = MaterialTheme.typography.displaySmall, fontWeight = FontWeight.Bold)
                } else if (estimate == null) {
                    LinearProgressIndicator({ live.mountProgress.toFloat() }, Modifier.fillMaxWidth(), trackColor = MaterialTheme.colorScheme.surfaceVariant, drawStopIndicator = {})
                }
            }
        }
        OutlinedButton({ model.setStanding(standing == null) }) {
            Text(stringResource(if (standing == null) R.string.stand_still else R.string.cancel))
        }
    }
}

/** The phone as it hangs now, seen from the front, with a level. */
@Composable
private fun MountPicture(live: LiveState) {
    val acceleration = live.acceleration
    // The direction of "up" in the plane of the screen; 0 while the top edge is up.
    val roll = if (acceleration == null) 0f else Math.toDegrees(atan2(acceleration[0], acceleration[1])).toFloat()
    val description = stringResource(R.string.mount_picture, roll.roundToInt())
    val colors = MaterialTheme.colorScheme
    val isKnown = live.mountEstimate != null
    Canvas(Modifier.size(88.dp).semantics { contentDescription = description }) {
        val width = size.width * 0.42f
        val height = size.height * 0.84f
        drawLine(colors.outline, Offset(0f, size.height / 2), Offset(size.width, size.height / 2), 2.dp.toPx())
        rotate(-roll) {
            val corner = Offset((size.width - width) / 2, (size.height - height) / 2)
            val radius = androidx.compose.ui.geometry.CornerRadius(8.dp.toPx())
            drawRoundRect(if (isKnown) colors.primaryContainer else colors.surfaceVariant, corner, Size(width, height), radius)
            drawRoundRect(if (isKnown) colors.primary else colors.outline, corner, Size(width, height), radius, style = Stroke(3.dp.toPx()))
            drawCircle(if (isKnown) colors.primary else colors.outline, 3.dp.toPx(), Offset(size.width / 2, corner.y + 10.dp.toPx()))
        }
    }
}

@Composable
private fun TimelineSection(live: LiveState, model: LiveViewModel) {
    val context = LocalContext.current
    Section(R.string.timeline) {
        TimelineStrip(live.timeline)
        if (live.timeline.totals.isEmpty()) {
            Text(stringResource(R.string.timeline_empty), color = MaterialTheme.colorScheme.onSurfaceVariant)
        } else {
            TimelineTotals(live.timeline)
            FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp)) {
                val share = { file: java.io.File -> context.startOrReport(RecordingProvider.share(context, file)) }
                OutlinedButton({ model.shareTimeline(isPicture = false, share) }) { Text(stringResource(R.string.timeline_csv)) }
                OutlinedButton({ model.shareTimeline(isPicture = true, share) }) { Text(stringResource(R.string.timeline_picture)) }
            }
        }
    }
}

/** "That was wrong": saves the last seconds with the label that the user chooses. */
@Composable
private fun Correction(labels: List<String>, model: LiveViewModel) {
    val context = LocalContext.current
    var isAsking by rememberSaveable { mutableStateOf(false) }
    OutlinedButton({ isAsking = true }, Modifier.fillMaxWidth()) { Text(stringResource(R.string.correction)) }
    if (!isAsking) return
    val choices by model.choices.collectAsStateWithLifecycle()
    AlertDialog(
        onDismissRequest = { isAsking = false },
        confirmButton = { TextButton({ isAsking = false }) { Text(stringResource(R.string.cancel)) } },
        title = { Text(stringResource(R.string.correction_title)) },
        text = {
            Column(Modifier.verticalScroll(rememberScrollState())) {
                Text(stringResource(R.string.correction_text))
                for (label in choices.labels.ifEmpty { labels }) {
                    TextButton({
                        model.correct(label)
                        isAsking = false
                    }) { Text(context.displayName(label)) }
                }
            }
        },
    )
}

@Composable
private fun BackgroundSection(model: LiveViewModel) {
    val isOn by model.background.collectAsStateWithLifecycle()
    val error by model.serviceError.collectAsStateWithLifecycle()
    val choices by model.choices.collectAsStateWithLifecycle()
    // Recognition runs without the permission, too; Android then shows no notification.
    val permission = rememberLauncherForActivityResult(ActivityResultContracts.RequestPermission()) { model.setBackground(true) }
    fun toggle(isWanted: Boolean) {
        if (isWanted && Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) permission.launch(Manifest.permission.POST_NOTIFICATIONS)
        else model.setBackground(isWanted)
    }
    error?.let { Notice(it, Tone.BAD) }
    Section(R.string.background) {
        Row(
            Modifier.fillMaxWidth().toggleable(isOn, role = Role.Switch) { toggle(it) }.heightIn(min = 48.dp),
            horizontalArrangement = Arrangement.spacedBy(16.dp),
            verticalAlignment = Alignment.CenterVertically,
        ) {
            Text(stringResource(R.string.background_text), Modifier.weight(1f))
            Switch(isOn, null)
        }
        if (isOn) {
            Text(stringResource(R.string.announce))
            FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp)) {
                for (announcement in Announcement.entries) {
                    FilterChip(choices.announcement == announcement, { model.setAnnouncement(announcement) }, { Text(stringResource(announcement.text)) })
                }
            }
        }
    }
}
