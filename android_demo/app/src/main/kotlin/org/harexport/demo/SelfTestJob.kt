package org.harexport.demo

import android.content.Context
import android.os.Build
import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.Executor
import org.harexport.core.AtomicFile
import org.harexport.core.BadInput
import org.harexport.core.Contract
import org.harexport.core.Device
import org.harexport.core.Golden
import org.harexport.core.HarwWindows
import org.harexport.core.Measured
import org.harexport.core.Parity
import org.harexport.core.RuntimeInfo
import org.harexport.core.SelfTest
import org.harexport.core.SelfTestResult
import org.harexport.core.sha256

/**
 * What a self-test found. [parity] and [golden] are null for windows that a computer sent: it compares them itself, and has the
 * [json] from its file.
 */
class SelfTestReport(
    val parity: Parity?,
    val golden: Golden?,
    val measured: Measured,
    val runtime: RuntimeInfo,
    val device: Device,
    val sha256: String,
    val json: String?,
)

sealed interface JobState {
    data object Idle : JobState

    /** [share] that is done, 0 to 1. */
    class Running(val share: Double) : JobState

    class Done(val report: SelfTestReport) : JobState

    class Failed(val sentence: String) : JobState
}

/**
 * The self-test, on [worker]: it goes on while the screen is rotated. One at a time. A test of a computer's files has the name of
 * its result, the app's own [GOLDEN]: by that a screen knows which is its own.
 */
class SelfTestJob(private val context: Context, private val loader: ModelLoader, private val worker: Executor) {
    private val states = ConcurrentHashMap<String, JobState>()

    @Volatile
    private var latest = GOLDEN

    /** How far the test is that was started last. */
    val state: JobState get() = state(latest)

    /** How far the test [name] is. */
    fun state(name: String): JobState = states[name] ?: JobState.Idle

    /** Runs the model and the golden windows of assets/. */
    fun golden() {
        if (state is JobState.Running) return
        begin(GOLDEN) {
            val model =
                when (val now = loader.state) {
                    is ModelState.Trusted -> now.model
                    is ModelState.Refused -> throw BadInput(now.sentence)
                    is ModelState.Checking -> error("the worker loads the model before it tests it")
                }
            val test = SelfTest(model.contract)
            val windows = model.golden.windows.map { window -> FloatArray(window.size) { window[it].toFloat() } }
            val parity = TfliteClassifier(model.bytes, model.contract).use { test.parity(it, model.golden) }
            measure(GOLDEN, model.contract, model.bytes, windows.size, windows::get).report(parity, model.golden, shared = true)
        }
    }

    /**
     * Runs a model on windows, both files that adb has put into the app's folder, and writes the result there: the answers
     * and times, or one sentence on what went wrong. Names come from outside: anything may be in them. While another test runs,
     * that is what is written; a second one with the name of the one that runs finds it going on.
     */
    fun files(model: String?, windows: String?, result: String?) {
        val name = result.orEmpty()
        if (state(name) is JobState.Running) return
        if (state is JobState.Running) {
            states[name] = JobState.Failed(busy(result, model, windows))
            return
        }
        begin(name) {
            val told = resultFile(result, model, windows)
            try {
                val contract = loader.contract ?: throw BadInput((loader.state as ModelState.Refused).sentence)
                val bytes = mapped("model", model)
                val packed = HarwWindows.parse(mapped("windows", windows))
                packed.check(contract)
                val measured = measure(name, contract, bytes, packed.count, packed::get)
                AtomicFile.write(told, measured.json)
                measured.report(null, null, shared = false)
            } catch (error: Exception) {
                AtomicFile.write(told, SelfTestResult.error(words(error)))
                throw error
            } catch (error: LinkageError) {
                AtomicFile.write(told, SelfTestResult.error(words(error)))
                throw error
            } catch (error: VirtualMachineError) {
                AtomicFile.write(told, SelfTestResult.error(words(error)))
                throw error
            }
        }
    }

    /** Refuses, in the result's file too; the sentence. */
    private fun busy(result: String?, model: String?, windows: String?): String =
        try {
            val words = context.getString(R.string.selftest_busy)
            AtomicFile.write(resultFile(result, model, windows), SelfTestResult.error(words))
            words
        } catch (error: BadInput) {
            sentence(error)
        }

    private fun begin(name: String, run: () -> SelfTestReport) {
        states[name] = JobState.Running(0.0)
        latest = name
        worker.execute {
            states[name] =
                try {
                    JobState.Done(run())
                } catch (error: Exception) {
                    JobState.Failed(words(error))
                } catch (error: LinkageError) {
                    JobState.Failed(words(error))
                } catch (error: VirtualMachineError) {
                    JobState.Failed(words(error))
                }
        }
    }

    private fun words(error: Throwable): String =
        when (error) {
            is BadInput -> sentence(error)
            is LinkageError -> context.getString(R.string.library_missing, "${error.message}")
            else -> context.getString(R.string.unexpected, "$error")
        }

    private class Run(val measured: Measured, val runtime: RuntimeInfo, val device: Device, val sha256: String, val json: String) {
        fun report(parity: Parity?, golden: Golden?, shared: Boolean) =
            SelfTestReport(parity, golden, measured, runtime, device, sha256, json.takeIf { shared })
    }

    private fun measure(name: String, contract: Contract, bytes: ByteBuffer, count: Int, window: (Int) -> FloatArray): Run {
        var runtime: RuntimeInfo? = null
        val load = { TfliteClassifier(bytes, contract).also { runtime = it.runtime } }
        val measured = SelfTest(contract).measure(load, count, window) { states[name] = JobState.Running(it) }
        val told = checkNotNull(runtime)
        val sha256 = sha256(bytes)
        val version = context.packageManager.getPackageInfo(context.packageName, 0).versionName ?: ""
        val json = SelfTestResult.json(version, device(), told, sha256, measured, SelfTest.peakBytes())
        return Run(measured, told, device(), sha256, json)
    }

    private fun device() =
        Device(
            manufacturer = Build.MANUFACTURER,
            model = Build.MODEL,
            android = Build.VERSION.RELEASE,
            abi = Build.SUPPORTED_ABIS.first(),
            processor = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) Build.SOC_MODEL else Build.HARDWARE,
        )

    private fun resultFile(result: String?, model: String?, windows: String?): File {
        val file = named("result", result)
        if (!file.name.endsWith(".json") || file.name == model || file.name == windows) {
            throw BadInput(context.getString(R.string.extra_result))
        }
        return file
    }

    /** Whether the result [name] is in the app's folder. */
    fun written(name: String?): Boolean =
        try {
            named("result", name).isFile
        } catch (_: BadInput) {
            false
        }

    /** A file of the app's own folder, and of no other. */
    private fun named(extra: String, name: String?): File {
        if (name == null || !PLAIN.matches(name)) throw BadInput(context.getString(R.string.extra_bad, extra))
        val folder = context.getExternalFilesDir(null) ?: throw BadInput(context.getString(R.string.record_no_storage))
        return File(folder, name)
    }

    private fun mapped(extra: String, name: String?): ByteBuffer {
        val file = named(extra, name)
        if (!file.isFile) throw BadInput(context.getString(R.string.file_missing, file.name))
        if (file.length() > LARGEST_MB * MB) throw BadInput(context.getString(R.string.file_large, file.name, LARGEST_MB))
        return try {
            RandomAccessFile(file, "r").use { it.channel.map(FileChannel.MapMode.READ_ONLY, 0, it.length()) }
        } catch (error: IOException) {
            throw BadInput(context.getString(R.string.file_unreadable, file.name, "${error.message}"), error)
        }
    }

    companion object {
        /** No name of a result. */
        const val GOLDEN = "the app's own"
        private val PLAIN = Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
        private const val LARGEST_MB = 256L
        private const val MB = 1_000_000L
    }
}
