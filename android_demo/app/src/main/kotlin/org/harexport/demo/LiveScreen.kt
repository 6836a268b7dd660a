package org.harexport.demo

import android.view.View
import android.widget.ImageView
import android.widget.ProgressBar
import android.widget.TextView
import java.util.Locale
import kotlin.math.ceil
import kotlin.math.roundToInt
import org.harexport.core.Answer
import org.harexport.core.Contract
import org.harexport.core.Doubt
import org.harexport.core.Sensor

/** What somebody does right now, how sure that is, and what the sensors say. */
class LiveScreen(root: View, private val demo: DemoApplication) : Screen(root) {
    private val context = root.context
    private val notice: TextView = root.part(R.id.notice)
    private val pictogram: ImageView = root.part(R.id.pictogram)
    private val activity: TextView = root.part(R.id.activity)
    private val state: TextView = root.part(R.id.state)
    private val settling: ProgressBar = root.part(R.id.settling)
    private val bars: BarsView = root.part(R.id.bars)
    private val inference: TextView = root.part(R.id.inference)
    private val rates: TextView = root.part(R.id.rates)
    private val model: TextView = root.part(R.id.model)
    private val signals: View = root.part(R.id.signals)
    private val facts: View = root.part(R.id.facts)
    private val plots: List<PlotView>
    private var described = 0

    init {
        val accelerometer: PlotView = root.part(R.id.plot_accelerometer)
        val gyroscope: PlotView = root.part(R.id.plot_gyroscope)
        plots = listOf(accelerometer, gyroscope)
        val traces = demo.live.traces
        accelerometer.watch(
            traces.getValue(Sensor.ACCELEROMETER),
            context.getString(R.string.plot_accelerometer),
            context.getString(R.string.unit_acceleration),
            least = 12f,
            step = 4f,
        )
        gyroscope.watch(
            traces.getValue(Sensor.GYROSCOPE),
            context.getString(R.string.plot_gyroscope),
            context.getString(R.string.unit_rotation),
            least = 2f,
            step = 1f,
        )
    }

    override fun show() {
        plots.forEach { it.run(true) }
        root.keepScreenOn = true // somebody walks about with it
        super.show()
    }

    override fun hide(rotating: Boolean) {
        super.hide(rotating)
        plots.forEach { it.run(false) }
        root.keepScreenOn = false
        if (!rotating) demo.live.stop()
    }

    override fun render() {
        when (val now = demo.model.state) {
            is ModelState.Checking -> checking()
            is ModelState.Refused -> {
                none(now.sentence)
                measured(null, null)
            }
            is ModelState.Trusted -> {
                demo.live.start(now.model)
                demo.live.snapshot()?.let { answering(it, now.model.contract) }
            }
        }
        if (described++ % DESCRIBE_EVERY == 0) plots.forEach { it.describe() }
    }

    private fun checking() {
        headline(R.string.live_checking, R.drawable.ic_unknown, R.drawable.disc)
        state.say(context.getString(R.string.live_checking_why))
        measured(null, null)
    }

    /** Nothing is answered: [sentence] says why. */
    private fun none(sentence: String) {
        headline(R.string.live_none, R.drawable.ic_warn, R.drawable.disc_warn)
        state.say(sentence)
        settling.visibility = View.GONE
        bars.show(emptyList(), emptyList())
    }

    private fun answering(snapshot: LiveSnapshot, contract: Contract) {
        notice.sayOrHide(snapshot.warning)
        val answer = snapshot.answer
        if (snapshot.problem != null) {
            none(snapshot.problem)
        } else if (answer == null) {
            headline(R.string.live_measuring, R.drawable.ic_unknown, R.drawable.disc)
            state.say(context.getString(R.string.live_measuring_why))
            bars.show(contract.labels.map(::spoken), emptyList())
        } else {
            shown(answer, snapshot)
        }
        val settles = snapshot.problem == null && (answer == null || answer.doubt == Doubt.SETTLING)
        settling.visibility = if (settles) View.VISIBLE else View.GONE
        settling.progress = (snapshot.settled * settling.max).roundToInt()
        measured(snapshot, contract)
    }

    private fun shown(answer: Answer, snapshot: LiveSnapshot) {
        pictogram.setImageResource(pictogram(answer.smoothedLabel))
        pictogram.setBackgroundResource(R.drawable.disc)
        activity.say(spoken(answer.smoothedLabel))
        activity.setTextColor(context.getColor(if (answer.doubt == null) R.color.ink else R.color.muted))
        state.say(
            when (answer.doubt) {
                Doubt.SETTLING -> context.getString(R.string.live_settling, ceil(snapshot.settledIn).toInt().coerceAtLeast(1))
                Doubt.SPARSE -> context.getString(R.string.live_sparse)
                null -> context.getString(R.string.live_sure, (answer.smoothedProbabilities[answer.smoothed] * HUNDRED).roundToInt())
            },
        )
        bars.show(answer.labels.map(::spoken), answer.smoothedProbabilities.asList())
    }

    private fun headline(words: Int, picture: Int, ground: Int) {
        pictogram.setImageResource(picture)
        pictogram.setBackgroundResource(ground)
        activity.say(context.getString(words))
        activity.setTextColor(context.getColor(R.color.ink))
    }

    private fun measured(snapshot: LiveSnapshot?, contract: Contract?) {
        val listening = snapshot != null && snapshot.rates.values.any { it > 0 }
        signals.visibility = if (listening) View.VISIBLE else View.GONE
        facts.visibility = signals.visibility
        val none = context.getString(R.string.none)
        val latency = snapshot?.latency
        inference.say(
            if (latency == null) none
            else context.getString(R.string.fact_inference_value, time(context, latency.p50), time(context, latency.p90)),
        )
        val known = snapshot?.rates.orEmpty().filterValues { it > 0 }
        rates.say(
            if (known.isEmpty()) none
            else known.entries.joinToString(" · ") { context.getString(R.string.fact_rate, name(context, it.key), it.value) },
        )
        model.say(contract?.let(::described) ?: none)
    }

    private fun described(contract: Contract): String {
        val rate = String.format(Locale.getDefault(), "%.0f", contract.rateHz)
        return context.getString(R.string.fact_model_value, rate, contract.window / contract.rateHz, contract.hop / contract.rateHz)
    }

    private companion object {
        const val HUNDRED = 100
        const val DESCRIBE_EVERY = 10
    }
}
