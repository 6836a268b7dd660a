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

    override fun onCreate() {
        super.onCreate()
        worker.execute {
            // Before the model is there nothing can be recorded, so this is never in a recording's way.
            recordings()?.let(RecordingWriter::recover)
            model.load()
        }
    }

    /** The app's folder that adb reaches; null while the storage is not there. */
    fun folder(): File? = getExternalFilesDir(null)

    /** Where recordings lie. */
    fun recordings(): File? = folder()?.let { File(it, RECORDINGS) }

    /** A file of assets/, mapped into memory. It must be stored in the APK uncompressed. */
    protected open fun asset(name: String): ByteBuffer =
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
