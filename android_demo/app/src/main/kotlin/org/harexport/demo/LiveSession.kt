package org.harexport.demo

import android.content.Context
import android.os.SystemClock
import kotlin.math.ceil
import org.harexport.core.Contract
import org.harexport.core.InputException
import org.harexport.core.Latency
import org.harexport.core.LiveRecognizer
import org.harexport.core.MountEstimate
import org.harexport.core.MountState
import org.harexport.core.Prediction
import org.harexport.core.RecentTimes
import org.harexport.core.Restart
import org.harexport.core.SECOND
import org.harexport.core.SETTLING_SECONDS
import org.harexport.core.Sensor
import org.harexport.core.SensorMonitor
import org.harexport.core.axes

/**
 * The state of recognition at one moment.
 *
 * @property problem why there are no predictions; null if there are
 * @property warning a message that does not prevent predictions; null for none
 * @property prediction the most recent prediction; null if there is none or it is outdated
 * @property settledShare progress of filter settling, 0 to 1
 * @property settledInSeconds remaining settling time in seconds
 * @property rates sampling rate of each sensor in Hz
 * @property mountState whether the mounting is known; null for a model without a mount stage
 * @property mountEstimate the estimated mounting; null while it is unknown
 */
class LiveSnapshot(
    val problem: String?,
    val warning: String?,
    val prediction: Prediction?,
    val settledShare: Double,
    val settledInSeconds: Double,
    val latency: Latency?,
    val rates: Map<Sensor, Double>,
    val mountState: MountState?,
    val mountEstimate: MountEstimate?,
)

/**
 * Connects the sensors to recognition. Samples arrive on the sensor thread; all other methods are called on the main
 * thread.
 */
class LiveSession(private val context: Context) {
    private val feed = SensorFeed(context, ::onSample)
    val traces: Map<Sensor, Trace> = Sensor.values().associateWith { Trace() }

    private var model: VerifiedModel? = null
    private var recognizer: LiveRecognizer? = null
    private var monitor: SensorMonitor? = null
    private var problem: String? = null
    private var prediction: Prediction? = null
    private var predictedAt = 0L
    private var restart: String? = null
    private var restartedAt = 0L
    private var startNs: Long? = null
    private var newestNs = 0L
    private var latency = RecentTimes()

    /** Whether the sensors are being read. */
    @get:Synchronized
    val running: Boolean get() = model != null

    /** Starts recognition; has no effect if it is already running with [model]. */
    @Synchronized
    fun start(model: VerifiedModel) {
        if (this.model === model) return
        stop()
        val contract = model.contract
        this.model = model
        problem = null
        prediction = null
        restart = null
        startNs = null
        latency = RecentTimes()
        traces.values.forEach { it.clear() }
        try {
            val started = LiveRecognizer(contract, model.classifier)
            recognizer = started
            monitor = SensorMonitor(started.sensors, contract.rateHz, SystemClock::elapsedRealtimeNanos)
            problem = missing(contract) ?: feed.start(started.sensors, contract.rateHz)
        } catch (error: InputException) {
            problem = errorMessage(error)
        }
    }

    private fun missing(contract: Contract): String? =
        SensorMonitor.findMissing(contract, feed.available)?.let { "${it.message} ${context.getString(R.string.live_missing_hint)}" }

    @Synchronized
    fun stop() {
        feed.stop()
        model = null
        recognizer = null
        monitor = null
    }

    @Synchronized
    private fun onSample(sensor: Sensor, timeNs: Long, values: FloatArray) {
        val recognizer = recognizer ?: return // stopped while this sample was queued
        if (problem != null) return
        val sample = axes(values)
        traces.getValue(sensor).add(timeNs, sample)
        monitor?.push(sensor, timeNs)
        if (startNs == null) startNs = timeNs
        newestNs = maxOf(newestNs, timeNs)
        try {
            for (event in recognizer.push(sensor, timeNs, sample)) {
                when (event) {
                    is Prediction -> {
                        prediction = event
                        predictedAt = SystemClock.elapsedRealtime()
                        latency.push(event.inferenceNs / NS_IN_US)
                    }
                    is Restart -> {
                        prediction = null
                        restart = event.reason
                        restartedAt = SystemClock.elapsedRealtime()
                        startNs = event.timeNs
                        newestNs = timeNs
                    }
                }
            }
        } catch (error: InputException) {
            problem = context.getString(R.string.live_failed, "${error.message}".trimEnd('.'))
            feed.stop()
        }
    }

    /** Returns the current state; null while recognition is stopped. */
    @Synchronized
    fun snapshot(): LiveSnapshot? {
        val contract = model?.contract ?: return null
        val recognizer = recognizer
        val current = if (problem == null) (monitor?.problem() ?: recognizer?.problem)?.message else null
        // The sensors may have stopped: an outdated prediction does not describe the current activity.
        val recent = prediction?.takeIf { SystemClock.elapsedRealtime() - predictedAt < MAX_AGE_MS + contract.hop / contract.rateHz * MS }
        val restarted = restart?.takeIf { SystemClock.elapsedRealtime() - restartedAt < NOTICE_MS }
        val needed = settlingSeconds(contract)
        val since = startNs?.let { (newestNs - it).toDouble() / SECOND } ?: 0.0
        return LiveSnapshot(
            problem = problem ?: current.takeIf { recent == null },
            warning = current.takeIf { recent != null } ?: restarted?.let { context.getString(R.string.live_restarted, it) },
            prediction = recent,
            settledShare = (since / needed).coerceIn(0.0, 1.0),
            settledInSeconds = (needed - since).coerceAtLeast(0.0),
            latency = latency.latency(),
            rates = recognizer?.sensors?.associateWith { monitor?.hz(it) ?: 0.0 }.orEmpty(),
            mountState = recognizer?.mountState,
            mountEstimate = recognizer?.mountEstimate,
        )
    }

    private companion object {
        const val NS_IN_US = 1e3
        const val MS = 1e3
        const val MAX_AGE_MS = 3_000L
        const val NOTICE_MS = 8_000L

        /** Returns the seconds from the start of the filters to the end of the first settled window. */
        fun settlingSeconds(contract: Contract): Double {
            val hops = ceil(SETTLING_SECONDS * contract.rateHz / contract.hop)
            return (hops * contract.hop + contract.window) / contract.rateHz
        }
    }
}
