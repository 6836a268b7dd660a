package org.harexport.demo

import android.app.Application
import android.content.Context
import android.content.pm.ApplicationInfo
import android.os.StrictMode
import java.io.File
import java.io.FileInputStream
import java.io.FileOutputStream
import java.io.OutputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import org.harexport.core.RecordingWriter
import org.harexport.core.SampleBatcher

/** Holds everything that outlives a screen: the model, recognition, the self-test, recordings and settings. */
open class DemoApplication : Application() {
    /** Runs one job after the other: loading, self-tests, replays and files. */
    val worker: ExecutorService = Executors.newSingleThreadExecutor { Thread(it, "worker").apply { isDaemon = true } }
    val dispatcher by lazy { worker.asCoroutineDispatcher() }
    private val scope by lazy { CoroutineScope(SupervisorJob() + Dispatchers.Main.immediate) }

    val model by lazy { ModelLoader(this, ::asset) { live.available } }
    val live by lazy { LiveSession(this, scope) }
    val selfTest by lazy { SelfTestJob(this, model, worker) }
    val recording by lazy { RecordingSession(this, scope, ::recordings, ::openRecording) }
    val settings by lazy { Settings(this) }

    private val mutableBackground = MutableStateFlow(false)

    /** Whether recognition goes on while the app is not visible. */
    val background: StateFlow<Boolean> = mutableBackground
    private val mutableServiceError = MutableStateFlow<String?>(null)

    /** Error message if the phone does not let the app run in the background; null otherwise. */
    val serviceError: StateFlow<String?> = mutableServiceError
    private val mutableVisible = MutableStateFlow(false)
    val visible: StateFlow<Boolean> = mutableVisible

    private var isLoading = false
    private val mutableRecoveryError = MutableStateFlow<String?>(null)

    /** Error message if interrupted recordings could not be restored; null otherwise. */
    val recoveryError: StateFlow<String?> = mutableRecoveryError

    override fun onCreate() {
        super.onCreate()
        if (applicationInfo.flags and ApplicationInfo.FLAG_DEBUGGABLE != 0) {
            StrictMode.setThreadPolicy(StrictMode.ThreadPolicy.Builder().detectAll().penaltyLog().build())
            StrictMode.setVmPolicy(StrictMode.VmPolicy.Builder().detectAll().penaltyLog().build())
        }
    }

    /** Restores interrupted recordings and loads the model, once. */
    @Synchronized
    fun load() {
        if (isLoading) return
        isLoading = true
        worker.execute {
            // Recording requires the model's contract, so no recording is being written yet.
            // A failure here must not prevent loading the model.
            mutableRecoveryError.value =
                try {
                    recover()
                    null
                } catch (error: RuntimeException) {
                    getString(R.string.record_recovery_failed, "$error")
                } catch (error: VirtualMachineError) {
                    getString(R.string.record_recovery_failed, "$error")
                }
            model.load()
        }
    }

    /** Called when the app becomes visible or leaves the screen; not during a rotation. */
    fun setVisible(isVisible: Boolean) {
        mutableVisible.value = isVisible
        if (isVisible) {
            live.setBatchSeconds(0.0)
            startLive()
        } else if (background.value) {
            live.setBatchSeconds(SampleBatcher.BACKGROUND_SECONDS)
        } else {
            live.stop()
        }
    }

    /** Starts recognition if the model has been verified and the app is visible. */
    fun startLive() {
        val state = model.state
        if (visible.value && state is ModelState.Verified) live.start(state.model)
    }

    /** Lets recognition go on while the app is not visible. A refusal of the phone is reported in [serviceError]. */
    fun setBackground(isOn: Boolean) {
        mutableBackground.value = isOn
        if (isOn) ActivityService.start(this) else if (!visible.value) live.stop()
    }

    /** Called when the phone has accepted the service (null), or refused it with an [error]. */
    fun onService(error: RuntimeException?) {
        mutableServiceError.value = error?.let { getString(R.string.service_refused, "${it.message}") }
        if (error != null) setBackground(false)
    }

    /** The app folder that adb can access; null while the storage is unavailable. */
    fun folder(): File? = getExternalFilesDir(null)

    /** The folder of the recordings. */
    fun recordings(): File? = folder()?.let { File(it, RECORDINGS) }

    protected open fun recover() {
        recordings()?.let(RecordingWriter::recover)
    }

    /** Returns a file of assets/. Only the models are stored uncompressed in the APK and can be mapped into memory. */
    protected open fun asset(name: String): ByteBuffer =
        if (name.endsWith(ModelLoader.MODEL)) map(name) else ByteBuffer.wrap(assets.open(name).use { it.readBytes() })

    private fun map(name: String): ByteBuffer =
        assets.openFd(name).use { asset ->
            FileInputStream(asset.fileDescriptor).use {
                it.channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.length)
            }
        }

    protected open fun openRecording(file: File): OutputStream = FileOutputStream(file)

    companion object {
        const val RECORDINGS = "recordings"
    }
}

val Context.demo: DemoApplication get() = applicationContext as DemoApplication
