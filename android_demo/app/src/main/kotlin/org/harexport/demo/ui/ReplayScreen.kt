package org.harexport.demo.ui

import androidx.activity.compose.BackHandler
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.LinearProgressIndicator
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Modifier
import androidx.compose.ui.platform.LocalContext
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.unit.dp
import org.harexport.demo.R
import org.harexport.demo.ReplayResult
import org.harexport.demo.ReplayState
import org.harexport.demo.describe
import org.harexport.demo.formatDuration

/** A recording after it went through the model. */
@Composable
fun ReplayScreen(state: ReplayState, onClose: () -> Unit) {
    BackHandler(onBack = onClose)
    Column(Modifier.fillMaxSize().verticalScroll(rememberScrollState()).padding(16.dp), verticalArrangement = Arrangement.spacedBy(12.dp)) {
        OutlinedButton(onClose) { Text(stringResource(R.string.replay_back)) }
        when (state) {
            is ReplayState.Running -> {
                Text(stringResource(R.string.replay_running, state.name))
                LinearProgressIndicator(Modifier.fillMaxWidth())
            }
            is ReplayState.Failed -> Notice(state.message, Tone.BAD, stringResource(R.string.replay_back), onClose)
            is ReplayState.Done -> Result(state.result)
        }
    }
}

@Composable
private fun Result(result: ReplayResult) {
    val context = LocalContext.current
    Text(result.name, style = MaterialTheme.typography.titleLarge)
    Text(formatDuration((result.seconds * 1_000).toLong()))
    result.problem?.let { Notice(context.describe(it), Tone.BAD) }
    for (cause in result.restarts) Notice(stringResource(R.string.live_restarted, context.describe(cause)), Tone.INFO)
    if (result.problem == null && result.predicted.totals.isEmpty()) Notice(stringResource(R.string.replay_none), Tone.INFO)
    if (result.windows > 0) {
        Text(stringResource(R.string.replay_matching, result.matching, result.windows), style = MaterialTheme.typography.titleMedium)
    }
    Section(R.string.replay_predicted) {
        TimelineStrip(result.predicted)
        TimelineTotals(result.predicted)
    }
    Section(R.string.replay_labeled) {
        TimelineStrip(result.labeled)
        TimelineTotals(result.labeled)
    }
}
