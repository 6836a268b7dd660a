package org.harexport.demo

import android.content.Context
import android.os.Build
import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.util.concurrent.Executor
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.update
import org.harexport.core.AtomicFile
import org.harexport.core.Contract
import org.harexport.core.Device
import org.harexport.core.GoldenVectors
import org.harexport.core.InputException
import org.harexport.core.Measurement
import org.harexport.core.Parity
import org.harexport.core.RuntimeInfo
import org.harexport.core.SelfTest
import org.harexport.core.SelfTestResult
import org.harexport.core.WindowFile
import org.harexport.core.sha256
import org.harexport.recognition.TfliteClassifier

/**
 * Result of a self-test.
 *
 * @property parity comparison with the golden vectors; null for windows pushed by a computer, which compares the logits
 *   itself
 * @property golden the golden vectors; null for pushed windows
 * @property json the result to share; null for pushed windows, whose result is in a file
 */
class SelfTestReport(
    val parity: Parity?,
    val golden: GoldenVectors?,
    val measured: Measurement,
    val runtime: RuntimeInfo,
    val device: Device,
    val sha256: String,
    val json: String?,
)

sealed interface JobState {
    data object Idle : JobState

    /** The test is in progress; [share] is completed, 0 to 1. */
    class Running(val share: Double) : JobState

    class Done(val report: SelfTestReport) : JobState

    class Failed(val message: String) : JobState
}

/**
 * Runs self-tests on [worker], one at a time; a test survives a rotation.
 *
 * A test of pushed files is identified by the name of its result file, the built-in test by [GOLDEN].
 */
class SelfTestJob(private val context: Context, private val loader: ModelLoader, private val worker: Executor) {
    /** The state of every test by its name, and the name of the test that was started last. */
    data class States(val byName: Map<String, JobState> = emptyMap(), val latest: String = GOLDEN) {
        operator fun get(name: String): JobState = byName[name] ?: JobState.Idle
    }

    private val mutable = MutableStateFlow(States())
    val states: StateFlow<States> = mutable

    /** State of the test that was started last. */
    val state: JobState get() = mutable.value.run { get(latest) }

    /** Returns the state of the test [name]. */
    fun state(name: String): JobState = mutable.value[name]

    private fun set(name: String, state: JobState) = mutable.update { it.copy(byName = it.byName + (name to state)) }

    /** Starts the built-in test: the model of assets/ on its golden vectors. */
    fun runGolden() {
        if (state is JobState.Running) return
        start(GOLDEN) {
            val model =
                when (val now = loader.state) {
                    is ModelState.Verified -> now.model
                    is ModelState.Rejected -> throw InputException(now.message)
                    is ModelState.Checking -> error("the model is loaded before the first test")
                }
            val test = SelfTest(model.contract)
            val windows = model.golden.windows.map { window -> FloatArray(window.size) { window[it].toFloat() } }
            val parity = TfliteClassifier(model.bytes, model.contract).use { test.checkParity(it, model.golden) }
            measure(GOLDEN, model.contract, model.bytes, windows.size, windows::get).report(parity, model.golden, isShared = true)
        }
    }

    /**
     * Starts a test of files that adb pushed to the app folder and writes the result there: logits and times, or an
     * error message.
     *
     * File names are untrusted input. While another test is running, that is written as the error. A second request
     * with the name of the running test has no effect.
     */
    fun runFiles(model: String?, windows: String?, result: String?) {
        val name = result.orEmpty()
        if (state(name) is JobState.Running) return
        if (state is JobState.Running) {
            set(name, JobState.Failed(reportBusy(result, model, windows)))
            return
        }
        start(name) {
            val target = resultFile(result, model, windows)
            try {
                val contract = loader.contract ?: throw InputException((loader.state as ModelState.Rejected).message)
                val bytes = map("model", model)
                val file = WindowFile.parse(map("windows", windows))
                file.check(contract)
                val measured = measure(name, contract, bytes, file.count, file::get)
                AtomicFile.write(target, measured.json)
                measured.report(null, null, isShared = false)
            } catch (error: Exception) {
                AtomicFile.write(target, SelfTestResult.error(describe(error)))
                throw error
            } catch (error: LinkageError) {
                AtomicFile.write(target, SelfTestResult.error(describe(error)))
                throw error
            } catch (error: VirtualMachineError) {
                AtomicFile.write(target, SelfTestResult.error(describe(error)))
                throw error
            }
        }
    }

    /** Writes to the result file that another test is running. Returns the message. */
    private fun reportBusy(result: String?, model: String?, windows: String?): String =
        try {
            val message = context.getString(R.string.selftest_busy)
            AtomicFile.write(resultFile(result, model, windows), SelfTestResult.error(message))
            message
        } catch (error: InputException) {
            errorMessage(error)
        }

    private fun start(name: String, run: () -> SelfTestReport) {
        mutable.update { States(it.byName + (name to JobState.Running(0.0)), name) }
        worker.execute {
            val ended =
                try {
                    JobState.Done(run())
                } catch (error: Exception) {
                    JobState.Failed(describe(error))
                } catch (error: LinkageError) {
                    JobState.Failed(describe(error))
                } catch (error: VirtualMachineError) {
                    JobState.Failed(describe(error))
                }
            set(name, ended)
        }
    }

    private fun describe(error: Throwable): String =
        when (error) {
            is InputException -> errorMessage(error)
            is LinkageError -> context.getString(R.string.library_missing, "${error.message}")
            else -> context.getString(R.string.unexpected, "$error")
        }

    private class Run(val measured: Measurement, val runtime: RuntimeInfo, val device: Device, val sha256: String, val json: String) {
        fun report(parity: Parity?, golden: GoldenVectors?, isShared: Boolean) =
            SelfTestReport(parity, golden, measured, runtime, device, sha256, json.takeIf { isShared })
    }

    private fun measure(name: String, contract: Contract, bytes: ByteBuffer, count: Int, window: (Int) -> FloatArray): Run {
        var runtime: RuntimeInfo? = null
        val load = { TfliteClassifier(bytes, contract).also { runtime = it.runtime } }
        val measured = SelfTest(contract).measure(load, count, window) { set(name, JobState.Running(it)) }
        val used = checkNotNull(runtime)
        val sha256 = sha256(bytes)
        val version = context.packageManager.getPackageInfo(context.packageName, 0).versionName ?: ""
        val json = SelfTestResult.json(version, device(), used, sha256, measured, SelfTest.peakBytes())
        return Run(measured, used, device(), sha256, json)
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
        val file = fileInFolder("result", result)
        if (!file.name.endsWith(".json") || file.name == model || file.name == windows) {
            throw InputException(context.getString(R.string.extra_result))
        }
        return file
    }

    /** Returns whether the result [name] exists in the app folder. */
    fun hasResult(name: String?): Boolean =
        try {
            fileInFolder("result", name).isFile
        } catch (_: InputException) {
            false
        }

    /** Returns a file of the app folder; throws for paths to any other folder. */
    private fun fileInFolder(extra: String, name: String?): File {
        if (name == null || !FILE_NAME.matches(name)) throw InputException(context.getString(R.string.extra_bad, extra))
        val folder = context.getExternalFilesDir(null) ?: throw InputException(context.getString(R.string.record_no_storage))
        return File(folder, name)
    }

    private fun map(extra: String, name: String?): ByteBuffer {
        val file = fileInFolder(extra, name)
        if (!file.isFile) throw InputException(context.getString(R.string.file_missing, file.name))
        if (file.length() > MAX_MB * MB) throw InputException(context.getString(R.string.file_large, file.name, MAX_MB))
        return try {
            RandomAccessFile(file, "r").use { it.channel.map(FileChannel.MapMode.READ_ONLY, 0, it.length()) }
        } catch (error: IOException) {
            throw InputException(context.getString(R.string.file_unreadable, file.name, "${error.message}"), error)
        }
    }

    companion object {
        /** Name of the built-in test; not a valid file name. */
        const val GOLDEN = "the app's own"
        private val FILE_NAME = Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
        private const val MAX_MB = 256L
        private const val MB = 1_000_000L
    }
}
