package org.harexport.demo

import android.content.Intent
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ProgressBar
import android.widget.TextView
import android.widget.Toast
import java.util.Locale
import kotlin.math.roundToInt

/**
 * Shows parity with Python and latency on this phone.
 *
 * @param result result file of a test of pushed files, which is neither started nor shared here; null for the built-in
 *   test
 */
class SelfTestScreen(root: View, private val demo: DemoApplication, private val result: String? = null) : Screen(root) {
    private val context = root.context
    private val verdict: View = root.requireView(R.id.selftest_verdict)
    private val headline: TextView = root.requireView(R.id.selftest_headline)
    private val reason: TextView = root.requireView(R.id.selftest_reason)
    private val working: View = root.requireView(R.id.selftest_working)
    private val step: TextView = root.requireView(R.id.selftest_step)
    private val progress: ProgressBar = root.requireView(R.id.selftest_progress)
    private val facts: ViewGroup = root.requireView(R.id.selftest_facts)
    private val run: Button = root.requireView(R.id.selftest_run)
    private val share: Button = root.requireView(R.id.selftest_share)
    private val job = result ?: SelfTestJob.GOLDEN
    private var rendered: JobState? = null

    init {
        run.setOnClickListener {
            demo.selfTest.runGolden()
            render()
        }
        share.setOnClickListener { (demo.selfTest.state(job) as? JobState.Done)?.let { share(it.report) } }
        if (result != null) {
            run.visibility = View.GONE
            root.requireView<TextView>(R.id.selftest_about).setText(R.string.selftest_about_adb)
        }
    }

    /** Shows that the result was written before the process was killed. */
    fun showCompleted() {
        verdict.visibility = View.VISIBLE
        showVerdict(R.string.selftest_written, context.getString(R.string.selftest_earlier, result), R.drawable.ic_good, R.color.good)
    }

    /** Shows an error [message]; no test is run. */
    fun showError(message: String) = showFailure(message)

    override fun render() {
        val now = demo.selfTest.state(job)
        val isBusy = demo.selfTest.state is JobState.Running
        run.isEnabled = !isBusy
        run.setText(
            if (isBusy && now !is JobState.Running) R.string.selftest_busy_button
            else if (now is JobState.Idle) R.string.selftest_run
            else R.string.selftest_again,
        )
        if (now === rendered) return
        rendered = now
        working.visibility = if (now is JobState.Running) View.VISIBLE else View.GONE
        verdict.visibility = if (now is JobState.Done || now is JobState.Failed) View.VISIBLE else View.GONE
        facts.visibility = if (now is JobState.Done) View.VISIBLE else View.GONE
        share.visibility = if (now is JobState.Done && now.report.json != null) View.VISIBLE else View.GONE
        when (now) {
            is JobState.Idle -> Unit
            is JobState.Running -> {
                progress.progress = (now.share * progress.max).roundToInt()
                // Text changes every 10 %: screen readers announce each change.
                step.setTextIfChanged(context.getString(R.string.selftest_running, (now.share * TENTHS).toInt() * TENTHS))
            }
            is JobState.Failed -> showFailure(now.message)
            is JobState.Done -> showReport(now.report)
        }
    }

    private fun showFailure(message: String) {
        verdict.visibility = View.VISIBLE
        showVerdict(R.string.selftest_failed, message, R.drawable.ic_bad, R.color.bad)
    }

    private fun showReport(report: SelfTestReport) {
        val parity = report.parity
        if (parity == null) {
            showVerdict(
                R.string.selftest_written,
                context.getString(R.string.selftest_written_why, report.measured.logits.size, result),
                R.drawable.ic_good,
                R.color.good,
            )
        } else if (parity.passed) {
            showVerdict(
                R.string.selftest_passed,
                context.getString(R.string.selftest_passed_why, parity.matchingLabels, parity.windows),
                R.drawable.ic_good,
                R.color.good,
            )
        } else {
            showVerdict(R.string.selftest_parity_failed, parity.failures.joinToString(" "), R.drawable.ic_bad, R.color.bad)
        }
        facts.removeAllViews()
        val latency = report.measured.latency
        if (parity != null && report.golden != null) {
            addFact(R.string.selftest_logits, withTolerance(parity.maxLogitDifference, report.golden.maxLogitDifference))
            addFact(R.string.selftest_signals, withTolerance(parity.maxSignalDifference, report.golden.maxSignalDifference))
        }
        addFact(
            context.getString(R.string.selftest_latency, latency.runs),
            context.getString(R.string.selftest_latency_value, formatTime(latency.p50), formatTime(latency.p90), formatTime(latency.p99)),
        )
        addFact(
            R.string.selftest_load,
            context.getString(R.string.selftest_load_value, formatTime(report.measured.loadMs * MS), formatTime(report.measured.firstInferenceMs * MS)),
        )
        val runtime = report.runtime
        val runtimeText =
            when (runtime.xnnpack) {
                true -> R.string.selftest_runtime_xnnpack
                false -> R.string.selftest_runtime_plain
                null -> R.string.selftest_runtime_unknown
            }
        addFact(R.string.selftest_runtime, context.getString(runtimeText, runtime.name, runtime.version))
        val device = report.device
        addFact(
            R.string.selftest_device,
            context.getString(R.string.selftest_device_value, device.manufacturer, device.model, device.android, device.abi),
        )
        addFact(R.string.selftest_model, report.sha256)
    }

    private fun showVerdict(text: Int, explanation: String, icon: Int, color: Int) {
        headline.setCompoundDrawablesRelativeWithIntrinsicBounds(icon, 0, 0, 0)
        headline.setTextColor(context.getColor(color))
        headline.setTextIfChanged(context.getString(text))
        reason.setTextIfChanged(explanation)
    }

    private fun addFact(name: Int, value: String) = addFact(context.getString(name), value)

    private fun addFact(name: String, value: String) {
        val row = LayoutInflater.from(context).inflate(R.layout.row_fact, facts, false)
        row.requireView<TextView>(R.id.fact_name).text = name
        row.requireView<TextView>(R.id.fact_value).text = value
        facts.addView(row)
    }

    private fun formatTime(us: Double) = formatTime(context, us)

    private fun withTolerance(difference: Double, tolerance: Double) = context.getString(R.string.selftest_allowed, format(difference), format(tolerance))

    private fun format(value: Double) = String.format(Locale.getDefault(), "%.1e", value)

    private fun share(report: SelfTestReport) {
        val json = report.json ?: return
        if (json.length > MAX_SHARED_LENGTH) {
            Toast.makeText(context, R.string.share_large, Toast.LENGTH_LONG).show()
            return
        }
        val send = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, json)
        val title = context.getString(R.string.selftest_share_title, "${report.device.manufacturer} ${report.device.model}")
        context.startOrReport(Intent.createChooser(send.putExtra(Intent.EXTRA_SUBJECT, title), title))
    }

    private companion object {
        const val TENTHS = 10
        const val MS = 1e3

        /** Maximum length of a shared text in UTF-16 characters: an Android transaction is limited to about 1 MB. */
        const val MAX_SHARED_LENGTH = 200_000
    }
}
