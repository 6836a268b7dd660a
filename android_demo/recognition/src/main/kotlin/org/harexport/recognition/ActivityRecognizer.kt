package org.harexport.recognition

import android.content.Context
import android.os.Handler
import android.os.HandlerThread
import android.os.Looper
import android.os.SystemClock
import java.nio.ByteBuffer
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.callbackFlow
import org.harexport.core.Classifier
import org.harexport.core.Contract
import org.harexport.core.InputException
import org.harexport.core.LiveRecognizer
import org.harexport.core.MountEstimate
import org.harexport.core.Prediction
import org.harexport.core.Restart
import org.harexport.core.SampleBatcher
import org.harexport.core.Sensor
import org.harexport.core.SensorMonitor
import org.harexport.core.SensorProblem
import org.harexport.core.SensorSample
import org.harexport.core.axes
import org.harexport.core.chooseModel

/**
 * Recognizes the user's activity from the phone's sensors: loads and verifies the model, reads the sensors, estimates the
 * mounting and classifies, all on a thread of its own. Runs while the app runs: an app that recognizes in the background
 * needs a foreground service of its own.
 *
 * Use either [updates] or [start] and [stop]; one run at a time. Thread-safe. [close] it in the end: a start after that
 * throws IllegalStateException, and all else does nothing.
 *
 * @param createClassifier loads a model
 */
public class ActivityRecognizer internal constructor(
    context: Context,
    private val models: List<() -> ModelFiles>,
    private val createClassifier: (model: ByteBuffer, contract: Contract) -> Classifier,
) : AutoCloseable {
    /**
     * Uses the model in assets/.
     *
     * @param folders folders of assets/ with the files that harexport writes: the first model whose sensors the phone has is
     *   used
     */
    public constructor(context: Context, folders: List<String> = listOf(ASSETS)) :
        this(context, folders.map { folder -> { ModelFiles.read(context.applicationContext.assets, folder) } }, ::TfliteClassifier)

    private class Run(val recognizer: LiveRecognizer, val monitor: SensorMonitor, val contract: Contract)

    private val thread = HandlerThread("recognition").apply { start() }
    internal val looper: Looper = thread.looper
    private val handler = Handler(looper)
    private val feed = SensorFeed(context.applicationContext, handler, ::onSample)
    private val batcher = SampleBatcher(0.0, ::process)

    // Used on the thread of recognition only, except that [start] compares the listener on the main thread.
    private var model: Pair<Contract, Classifier>? = null
    private var run: Run? = null
    @Volatile
    private var listener: ((RecognitionUpdate) -> Unit)? = null
    private var reported: SensorProblem? = null
    @Volatile
    private var isClosed = false
    private val check = object : Runnable {
        override fun run() {
            checkSensors()
            handler.postDelayed(this, CHECK_MS)
        }
    }

    /**
     * Time in seconds for which samples are collected before they are processed. 0 in the foreground; 1 to 2 in the
     * background, where it saves wake-ups and does not change predictions.
     */
    @Volatile
    public var batchSeconds: Double = 0.0
        set(value) {
            require(value in 0.0..MAX_BATCH_SECONDS) { "batchSeconds must be in 0 to $MAX_BATCH_SECONDS; found $value" }
            field = value
            handler.post {
                batcher.flush()
                batcher.seconds = value
                run?.let { run ->
                    feed.stop()
                    report(feed.start(run.recognizer.sensors, run.contract.rateHz, value))
                }
            }
        }

    /** Starts when it is collected, and stops when the collection is canceled. Ends after [RecognitionUpdate.Failed]. */
    public val updates: Flow<RecognitionUpdate> = callbackFlow {
        post {
            startRun { update ->
                trySend(update)
                if (update is RecognitionUpdate.Failed) channel.close()
            }
        }
        awaitClose { stop() }
    }

    /** Starts recognition. [listener] is called on the main thread until [stop]. Ends an earlier run. */
    public fun start(listener: (RecognitionUpdate) -> Unit) {
        val main = Handler(Looper.getMainLooper())
        post {
            var deliver: ((RecognitionUpdate) -> Unit)? = null
            val created: (RecognitionUpdate) -> Unit = { update -> main.post { if (this.listener === deliver) listener(update) } }
            deliver = created
            startRun(created)
        }
    }

    /** Stops recognition; the estimate of the mounting is lost. */
    public fun stop() {
        handler.post(::stopRun)
    }

    /** Uses an estimate of the mounting from standing, for example of a `StandingCountdown`, instead of walking. */
    public fun startFrom(estimate: MountEstimate) {
        handler.post { run?.recognizer?.startFrom(estimate) }
    }

    /** Stops recognition and releases the model and the thread. */
    override fun close() {
        isClosed = true
        handler.post {
            stopRun()
            model?.second?.close()
            model = null
            thread.quit()
        }
    }

    private fun post(action: () -> Unit) {
        check(!isClosed) { "this ActivityRecognizer is closed; create another one" }
        handler.post(action)
    }

    private fun startRun(listener: (RecognitionUpdate) -> Unit) {
        stopRun()
        this.listener = listener
        try {
            val (contract, classifier) = model ?: loadModel().also { model = it }
            val recognizer = LiveRecognizer(contract, classifier)
            run = Run(recognizer, SensorMonitor(recognizer.sensors, contract.rateHz, SystemClock::elapsedRealtimeNanos), contract)
            listener(RecognitionUpdate.Started(contract))
            report(feed.start(recognizer.sensors, contract.rateHz, batchSeconds))
            if (reported == null) handler.postDelayed(check, CHECK_MS)
        } catch (error: InputException) {
            fail(error)
        } catch (error: LinkageError) { // no native library for this processor
            fail(error)
        }
    }

    private fun loadModel(): Pair<Contract, Classifier> {
        val files = models.map { it() }
        val contracts = files.map { it.contract }
        // If the phone has the sensors of no model, SensorFeed reports what the first one lacks.
        val chosen = files[chooseModel(contracts, feed.available) ?: 0]
        return chosen.contract to chosen.open(createClassifier)
    }

    private fun stopRun() {
        handler.removeCallbacks(check)
        feed.stop()
        batcher.flush()
        run = null
        listener = null
        reported = null
    }

    private fun fail(error: Throwable) {
        val receiver = listener
        stopRun()
        listener = receiver // still receives this update
        receiver?.invoke(RecognitionUpdate.Failed(error.message ?: error.toString(), error))
    }

    private fun onSample(sensor: Sensor, timeNs: Long, values: FloatArray) {
        val monitor = run?.monitor ?: return
        monitor.push(sensor, timeNs)
        batcher.push(SensorSample(sensor, timeNs, axes(values)))
    }

    private fun process(samples: List<SensorSample>) {
        val run = run ?: return
        try {
            for (event in run.recognizer.push(samples)) {
                listener?.invoke(
                    when (event) {
                        is Prediction -> RecognitionUpdate.Predicted(event, run.recognizer.mountEstimate, run.recognizer.mountProgress)
                        is Restart -> RecognitionUpdate.Restarted(event.cause)
                    },
                )
            }
        } catch (error: InputException) {
            fail(error)
        }
    }

    private fun checkSensors() {
        val run = run ?: return
        report(run.monitor.problem() ?: run.recognizer.problem)
    }

    /** Reports a sensor problem of another kind than the last one. */
    private fun report(problem: SensorProblem?) {
        val isSame = problem?.let { it::class } == reported?.let { it::class }
        reported = problem
        if (!isSame) listener?.invoke(RecognitionUpdate.SensorChanged(problem))
    }

    public companion object {
        /** Folder of assets/ to which `harexport export --android-library` writes the model. */
        public const val ASSETS: String = "harexport"
        private const val MAX_BATCH_SECONDS = 10.0
        private const val CHECK_MS = 1_000L
    }
}
