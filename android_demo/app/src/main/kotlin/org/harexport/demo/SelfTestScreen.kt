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
 * Parity with Python and latency on this phone. [result] is the file that a test of a computer's files writes; such a test is
 * neither started nor shared here. Without it, only the app's own test is shown.
 */
class SelfTestScreen(root: View, private val demo: DemoApplication, private val result: String? = null) : Screen(root) {
    private val context = root.context
    private val verdict: View = root.part(R.id.selftest_verdict)
    private val headline: TextView = root.part(R.id.selftest_headline)
    private val reason: TextView = root.part(R.id.selftest_reason)
    private val working: View = root.part(R.id.selftest_working)
    private val step: TextView = root.part(R.id.selftest_step)
    private val progress: ProgressBar = root.part(R.id.selftest_progress)
    private val facts: ViewGroup = root.part(R.id.selftest_facts)
    private val run: Button = root.part(R.id.selftest_run)
    private val share: Button = root.part(R.id.selftest_share)
    private val job = result ?: SelfTestJob.GOLDEN
    private var rendered: JobState? = null

    init {
        run.setOnClickListener {
            demo.selfTest.golden()
            render()
        }
        share.setOnClickListener { (demo.selfTest.state(job) as? JobState.Done)?.let { share(it.report) } }
        if (result != null) {
            run.visibility = View.GONE
            root.part<TextView>(R.id.selftest_about).setText(R.string.selftest_about_adb)
        }
    }

    /** Says that the result was written before: the process has died since, and what it knew with it. */
    fun earlier() {
        verdict.visibility = View.VISIBLE
        say(R.string.selftest_written, context.getString(R.string.selftest_earlier, result), R.drawable.ic_good, R.color.good)
    }

    /** Says [sentence], and that nothing is run. */
    fun refuse(sentence: String) = failed(sentence)

    override fun render() {
        val now = demo.selfTest.state(job)
        val busy = demo.selfTest.state is JobState.Running
        run.isEnabled = !busy
        run.setText(
            if (busy && now !is JobState.Running) R.string.selftest_busy_button
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
                // In words only every tenth: a screen reader says each of them.
                step.say(context.getString(R.string.selftest_running, (now.share * TENTHS).toInt() * TENTHS))
            }
            is JobState.Failed -> failed(now.sentence)
            is JobState.Done -> done(now.report)
        }
    }

    private fun failed(sentence: String) {
        verdict.visibility = View.VISIBLE
        say(R.string.selftest_failed, sentence, R.drawable.ic_bad, R.color.bad)
    }

    private fun done(report: SelfTestReport) {
        val parity = report.parity
        if (parity == null) {
            say(
                R.string.selftest_written,
                context.getString(R.string.selftest_written_why, report.measured.logits.size, result),
                R.drawable.ic_good,
                R.color.good,
            )
        } else if (parity.passed) {
            say(
                R.string.selftest_passed,
                context.getString(R.string.selftest_passed_why, parity.sameAnswers, parity.windows),
                R.drawable.ic_good,
                R.color.good,
            )
        } else {
            say(R.string.selftest_parity_failed, parity.failures.joinToString(" "), R.drawable.ic_bad, R.color.bad)
        }
        facts.removeAllViews()
        val latency = report.measured.latency
        if (parity != null && report.golden != null) {
            fact(R.string.selftest_logits, allowed(parity.maxLogitDifference, report.golden.maxLogitDifference))
            fact(R.string.selftest_signals, allowed(parity.maxSignalDifference, report.golden.maxSignalDifference))
        }
        fact(
            context.getString(R.string.selftest_latency, latency.runs),
            context.getString(R.string.selftest_latency_value, us(latency.p50), us(latency.p90), us(latency.p99)),
        )
        fact(
            R.string.selftest_load,
            context.getString(R.string.selftest_load_value, us(report.measured.loadMs * MS), us(report.measured.firstAnswerMs * MS)),
        )
        val runtime = report.runtime
        val asked =
            when (runtime.xnnpack) {
                true -> R.string.selftest_runtime_xnnpack
                false -> R.string.selftest_runtime_plain
                null -> R.string.selftest_runtime_unknown
            }
        fact(R.string.selftest_runtime, context.getString(asked, runtime.name, runtime.version))
        val device = report.device
        fact(
            R.string.selftest_device,
            context.getString(R.string.selftest_device_value, device.manufacturer, device.model, device.android, device.abi),
        )
        fact(R.string.selftest_model, report.sha256)
    }

    private fun say(words: Int, why: String, picture: Int, color: Int) {
        headline.setCompoundDrawablesRelativeWithIntrinsicBounds(picture, 0, 0, 0)
        headline.setTextColor(context.getColor(color))
        headline.say(context.getString(words))
        reason.say(why)
    }

    private fun fact(name: Int, value: String) = fact(context.getString(name), value)

    private fun fact(name: String, value: String) {
        val row = LayoutInflater.from(context).inflate(R.layout.row_fact, facts, false)
        row.part<TextView>(R.id.fact_name).text = name
        row.part<TextView>(R.id.fact_value).text = value
        facts.addView(row)
    }

    private fun us(us: Double) = time(context, us)

    private fun allowed(found: Double, allowed: Double) = context.getString(R.string.selftest_allowed, short(found), short(allowed))

    private fun short(number: Double) = String.format(Locale.getDefault(), "%.1e", number)

    private fun share(report: SelfTestReport) {
        val json = report.json ?: return
        if (json.length > MOST_SHARED) {
            Toast.makeText(context, R.string.share_large, Toast.LENGTH_LONG).show()
            return
        }
        val send = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, json)
        val title = context.getString(R.string.selftest_share_title, "${report.device.manufacturer} ${report.device.model}")
        context.startOrSay(Intent.createChooser(send.putExtra(Intent.EXTRA_SUBJECT, title), title))
    }

    private companion object {
        const val TENTHS = 10
        const val MS = 1e3

        /** Characters, of two bytes: Android carries at most a megabyte from app to app. */
        const val MOST_SHARED = 200_000
    }
}
