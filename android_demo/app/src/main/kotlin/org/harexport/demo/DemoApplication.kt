package org.harexport.demo

import android.app.Activity
import android.app.Application
import java.io.File
import java.io.FileInputStream
import java.io.FileOutputStream
import java.io.OutputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors
import org.harexport.core.RecordingWriter

/** Holds everything that survives a rotation: the model, recognition, the self-test and the recording. */
open class DemoApplication : Application() {
    private val worker: ExecutorService = Executors.newSingleThreadExecutor { Thread(it, "worker").apply { isDaemon = true } }

    val model by lazy { ModelLoader(this, ::asset) }
    val live by lazy { LiveSession(this) }
    val selfTest by lazy { SelfTestJob(this, model, worker) }
    val recording by lazy { RecordingSession(this, ::recordings, ::openRecording) }

    /** Error message if interrupted recordings could not be restored; null otherwise. */
    @Volatile
    var recoveryError: String? = null
        private set

    override fun onCreate() {
        super.onCreate()
        worker.execute {
            // Recording requires the model's contract, so no recording is being written yet.
            // A failure here must not prevent loading the model.
            recoveryError =
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

    /** The app folder that adb can access; null while the storage is unavailable. */
    fun folder(): File? = getExternalFilesDir(null)

    /** The folder of the recordings. */
    fun recordings(): File? = folder()?.let { File(it, RECORDINGS) }

    protected open fun recover() {
        recordings()?.let(RecordingWriter::recover)
    }

    /** Returns a file of assets/. Only the model is stored uncompressed in the APK and can be mapped into memory. */
    protected open fun asset(name: String): ByteBuffer =
        if (name == ModelLoader.MODEL) map(name) else ByteBuffer.wrap(assets.open(name).use { it.readBytes() })

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

val Activity.demo: DemoApplication get() = application as DemoApplication
