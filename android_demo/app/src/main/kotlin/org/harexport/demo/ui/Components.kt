package org.harexport.demo.ui

import androidx.annotation.DrawableRes
import androidx.annotation.StringRes
import androidx.compose.foundation.Canvas
import androidx.compose.foundation.clickable
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.ColumnScope
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.Spacer
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.height
import androidx.compose.foundation.layout.heightIn
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.size
import androidx.compose.foundation.layout.width
import androidx.compose.material3.Card
import androidx.compose.material3.CardDefaults
import androidx.compose.material3.Icon
import androidx.compose.material3.LinearProgressIndicator
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.saveable.rememberSaveable
import androidx.compose.runtime.setValue
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.geometry.Offset
import androidx.compose.ui.geometry.Size
import androidx.compose.ui.platform.LocalContext
import androidx.compose.ui.res.painterResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.Role
import androidx.compose.ui.semantics.clearAndSetSemantics
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.heading
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.semantics.stateDescription
import androidx.compose.ui.text.font.FontWeight
import androidx.compose.ui.unit.dp
import kotlin.math.roundToInt
import org.harexport.demo.R
import org.harexport.demo.Timeline
import org.harexport.demo.displayName
import org.harexport.demo.formatDuration

/** A card with a heading. */
@Composable
fun Section(@StringRes title: Int, modifier: Modifier = Modifier, content: @Composable ColumnScope.() -> Unit) {
    Card(modifier.fillMaxWidth(), colors = CardDefaults.cardColors(containerColor = MaterialTheme.colorScheme.surfaceContainerLow)) {
        Column(Modifier.padding(16.dp), verticalArrangement = Arrangement.spacedBy(8.dp)) {
            Text(stringResource(title), Modifier.semantics { heading() }, style = MaterialTheme.typography.titleMedium)
            content()
        }
    }
}

/** A card whose content is folded until its heading is pressed. */
@Composable
fun FoldedSection(@StringRes title: Int, content: @Composable ColumnScope.() -> Unit) {
    var isOpen by rememberSaveable(title) { mutableStateOf(false) }
    val state = stringResource(if (isOpen) R.string.expanded else R.string.collapsed)
    Card(Modifier.fillMaxWidth(), colors = CardDefaults.cardColors(containerColor = MaterialTheme.colorScheme.surfaceContainerLow)) {
        Row(
            Modifier.fillMaxWidth()
                .clickable(role = Role.Button) { isOpen = !isOpen }
                .semantics { stateDescription = state }
                .heightIn(min = 56.dp)
                .padding(horizontal = 16.dp, vertical = 8.dp),
            verticalAlignment = Alignment.CenterVertically,
        ) {
            Text(stringResource(title), Modifier.weight(1f), style = MaterialTheme.typography.titleMedium)
            Icon(painterResource(if (isOpen) R.drawable.ic_less else R.drawable.ic_more), null)
        }
        if (isOpen) Column(Modifier.padding(start = 16.dp, end = 16.dp, bottom = 16.dp), verticalArrangement = Arrangement.spacedBy(8.dp), content = content)
    }
}

/** How serious a [Notice] is. */
enum class Tone(@DrawableRes val icon: Int) {
    INFO(R.drawable.ic_tab_about),
    GOOD(R.drawable.ic_good),
    BAD(R.drawable.ic_warn),
}

/** A message with an icon, and the action that helps. */
@Composable
fun Notice(text: String, tone: Tone, action: String? = null, onAction: () -> Unit = {}) {
    val colors = MaterialTheme.colorScheme
    val (container, content) =
        when (tone) {
            Tone.INFO -> colors.secondaryContainer to colors.onSecondaryContainer
            Tone.GOOD -> colors.primaryContainer to colors.onPrimaryContainer
            Tone.BAD -> colors.errorContainer to colors.onErrorContainer
        }
    Card(Modifier.fillMaxWidth(), colors = CardDefaults.cardColors(container, content)) {
        Column(Modifier.padding(16.dp), verticalArrangement = Arrangement.spacedBy(8.dp)) {
            Row(verticalAlignment = Alignment.CenterVertically) {
                Icon(painterResource(tone.icon), null, Modifier.size(24.dp))
                Spacer(Modifier.width(12.dp))
                Text(text)
            }
            if (action != null) OutlinedButton(onAction) { Text(action, color = content) }
        }
    }
}

/** The intervals of a timeline as a strip of colors. */
@Composable
fun TimelineStrip(timeline: Timeline, modifier: Modifier = Modifier) {
    val context = LocalContext.current
    val description =
        if (timeline.totals.isEmpty()) stringResource(R.string.timeline_empty)
        else timeline.totals.joinToString { (label, ms) -> "${context.displayName(label)} ${formatDuration(ms)}" }
    val ground = MaterialTheme.colorScheme.surfaceVariant
    Canvas(modifier.fillMaxWidth().height(40.dp).semantics { contentDescription = description }) {
        drawRect(ground)
        val span = (timeline.endMs - timeline.startMs).coerceAtLeast(1L)
        for (segment in timeline.segments) {
            if (segment.label == null) continue
            val left = size.width * (segment.startMs - timeline.startMs) / span
            val right = size.width * (segment.endMs - timeline.startMs) / span
            drawRect(colorOf(segment.label), Offset(left, 0f), Size(right - left, size.height))
        }
    }
}

/** The activities of a timeline with their durations. */
@Composable
fun TimelineTotals(timeline: Timeline) {
    val context = LocalContext.current
    for ((label, ms) in timeline.totals) {
        Row(Modifier.fillMaxWidth().semantics(mergeDescendants = true) {}, verticalAlignment = Alignment.CenterVertically) {
            Canvas(Modifier.size(16.dp)) { drawRect(colorOf(label)) }
            Text(context.displayName(label), Modifier.weight(1f).padding(start = 8.dp))
            Text(formatDuration(ms), fontWeight = FontWeight.Medium)
        }
    }
}

/** One bar for each label; the largest is emphasized. */
@Composable
fun Probabilities(labels: List<String>, probabilities: List<Double>) {
    val context = LocalContext.current
    val best = probabilities.indices.maxByOrNull { probabilities[it] }
    labels.forEachIndexed { index, label ->
        val share = probabilities[index]
        val percent = stringResource(R.string.percent, (share * 100).roundToInt())
        Column(Modifier.fillMaxWidth().clearAndSetSemantics { contentDescription = "${context.displayName(label)} $percent" }) {
            Row {
                val weight = if (index == best) FontWeight.Bold else FontWeight.Normal
                Text(context.displayName(label), Modifier.weight(1f), fontWeight = weight)
                Text(percent, fontWeight = weight)
            }
            LinearProgressIndicator(
                { share.toFloat() },
                Modifier.fillMaxWidth().padding(top = 4.dp),
                color = if (index == best) colorOf(label) else MaterialTheme.colorScheme.outline,
                trackColor = MaterialTheme.colorScheme.surfaceVariant,
                drawStopIndicator = {},
            )
        }
    }
}

/** A name with its value below. */
@Composable
fun Fact(name: String, value: String) {
    Column(Modifier.fillMaxWidth().semantics(mergeDescendants = true) {}) {
        Text(name, style = MaterialTheme.typography.labelMedium, color = MaterialTheme.colorScheme.onSurfaceVariant)
        Text(value, style = MaterialTheme.typography.bodyMedium)
    }
}

/** An icon with a text, for example the badge of a verified model. */
@Composable
fun Badge(@DrawableRes icon: Int, text: String) {
    Row(verticalAlignment = Alignment.CenterVertically) {
        Icon(painterResource(icon), null, Modifier.size(24.dp), tint = MaterialTheme.colorScheme.primary)
        Text(text, Modifier.padding(start = 8.dp), style = MaterialTheme.typography.titleSmall, color = MaterialTheme.colorScheme.primary)
    }
}
