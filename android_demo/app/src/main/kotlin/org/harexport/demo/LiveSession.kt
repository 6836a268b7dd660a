package org.harexport.demo

import android.content.Context
import android.os.SystemClock
import kotlin.math.ceil
import org.harexport.core.Answer
import org.harexport.core.BadInput
import org.harexport.core.Contract
import org.harexport.core.Guard
import org.harexport.core.Latency
import org.harexport.core.Live
import org.harexport.core.RecentTimes
import org.harexport.core.Restart
import org.harexport.core.SECOND
import org.harexport.core.SETTLING_SECONDS
import org.harexport.core.Sensor
import org.harexport.core.SensorWatch
import org.harexport.core.axes

/**
 * What is known at a moment. [problem] keeps everything from being answered, [warning] does not. [settled] is 0 to 1, and
 * [settledIn] in seconds.
 */
class LiveSnapshot(
    val problem: String?,
    val warning: String?,
    val answer: Answer?,
    val settled: Double,
    val settledIn: Double,
    val latency: Latency?,
    val rates: Map<Sensor, Double>,
)

/** Sensors in, answers out. Samples come on the sensors' thread, everything else is asked on the main one. */
class LiveSession(private val context: Context) {
    private val feed = SensorFeed(context, ::onSample)
    val traces: Map<Sensor, Trace> = Sensor.values().associateWith { Trace() }

    private var model: TrustedModel? = null
    private var live: Live? = null
    private var watch: SensorWatch? = null
    private var problem: String? = null
    private var answer: Answer? = null
    private var answeredAt = 0L
    private var restart: String? = null
    private var restartedAt = 0L
    private var startNs: Long? = null
    private var newestNs = 0L
    private var latency = RecentTimes()

    /** Whether the sensors are being listened to. */
    @get:Synchronized
    val running: Boolean get() = model != null

    /** Starts anew; goes on where it already runs with [model]. */
    @Synchronized
    fun start(model: TrustedModel) {
        if (this.model === model) return
        stop()
        val contract = model.contract
        this.model = model
        problem = null
        answer = null
        restart = null
        startNs = null
        latency = RecentTimes()
        traces.values.forEach { it.clear() }
        try {
            val live = Live(contract, model.classifier)
            this.live = live
            watch = SensorWatch(live.sensors, contract.rateHz, SystemClock::elapsedRealtimeNanos)
            problem = missing(contract) ?: feed.start(live.sensors, contract.rateHz)
        } catch (error: BadInput) {
            problem = sentence(error)
        }
    }

    private fun missing(contract: Contract): String? =
        Guard.missing(contract, feed.available)?.let { "$it ${context.getString(R.string.live_missing_hint)}" }

    @Synchronized
    fun stop() {
        feed.stop()
        model = null
        live = null
        watch = null
    }

    @Synchronized
    private fun onSample(sensor: Sensor, timeNs: Long, values: FloatArray) {
        val live = live ?: return // stopped while this one was on its way
        if (problem != null) return
        val sample = axes(values)
        traces.getValue(sensor).add(timeNs, sample)
        watch?.push(sensor, timeNs)
        if (startNs == null) startNs = timeNs
        newestNs = maxOf(newestNs, timeNs)
        try {
            for (told in live.push(sensor, timeNs, sample)) {
                when (told) {
                    is Answer -> {
                        answer = told
                        answeredAt = SystemClock.elapsedRealtime()
                        latency.push(told.inferenceNs / NS_IN_US)
                    }
                    is Restart -> {
                        answer = null
                        restart = told.reason
                        restartedAt = SystemClock.elapsedRealtime()
                        startNs = told.timeNs
                        newestNs = timeNs
                    }
                }
            }
        } catch (error: BadInput) {
            problem = context.getString(R.string.live_failed, "${error.message}".trimEnd('.'))
            feed.stop()
        }
    }

    /** Null while it does not run. */
    @Synchronized
    fun snapshot(): LiveSnapshot? {
        val contract = model?.contract ?: return null
        val live = live
        val trouble = if (problem == null) watch?.problem() ?: live?.problem else null
        // An old answer is none: sensors may have stopped, and what one does now is not known.
        val answer = answer?.takeIf { SystemClock.elapsedRealtime() - answeredAt < FRESH_MS + contract.hop / contract.rateHz * MS }
        val answering = answer != null
        val restarted = restart?.takeIf { SystemClock.elapsedRealtime() - restartedAt < SHOWN_MS }
        val needed = settledAfter(contract)
        val since = startNs?.let { (newestNs - it).toDouble() / SECOND } ?: 0.0
        return LiveSnapshot(
            problem = problem ?: trouble.takeUnless { answering },
            warning = trouble.takeIf { answering } ?: restarted?.let { context.getString(R.string.live_restarted, it) },
            answer = answer,
            settled = (since / needed).coerceIn(0.0, 1.0),
            settledIn = (needed - since).coerceAtLeast(0.0),
            latency = latency.latency(),
            rates = live?.sensors?.associateWith { watch?.hz(it) ?: 0.0 }.orEmpty(),
        )
    }

    private companion object {
        const val NS_IN_US = 1e3
        const val MS = 1e3
        const val FRESH_MS = 3_000L
        const val SHOWN_MS = 8_000L

        /** Seconds from the start to the end of the first window that is settled. */
        fun settledAfter(contract: Contract): Double {
            val hops = ceil(SETTLING_SECONDS * contract.rateHz / contract.hop)
            return (hops * contract.hop + contract.window) / contract.rateHz
        }
    }
}
