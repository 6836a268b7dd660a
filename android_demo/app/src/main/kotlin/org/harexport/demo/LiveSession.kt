package org.harexport.demo

import android.content.Context
import android.os.Handler
import android.os.HandlerThread
import android.os.SystemClock
import java.io.File
import java.util.ArrayDeque
import kotlin.math.ceil
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.launch
import org.harexport.core.Contract
import org.harexport.core.InputException
import org.harexport.core.Latency
import org.harexport.core.LiveRecognizer
import org.harexport.core.MountEstimate
import org.harexport.core.MountState
import org.harexport.core.PhonePlace
import org.harexport.core.PhonePlaceDetector
import org.harexport.core.Prediction
import org.harexport.core.RecentTimes
import org.harexport.core.RecordingStopped
import org.harexport.core.RecordingWriter
import org.harexport.core.Restart
import org.harexport.core.RestartCause
import org.harexport.core.SECOND
import org.harexport.core.SETTLING_SECONDS
import org.harexport.core.SampleBatcher
import org.harexport.core.Sensor
import org.harexport.core.SensorMonitor
import org.harexport.core.SensorProblem
import org.harexport.core.SensorSample
import org.harexport.core.StandingCountdown
import org.harexport.core.StandingProgress
import org.harexport.core.axes
import org.harexport.recognition.SensorFeed

/**
 * The state of recognition at one moment.
 *
 * @property problem why there are no predictions, or why they are about to end; null for none
 * @property failure message of a model that failed while it ran; null for none
 * @property restart why recognition restarted a few seconds ago; null if it did not
 * @property prediction the most recent prediction; null if there is none or it is outdated
 * @property settledShare progress of filter settling, 0 to 1
 * @property settledInSeconds remaining settling time in seconds
 * @property rates sampling rate of each sensor in Hz
 * @property mountState whether the mounting is known; null for a model without a mount stage
 * @property mountEstimate the estimated mounting; null while it is unknown
 * @property mountProgress share of the walking that the first estimate requires, 0 to 1
 * @property standing the countdown of "Stand still"; null if it does not run
 * @property acceleration the newest sample of the accelerometer in m/s2; null before it
 */
data class LiveState(
    val isRunning: Boolean = false,
    val problem: SensorProblem? = null,
    val failure: String? = null,
    val restart: RestartCause? = null,
    val prediction: Prediction? = null,
    val settledShare: Double = 0.0,
    val settledInSeconds: Double = 0.0,
    val latency: Latency? = null,
    val rates: Map<Sensor, Double> = emptyMap(),
    val mountState: MountState? = null,
    val mountEstimate: MountEstimate? = null,
    val mountProgress: Double = 0.0,
    val standing: StandingProgress? = null,
    val place: PhonePlace = PhonePlace.OTHER,
    val acceleration: List<Double>? = null,
    val timeline: Timeline = Timeline(),
)

/**
 * Connects the sensors to recognition and publishes [state].
 *
 * Samples arrive on the sensor thread; all other methods are called on the main thread.
 */
class LiveSession(context: Context, private val scope: CoroutineScope) {
    private val handler by lazy { Handler(HandlerThread("sensors").apply { start() }.looper) }
    private val feed by lazy { SensorFeed(context, handler, ::onSample) }
    private val mutable = MutableStateFlow(LiveState())
    val state: StateFlow<LiveState> = mutable
    val traces: Map<Sensor, Trace> = Sensor.entries.associateWith { Trace() }

    /** The sensors of this phone. */
    val available: Set<Sensor> get() = feed.available

    private var model: VerifiedModel? = null
    private var recognizer: LiveRecognizer? = null
    private var monitor: SensorMonitor? = null
    private val batcher = SampleBatcher(0.0, ::process)
    private var placeDetector = PhonePlaceDetector()
    private var standing: StandingCountdown? = null
    private var standingProgress: StandingProgress? = null
    private val recent = ArrayDeque<SensorSample>()
    private var refused: SensorProblem? = null
    private var failure: String? = null
    private var prediction: Prediction? = null
    private var predictedAt = 0L
    private var restart: RestartCause? = null
    private var restartedAt = 0L
    private var startNs: Long? = null
    private var newestNs = 0L

    /** The timeline adds sensor time to this value, so that it does not jump when the user sets the clock. */
    private var wallMs = 0L
    private var latency = RecentTimes()
    private var timeline = Timeline()
    private var acceleration: List<Double>? = null
    private var ticker: Job? = null

    /** Number of batches that were processed, one wake-up of the processor each. */
    @Volatile
    var batches = 0L
        private set

    @get:Synchronized
    val isRunning: Boolean get() = model != null

    /** Starts recognition with a new timeline; has no effect if it is already running with [model]. */
    @Synchronized
    fun start(model: VerifiedModel) {
        if (this.model === model) return
        stop()
        this.model = model
        refused = null
        failure = null
        prediction = null
        restart = null
        startNs = null
        latency = RecentTimes()
        timeline = Timeline()
        placeDetector = PhonePlaceDetector()
        acceleration = null
        recent.clear()
        traces.values.forEach { it.clear() }
        try {
            val started = LiveRecognizer(model.contract, model.classifier)
            recognizer = started
            monitor = SensorMonitor(started.sensors, model.contract.rateHz, SystemClock::elapsedRealtimeNanos)
            refused = SensorMonitor.findMissing(model.contract, feed.available) ?: feed.start(started.sensors, model.contract.rateHz, batcher.seconds)
        } catch (error: InputException) {
            failure = errorMessage(error)
        }
        publish()
        ticker = scope.launch {
            while (true) {
                delay(TICK_MS)
                publish()
            }
        }
    }

    @Synchronized
    fun stop() {
        ticker?.cancel()
        ticker = null
        feed.stop()
        batcher.flush()
        model = null
        recognizer = null
        monitor = null
        standing = null
        standingProgress = null
        mutable.value = LiveState(timeline = timeline)
    }

    /** Starts again after a problem: the action beside error messages. */
    fun restart() {
        val now = synchronized(this) { model } ?: return
        stop()
        start(now)
    }

    /** Collects samples for [seconds] before they are processed: 0 while the screen is looked at, 1 to 2 otherwise. */
    @Synchronized
    fun setBatchSeconds(seconds: Double) {
        if (batcher.seconds == seconds) return
        batcher.flush()
        batcher.seconds = seconds
        val recognizer = recognizer ?: return
        if (refused != null || failure != null) return
        feed.stop()
        refused = feed.start(recognizer.sensors, checkNotNull(model).contract.rateHz, seconds)
    }

    /** Starts the countdown of "Stand still", or cancels it. */
    @Synchronized
    fun setStanding(isOn: Boolean) {
        standing = if (isOn) StandingCountdown() else null
        standingProgress = if (isOn) StandingProgress(StandingCountdown.SECONDS, null, null) else null
        publish()
    }

    /**
     * Saves the last 30 s as a recording with the right [label]. Returns its file, or null if there are no samples.
     *
     * Throws [InputException] or [RecordingStopped].
     */
    fun saveRecent(folder: File, name: String, label: String, subject: String): File? {
        val samples = synchronized(this) { ArrayList(recent) }
        val writer = RecordingWriter(folder, name, Sensor.entries.filter { sensor -> samples.any { it.sensor == sensor } }, subject = subject)
        writer.label = label
        for (sample in samples) writer.write(sample.sensor, sample.timeNs, FloatArray(AXES) { sample.values[it].toFloat() })
        return writer.finish()
    }

    @Synchronized
    private fun onSample(sensor: Sensor, timeNs: Long, values: FloatArray) {
        if (recognizer == null || refused != null || failure != null) return // stopped while this sample was queued
        val sample = axes(values)
        monitor?.push(sensor, timeNs)
        traces.getValue(sensor).add(timeNs, sample)
        if (sensor == Sensor.ACCELEROMETER) {
            acceleration = sample.toList()
            placeDetector.push(timeNs, sample)
            standing?.let { countdown ->
                val progress = countdown.push(timeNs, sample)
                // The reason of a new start stays visible until the person stands still again.
                val problem = progress.problem ?: standingProgress?.problem?.takeIf { progress.remainingSeconds > STILL_SECONDS }
                standingProgress = StandingProgress(progress.remainingSeconds, problem, progress.estimate)
                progress.estimate?.let {
                    recognizer?.startFrom(it)
                    standing = null
                    standingProgress = null
                }
            }
        }
        val oldest = recent.peekFirst()?.timeNs
        if (oldest != null && timeNs < oldest) recent.clear() // the clock was reset
        recent.addLast(SensorSample(sensor, timeNs, sample))
        while (timeNs - recent.first.timeNs > CORRECTION_SECONDS * SECOND) recent.removeFirst()
        batcher.push(SensorSample(sensor, timeNs, sample))
    }

    /** Returns the time of day at which the sensors' clock was 0, in ms since 1970. */
    private fun wallClockAt0(samples: List<SensorSample>) = System.currentTimeMillis() - samples.last().timeNs / NS_IN_MS

    /** Classifies a batch; called with the lock of this session. */
    private fun process(samples: List<SensorSample>) {
        val recognizer = recognizer ?: return
        batches++
        if (startNs == null) {
            startNs = samples[0].timeNs
            wallMs = wallClockAt0(samples)
        }
        newestNs = maxOf(newestNs, samples.maxOf { it.timeNs })
        try {
            for (event in recognizer.push(samples)) {
                when (event) {
                    is Prediction -> {
                        prediction = event
                        predictedAt = SystemClock.elapsedRealtime()
                        latency.push(event.inferenceNs / NS_IN_US)
                        val contract = checkNotNull(model).contract
                        timeline = timeline.plus(event, wallMs + event.endNs / NS_IN_MS, contract.hop / contract.rateHz)
                        publish()
                    }
                    is Restart -> {
                        prediction = null
                        restart = event.cause
                        restartedAt = SystemClock.elapsedRealtime()
                        startNs = event.timeNs
                        if (event.cause is RestartCause.ClockReset) wallMs = wallClockAt0(samples)
                        newestNs = samples.last().timeNs
                    }
                }
            }
        } catch (error: InputException) {
            failure = errorMessage(error)
            feed.stop()
        }
    }

    @Synchronized
    private fun publish() {
        val contract = model?.contract ?: return
        val recognizer = recognizer
        // The sensors may have stopped: an outdated prediction does not describe the current activity.
        val maxAgeMs = MAX_AGE_MS + batcher.seconds * MS + contract.hop / contract.rateHz * MS
        val needed = settlingSeconds(contract)
        val since = startNs?.let { (newestNs - it).toDouble() / SECOND } ?: 0.0
        mutable.value = LiveState(
            isRunning = true,
            problem = refused ?: if (failure == null) monitor?.problem() ?: recognizer?.problem else null,
            failure = failure,
            restart = restart?.takeIf { SystemClock.elapsedRealtime() - restartedAt < NOTICE_MS },
            prediction = prediction?.takeIf { SystemClock.elapsedRealtime() - predictedAt < maxAgeMs && failure == null },
            settledShare = (since / needed).coerceIn(0.0, 1.0),
            settledInSeconds = (needed - since).coerceAtLeast(0.0),
            latency = latency.latency(),
            rates = recognizer?.sensors?.associateWith { monitor?.hz(it) ?: 0.0 }.orEmpty(),
            mountState = recognizer?.mountState,
            mountEstimate = recognizer?.mountEstimate,
            mountProgress = recognizer?.mountProgress ?: 0.0,
            standing = standingProgress,
            place = placeDetector.place,
            acceleration = acceleration,
            timeline = timeline,
        )
    }

    companion object {
        /** Time between two states while no prediction arrives. */
        const val TICK_MS = 200L

        /** Duration that "That was wrong" saves. */
        const val CORRECTION_SECONDS = 30.0
        private const val AXES = 3
        private const val NS_IN_US = 1e3
        private const val NS_IN_MS = 1_000_000L
        private const val MS = 1e3
        private const val MAX_AGE_MS = 3_000L
        private const val NOTICE_MS = 8_000L
        private const val STILL_SECONDS = 2.0

        /** Returns the seconds from the start of the filters to the end of the first settled window. */
        private fun settlingSeconds(contract: Contract): Double {
            val hops = ceil(SETTLING_SECONDS * contract.rateHz / contract.hop)
            return (hops * contract.hop + contract.window) / contract.rateHz
        }
    }
}
