package org.harexport.demo.ui

import android.content.Intent
import android.widget.Toast
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.Button
import androidx.compose.material3.LinearProgressIndicator
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.ui.Modifier
import androidx.compose.ui.platform.LocalContext
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.text.font.FontWeight
import androidx.compose.ui.unit.dp
import androidx.lifecycle.compose.collectAsStateWithLifecycle
import java.util.Locale
import org.harexport.demo.DemoApplication
import org.harexport.demo.JobState
import org.harexport.demo.R
import org.harexport.demo.SelfTestJob
import org.harexport.demo.SelfTestReport
import org.harexport.demo.demo
import org.harexport.demo.formatTime
import org.harexport.demo.startOrReport

private const val TENTHS = 10
private const val US_IN_MS = 1e3

/** Maximum length of a shared text in UTF-16 characters: an Android transaction is limited to about 1 MB. */
private const val MAX_SHARED_LENGTH = 200_000

/** Parity with Python and latency on this phone, with the built-in model. */
@Composable
fun SelfTestScreen() {
    val demo = LocalContext.current.demo
    val states by demo.selfTest.states.collectAsStateWithLifecycle()
    val state = states[SelfTestJob.GOLDEN]
    val isBusy = states[states.latest] is JobState.Running
    Column(Modifier.fillMaxSize().verticalScroll(rememberScrollState()).padding(16.dp), verticalArrangement = Arrangement.spacedBy(12.dp)) {
        Text(stringResource(R.string.selftest_about), color = MaterialTheme.colorScheme.onSurfaceVariant)
        JobResult(state, null)
        Button({ demo.selfTest.runGolden() }, Modifier.fillMaxWidth(), enabled = !isBusy) {
            Text(
                stringResource(
                    if (isBusy && state !is JobState.Running) R.string.selftest_busy_button
                    else if (state is JobState.Idle) R.string.selftest_run
                    else R.string.selftest_again,
                ),
            )
        }
        val json = (state as? JobState.Done)?.report?.json
        if (state is JobState.Done && json != null) Share(state.report, json)
    }
}

/** A test of files that a computer pushed; [message] replaces the state if the test cannot run or is complete. */
@Composable
fun PushedTestScreen(demo: DemoApplication, result: String, message: Pair<String, Tone>?) {
    val states by demo.selfTest.states.collectAsStateWithLifecycle()
    Column(Modifier.fillMaxSize().verticalScroll(rememberScrollState()).padding(16.dp), verticalArrangement = Arrangement.spacedBy(12.dp)) {
        Text(stringResource(R.string.selftest_title), style = MaterialTheme.typography.headlineMedium)
        Text(stringResource(R.string.selftest_about_adb), color = MaterialTheme.colorScheme.onSurfaceVariant)
        if (message != null) {
            val title = stringResource(if (message.second == Tone.BAD) R.string.selftest_failed else R.string.selftest_written)
            Notice("$title. ${message.first}", message.second)
        } else {
            JobResult(states[result], result)
        }
    }
}

@Composable
private fun JobResult(state: JobState, result: String?) {
    when (state) {
        is JobState.Idle -> Unit
        is JobState.Running -> {
            // The text changes every 10 %: screen readers announce each change.
            Text(stringResource(R.string.selftest_running, (state.share * TENTHS).toInt() * TENTHS))
            LinearProgressIndicator({ state.share.toFloat() }, Modifier.fillMaxWidth())
        }
        is JobState.Failed -> Notice("${stringResource(R.string.selftest_failed)}. ${state.message}", Tone.BAD)
        is JobState.Done -> Report(state.report, result)
    }
}

@Composable
private fun Report(report: SelfTestReport, result: String?) {
    val context = LocalContext.current
    val parity = report.parity
    when {
        parity == null -> Notice("${stringResource(R.string.selftest_written)}. ${stringResource(R.string.selftest_written_why, report.measured.logits.size, result.orEmpty())}", Tone.GOOD)
        parity.passed -> Badge(R.drawable.ic_good, stringResource(R.string.selftest_verified))
        else -> Notice("${stringResource(R.string.selftest_parity_failed)}. ${parity.failures.joinToString(" ")}", Tone.BAD)
    }
    val latency = report.measured.latency
    if (parity != null) Figure(stringResource(R.string.selftest_figure_windows, parity.matchingLabels, parity.windows), stringResource(R.string.selftest_figure_windows_why))
    if (parity != null) Figure(format(parity.maxLogitDifference), stringResource(R.string.selftest_figure_logits))
    Figure(context.formatTime(latency.p50), stringResource(R.string.selftest_figure_latency))
    FoldedSection(R.string.details) {
        if (parity != null && report.golden != null) {
            Fact(stringResource(R.string.selftest_logits), withTolerance(parity.maxLogitDifference, report.golden.maxLogitDifference))
            Fact(stringResource(R.string.selftest_signals), withTolerance(parity.maxSignalDifference, report.golden.maxSignalDifference))
        }
        val times = stringResource(R.string.selftest_latency_value, context.formatTime(latency.p50), context.formatTime(latency.p90), context.formatTime(latency.p99))
        Fact(stringResource(R.string.selftest_latency, latency.runs), times)
        val load = context.formatTime(report.measured.loadMs * US_IN_MS)
        Fact(stringResource(R.string.selftest_load), stringResource(R.string.selftest_load_value, load, context.formatTime(report.measured.firstInferenceMs * US_IN_MS)))
        val runtime = report.runtime
        val runtimeText =
            when (runtime.xnnpack) {
                true -> R.string.selftest_runtime_xnnpack
                false -> R.string.selftest_runtime_plain
                null -> R.string.selftest_runtime_unknown
            }
        Fact(stringResource(R.string.selftest_runtime), stringResource(runtimeText, runtime.name, runtime.version))
        val device = report.device
        Fact(stringResource(R.string.selftest_device), stringResource(R.string.selftest_device_value, device.manufacturer, device.model, device.android, device.abi))
        Fact(stringResource(R.string.selftest_model), report.sha256)
    }
}

@Composable
private fun Figure(value: String, what: String) {
    Column(Modifier.fillMaxWidth().semantics(mergeDescendants = true) {}) {
        Text(value, style = MaterialTheme.typography.displayMedium, fontWeight = FontWeight.Bold)
        Text(what, color = MaterialTheme.colorScheme.onSurfaceVariant)
    }
}

@Composable
private fun withTolerance(difference: Double, tolerance: Double) = stringResource(R.string.selftest_allowed, format(difference), format(tolerance))

private fun format(value: Double) = String.format(Locale.getDefault(), "%.1e", value)

@Composable
private fun Share(report: SelfTestReport, json: String) {
    val context = LocalContext.current
    val title = stringResource(R.string.selftest_share_title, "${report.device.manufacturer} ${report.device.model}")
    OutlinedButton(
        {
            if (json.length > MAX_SHARED_LENGTH) {
                Toast.makeText(context, R.string.share_large, Toast.LENGTH_LONG).show()
            } else {
                val send = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, json)
                context.startOrReport(Intent.createChooser(send.putExtra(Intent.EXTRA_SUBJECT, title), title))
            }
        },
        Modifier.fillMaxWidth(),
    ) { Text(stringResource(R.string.selftest_share)) }
}
