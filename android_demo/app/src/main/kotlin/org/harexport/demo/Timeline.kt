package org.harexport.demo

import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import org.harexport.core.Prediction

/** An interval of one activity; [label] is null where there was no reliable prediction. Times are milliseconds since 1970. */
data class Segment(val label: String?, val startMs: Long, val endMs: Long) {
    val durationMs: Long get() = endMs - startMs
}

/** The activities of a session in their order. Immutable, so that it can be shown while the session goes on. */
class Timeline(val segments: List<Segment> = emptyList()) {
    val startMs: Long get() = segments.firstOrNull()?.startMs ?: 0L
    val endMs: Long get() = segments.lastOrNull()?.endMs ?: 0L

    /** Duration of each activity in milliseconds, the longest first; without intervals that have no reliable prediction. */
    val totals: List<Pair<String, Long>>
        get() =
            segments.filter { it.label != null }.groupBy { it.label.orEmpty() }
                .map { (label, parts) -> label to parts.sumOf { it.durationMs } }
                .sortedByDescending { it.second }

    /**
     * Returns the timeline with [prediction] at its end.
     *
     * @param endMs time of the end of the window
     * @param seconds time since the window before
     */
    fun plus(prediction: Prediction, endMs: Long, seconds: Double): Timeline =
        plus(prediction.smoothedLabel.takeIf { prediction.qualityFlag == null }, endMs, (seconds * MS).toLong())

    internal fun plus(label: String?, endMs: Long, durationMs: Long): Timeline {
        val last = segments.lastOrNull()
        // Windows follow each other; a longer pause is an interval of its own.
        val startMs = if (last != null && endMs - durationMs - last.endMs < durationMs) last.endMs else endMs - durationMs
        if (endMs <= startMs) return this // the clock was set back
        if (last != null && last.label == label && last.endMs == startMs) return Timeline(segments.dropLast(1) + last.copy(endMs = endMs))
        val pause = if (last != null && startMs > last.endMs) listOf(Segment(null, last.endMs, startMs)) else emptyList()
        return Timeline(segments + pause + Segment(label, startMs, endMs))
    }

    /** Returns the timeline as CSV: start, end, seconds and activity of each interval. */
    fun csv(): String {
        val format = SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss", Locale.ROOT)
        val lines = segments.map { "${format.format(Date(it.startMs))},${format.format(Date(it.endMs))},${String.format(Locale.ROOT, "%.1f", it.durationMs / MS)},${quote(it.label.orEmpty())}" }
        return (listOf("start,end,seconds,activity") + lines).joinToString("\n", postfix = "\n")
    }

    private fun quote(text: String) = if (text.any { it in ",\"" }) "\"" + text.replace("\"", "\"\"") + "\"" else text

    private companion object {
        const val MS = 1e3
    }
}
