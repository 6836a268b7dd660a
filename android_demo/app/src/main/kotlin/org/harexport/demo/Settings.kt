package org.harexport.demo

import android.content.Context
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import org.json.JSONArray
import org.json.JSONException

/** Where a recording's phone is worn. [code] is its name in files. */
enum class Placement(val code: String, val text: Int) {
    WAIST("waist", R.string.placement_waist),
    POCKET("pocket", R.string.placement_pocket),
    HAND("hand", R.string.placement_hand),
}

/** How a change of activity is announced. */
enum class Announcement(val text: Int) {
    NONE(R.string.announce_none),
    HAPTICS(R.string.announce_haptics),
    VOICE(R.string.announce_voice),
}

/**
 * What the user chose.
 *
 * @property subject who is recorded
 * @property labels the labels of recordings in the user's order; empty for those of the model
 * @property countdownSeconds time between the button and the first sample
 * @property trimSeconds duration that is left out at the start and at the end
 */
data class Choices(
    val subject: String = "",
    val placement: Placement = Placement.WAIST,
    val labels: List<String> = emptyList(),
    val countdownSeconds: Int = 3,
    val trimSeconds: Int = 0,
    val announcement: Announcement = Announcement.NONE,
)

/** Remembers [Choices] on the phone. */
class Settings(context: Context) {
    private val stored = context.getSharedPreferences("choices", Context.MODE_PRIVATE)
    private val mutable = MutableStateFlow(read())
    val choices: StateFlow<Choices> = mutable

    fun update(change: (Choices) -> Choices) {
        val now = change(mutable.value)
        mutable.value = now
        stored.edit()
            .putString("subject", now.subject)
            .putString("placement", now.placement.name)
            .putString("labels", JSONArray(now.labels).toString())
            .putInt("countdown", now.countdownSeconds)
            .putInt("trim", now.trimSeconds)
            .putString("announcement", now.announcement.name)
            .apply()
    }

    private fun read(): Choices {
        val default = Choices()
        return Choices(
            subject = stored.getString("subject", null) ?: default.subject,
            placement = Placement.entries.firstOrNull { it.name == stored.getString("placement", null) } ?: default.placement,
            labels = readLabels(),
            countdownSeconds = stored.getInt("countdown", default.countdownSeconds),
            trimSeconds = stored.getInt("trim", default.trimSeconds),
            announcement = Announcement.entries.firstOrNull { it.name == stored.getString("announcement", null) } ?: default.announcement,
        )
    }

    private fun readLabels(): List<String> =
        try {
            val json = JSONArray(stored.getString("labels", "[]"))
            List(json.length()) { json.getString(it) }
        } catch (_: JSONException) {
            emptyList()
        }
}
