package org.harexport.demo

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.content.Intent
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.OpenableColumns
import java.io.File
import java.io.FileNotFoundException

/** Gives other apps read access to single recordings that the user shares. */
class RecordingProvider : ContentProvider() {
    override fun onCreate(): Boolean = true

    override fun getType(uri: Uri): String = TYPE

    override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor {
        if (mode != "r") throw SecurityException("recordings are read-only")
        return ParcelFileDescriptor.open(file(uri), ParcelFileDescriptor.MODE_READ_ONLY)
    }

    override fun query(
        uri: Uri,
        projection: Array<String>?,
        selection: String?,
        selectionArgs: Array<String>?,
        sortOrder: String?,
    ): Cursor {
        val file = file(uri)
        val known = mapOf<String, Any>(OpenableColumns.DISPLAY_NAME to file.name, OpenableColumns.SIZE to file.length())
        val columns = projection ?: known.keys.toTypedArray()
        return MatrixCursor(columns, 1).apply { addRow(columns.map { known[it] }) }
    }

    /** Returns a recording; throws FileNotFoundException for any other path. */
    private fun file(uri: Uri): File {
        val folder = context?.getExternalFilesDir(null)?.let { File(it, DemoApplication.RECORDINGS) }
        val name = uri.pathSegments.singleOrNull()
        return folder?.listFiles()?.firstOrNull { it.name == name && it.name.endsWith(SUFFIX) }
            ?: throw FileNotFoundException("no such recording")
    }

    override fun insert(uri: Uri, values: ContentValues?): Uri? = throw UnsupportedOperationException()

    override fun update(uri: Uri, values: ContentValues?, selection: String?, selectionArgs: Array<String>?): Int =
        throw UnsupportedOperationException()

    override fun delete(uri: Uri, selection: String?, selectionArgs: Array<String>?): Int = throw UnsupportedOperationException()

    companion object {
        const val SUFFIX = ".csv"
        private const val TYPE = "text/csv"

        /** Returns an intent that shares [recording], a file of the recordings folder. */
        fun share(context: Context, recording: File): Intent {
            val uri = Uri.Builder().scheme("content").authority("${context.packageName}.recordings").appendPath(recording.name).build()
            val send = Intent(Intent.ACTION_SEND).setType(TYPE).putExtra(Intent.EXTRA_STREAM, uri)
            send.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
            send.clipData = android.content.ClipData.newRawUri(recording.name, uri)
            return Intent.createChooser(send, recording.name)
        }
    }
}
