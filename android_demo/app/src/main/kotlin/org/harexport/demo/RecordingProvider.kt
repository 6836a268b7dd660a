package org.harexport.demo

import android.content.ClipData
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

/** Gives other apps read access to single recordings, zips and timelines that the user shares. */
class RecordingProvider : ContentProvider() {
    override fun onCreate(): Boolean = true

    override fun getType(uri: Uri): String = type(uri.lastPathSegment.orEmpty())

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

    /** Returns a recording or shared file; throws FileNotFoundException for any other path. */
    private fun file(uri: Uri): File {
        val context = checkNotNull(context)
        val folders = listOfNotNull(context.getExternalFilesDir(null)?.let { File(it, DemoApplication.RECORDINGS) }, shared(context))
        val name = uri.pathSegments.singleOrNull()
        return folders.flatMap { it.listFiles().orEmpty().asList() }.firstOrNull { it.name == name && it.isFile && TYPES.containsKey(it.extension) }
            ?: throw FileNotFoundException("no such recording")
    }

    override fun insert(uri: Uri, values: ContentValues?): Uri? = throw UnsupportedOperationException()

    override fun update(uri: Uri, values: ContentValues?, selection: String?, selectionArgs: Array<String>?): Int =
        throw UnsupportedOperationException()

    override fun delete(uri: Uri, selection: String?, selectionArgs: Array<String>?): Int = throw UnsupportedOperationException()

    companion object {
        private val TYPES = mapOf("csv" to "text/csv", "zip" to "application/zip", "png" to "image/png")

        private fun type(name: String): String = TYPES[name.substringAfterLast('.')] ?: "application/octet-stream"

        /** The folder of files that are made for sharing; Android may delete them. */
        fun shared(context: Context): File = File(context.cacheDir, "shared")

        /** Returns an intent that shares [file], which is a recording or in the folder [shared]. */
        fun share(context: Context, file: File): Intent {
            val uri = Uri.Builder().scheme("content").authority("${context.packageName}.recordings").appendPath(file.name).build()
            val send = Intent(Intent.ACTION_SEND).setType(type(file.name)).putExtra(Intent.EXTRA_STREAM, uri)
            send.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
            send.clipData = ClipData.newRawUri(file.name, uri)
            return Intent.createChooser(send, file.name)
        }
    }
}
