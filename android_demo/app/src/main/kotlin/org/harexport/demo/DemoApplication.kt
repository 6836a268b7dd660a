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

/** What outlives a rotation: the model, and whatever is being listened to, tested or recorded. */
open class DemoApplication : Application() {
    private val worker: ExecutorService = Executors.newSingleThreadExecutor { Thread(it, "worker").apply { isDaemon = true } }

    val model by lazy { ModelLoader(this, ::asset) }
    val live by lazy { LiveSession(this) }
    val selfTest by lazy { SelfTestJob(this, model, worker) }
    val recording by lazy { RecordingSession(this, ::recordings, ::openRecording) }

    /** Why recordings that a crash left behind could not be brought back, in words; null where nothing went wrong. */
    @Volatile
    var unrecovered: String? = null
        private set

    override fun onCreate() {
        super.onCreate()
        worker.execute {
            // Before the model is there nothing can be recorded, so this is never in a recording's way.
            // What goes wrong with it must not cost the model, nor the app.
            unrecovered =
                try {
                    recover()
                    null
                } catch (error: RuntimeException) {
                    getString(R.string.record_unrecovered, "$error")
                } catch (error: VirtualMachineError) {
                    getString(R.string.record_unrecovered, "$error")
                }
            model.load()
        }
    }

    /** The app's folder that adb reaches; null while the storage is not there. */
    fun folder(): File? = getExternalFilesDir(null)

    /** Where recordings lie. */
    fun recordings(): File? = folder()?.let { File(it, RECORDINGS) }

    protected open fun recover() {
        recordings()?.let(RecordingWriter::recover)
    }

    /** A file of assets/. Only the model, which an APK stores uncompressed, can be mapped into memory: the others are deflated. */
    protected open fun asset(name: String): ByteBuffer =
        if (name == ModelLoader.MODEL) mapped(name) else ByteBuffer.wrap(assets.open(name).use { it.readBytes() })

    private fun mapped(name: String): ByteBuffer =
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
