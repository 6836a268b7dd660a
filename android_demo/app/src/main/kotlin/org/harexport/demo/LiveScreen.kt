package org.harexport.demo

import android.view.View
import android.widget.ImageView
import android.widget.ProgressBar
import android.widget.TextView
import java.util.Locale
import kotlin.math.ceil
import kotlin.math.roundToInt
import org.harexport.core.Contract
import org.harexport.core.Prediction
import org.harexport.core.QualityFlag
import org.harexport.core.Sensor

/** Shows the current activity, its probabilities and the sensor signals. */
class LiveScreen(root: View, private val demo: DemoApplication) : Screen(root) {
    private val context = root.context
    private val notice: TextView = root.requireView(R.id.notice)
    private val pictogram: ImageView = root.requireView(R.id.pictogram)
    private val activity: TextView = root.requireView(R.id.activity)
    private val status: TextView = root.requireView(R.id.state)
    private val settling: ProgressBar = root.requireView(R.id.settling)
    private val bars: BarsView = root.requireView(R.id.bars)
    private val inference: TextView = root.requireView(R.id.inference)
    private val rates: TextView = root.requireView(R.id.rates)
    private val mount: TextView = root.requireView(R.id.mount)
    private val model: TextView = root.requireView(R.id.model)
    private val signals: View = root.requireView(R.id.signals)
    private val facts: View = root.requireView(R.id.facts)
    private val plots: List<PlotView>
    private var renderCount = 0

    init {
        val accelerometer: PlotView = root.requireView(R.id.plot_accelerometer)
        val gyroscope: PlotView = root.requireView(R.id.plot_gyroscope)
        plots = listOf(accelerometer, gyroscope)
        val traces = demo.live.traces
        accelerometer.bind(
            traces.getValue(Sensor.ACCELEROMETER),
            context.getString(R.string.plot_accelerometer),
            context.getString(R.string.unit_acceleration),
            minRange = 12f,
            step = 4f,
        )
        gyroscope.bind(
            traces.getValue(Sensor.GYROSCOPE),
            context.getString(R.string.plot_gyroscope),
            context.getString(R.string.unit_rotation),
            minRange = 2f,
            step = 1f,
        )
    }

    override fun show() {
        plots.forEach { it.setScrolling(true) }
        root.keepScreenOn = true
        super.show()
    }

    override fun hide(rotating: Boolean) {
        super.hide(rotating)
        plots.forEach { it.setScrolling(false) }
        root.keepScreenOn = false
        if (!rotating) demo.live.stop()
    }

    override fun render() {
        when (val state = demo.model.state) {
            is ModelState.Checking -> showChecking()
            is ModelState.Rejected -> {
                showProblem(state.message)
                showMeasurements(null, null)
            }
            is ModelState.Verified -> {
                demo.live.start(state.model)
                demo.live.snapshot()?.let { showSnapshot(it, state.model.contract) }
            }
        }
        if (renderCount++ % DESCRIPTION_INTERVAL == 0) plots.forEach { it.updateDescription() }
    }

    private fun showChecking() {
        showHeadline(R.string.live_checking, R.drawable.ic_unknown, R.drawable.disc)
        status.setTextIfChanged(context.getString(R.string.live_checking_why))
        showMeasurements(null, null)
    }

    /** Shows that there are no predictions because of [message]. */
    private fun showProblem(message: String) {
        showHeadline(R.string.live_none, R.drawable.ic_warn, R.drawable.disc_warn)
        status.setTextIfChanged(message)
        settling.visibility = View.GONE
        bars.show(emptyList(), emptyList())
    }

    private fun showSnapshot(snapshot: LiveSnapshot, contract: Contract) {
        notice.setTextOrHide(snapshot.warning)
        val prediction = snapshot.prediction
        if (snapshot.problem != null) {
            showProblem(snapshot.problem)
        } else if (prediction == null) {
            showHeadline(R.string.live_measuring, R.drawable.ic_unknown, R.drawable.disc)
            val instruction = if (contract.frame == null) R.string.live_measuring_why else R.string.live_measuring_mount
            status.setTextIfChanged(context.getString(instruction))
            bars.show(contract.labels.map(::displayName), emptyList())
        } else {
            showPrediction(prediction, snapshot)
        }
        val isSettling = snapshot.problem == null && (prediction == null || prediction.qualityFlag == QualityFlag.SETTLING)
        settling.visibility = if (isSettling) View.VISIBLE else View.GONE
        settling.progress = (snapshot.settledShare * settling.max).roundToInt()
        showMeasurements(snapshot, contract)
    }

    private fun showPrediction(prediction: Prediction, snapshot: LiveSnapshot) {
        val isReliable = prediction.qualityFlag == null
        pictogram.setImageResource(pictogram(prediction.smoothedLabel))
        pictogram.setBackgroundResource(R.drawable.disc)
        pictogram.alpha = if (isReliable) 1f else UNRELIABLE_ALPHA
        bars.alpha = pictogram.alpha
        activity.setTextIfChanged(displayName(prediction.smoothedLabel))
        activity.setTextColor(context.getColor(if (isReliable) R.color.ink else R.color.muted))
        status.setTextIfChanged(
            when (prediction.qualityFlag) {
                QualityFlag.SETTLING ->
                    context.getString(R.string.live_settling, ceil(snapshot.settledInSeconds).toInt().coerceAtLeast(1))
                QualityFlag.SPARSE -> context.getString(R.string.live_sparse)
                QualityFlag.MOUNT ->
                    context.getString(if (prediction.mountState == null) R.string.live_orientation else R.string.live_mount_unknown)
                null -> {
                    val probability = prediction.smoothedProbabilities[prediction.smoothedLabelIndex]
                    context.getString(R.string.live_probability, (probability * HUNDRED).roundToInt())
                }
            },
        )
        bars.show(prediction.labels.map(::displayName), prediction.smoothedProbabilities.asList())
    }

    private fun showHeadline(text: Int, icon: Int, background: Int) {
        pictogram.setImageResource(icon)
        pictogram.setBackgroundResource(background)
        pictogram.alpha = 1f
        bars.alpha = 1f
        activity.setTextIfChanged(context.getString(text))
        activity.setTextColor(context.getColor(R.color.ink))
    }

    private fun showMeasurements(snapshot: LiveSnapshot?, contract: Contract?) {
        val isRunning = snapshot != null && snapshot.rates.values.any { it > 0 }
        signals.visibility = if (isRunning) View.VISIBLE else View.GONE
        facts.visibility = signals.visibility
        val missing = context.getString(R.string.none)
        val latency = snapshot?.latency
        inference.setTextIfChanged(
            if (latency == null) missing
            else context.getString(R.string.fact_inference_value, formatTime(context, latency.p50), formatTime(context, latency.p90)),
        )
        val known = snapshot?.rates.orEmpty().filterValues { it > 0 }
        rates.setTextIfChanged(
            if (known.isEmpty()) missing
            else known.entries.joinToString(" · ") { context.getString(R.string.fact_rate, sensorName(context, it.key), it.value) },
        )
        mount.setTextIfChanged(snapshot?.let(::describeMount) ?: missing)
        model.setTextIfChanged(contract?.let(::describe) ?: missing)
    }

    private fun describeMount(snapshot: LiveSnapshot): String {
        val estimate = snapshot.mountEstimate
        return when {
            snapshot.mountState == null -> context.getString(R.string.mount_fixed)
            estimate == null -> context.getString(R.string.mount_unknown)
            else ->
                context.getString(
                    R.string.mount_estimated,
                    estimate.mount.tiltDegrees.roundToInt(),
                    estimate.spreadDegrees,
                    estimate.seconds.roundToInt(),
                )
        }
    }

    private fun describe(contract: Contract): String {
        val rate = String.format(Locale.getDefault(), "%.0f", contract.rateHz)
        return context.getString(R.string.fact_model_value, rate, contract.window / contract.rateHz, contract.hop / contract.rateHz)
    }

    private companion object {
        const val HUNDRED = 100
        const val UNRELIABLE_ALPHA = 0.4f
        const val DESCRIPTION_INTERVAL = 10
    }
}
