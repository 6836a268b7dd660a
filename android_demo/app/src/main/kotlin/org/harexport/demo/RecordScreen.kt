package org.harexport.demo

import android.text.format.Formatter
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.GridLayout
import android.widget.RadioButton
import android.widget.TextView
import java.io.File
import org.harexport.core.Contract
import org.harexport.core.Sensor

/** Labelled recordings: one is made, those that there are can be shared and deleted. */
class RecordScreen(root: View, private val demo: DemoApplication) : Screen(root) {
    private val context = root.context
    private val inflater = LayoutInflater.from(context)
    private val notice: TextView = root.part(R.id.record_notice)
    private val choices: GridLayout = root.part(R.id.record_labels)
    private val elapsed: TextView = root.part(R.id.record_elapsed)
    private val counts: TextView = root.part(R.id.record_counts)
    private val toggle: Button = root.part(R.id.record_toggle)
    private val list: ViewGroup = root.part(R.id.record_list)
    private var listed = false

    /** The label that is chosen; MainActivity keeps it through a rotation. */
    var label: String? = null

    init {
        toggle.setOnClickListener {
            toggle()
            render()
        }
        val where = "/sdcard/Android/data/${context.packageName}/files/${DemoApplication.RECORDINGS}"
        root.part<TextView>(R.id.record_where).text = context.getString(R.string.record_where, where)
    }

    private fun toggle() {
        val chosen = label
        val contract = demo.model.contract
        if (demo.recording.recording) demo.recording.stop()
        else if (chosen != null && contract != null) demo.recording.start(chosen, contract.rateHz)
    }

    override fun show() {
        listed = false
        super.show()
    }

    override fun render() {
        val state = demo.model.state
        val contract = demo.model.contract
        if (contract != null && choices.childCount == 0) {
            choices(contract)
            listed = false // what a crash left behind has been brought back by now
        }
        val now = demo.recording.snapshot()
        val words = notice(now) ?: (state as? ModelState.Refused)?.takeIf { contract == null }?.let { it.sentence to false }
        notice.sayOrHide(words?.first)
        if (words != null) {
            notice.setBackgroundResource(if (words.second) R.drawable.tint_good else R.drawable.tint_warn)
            notice.setTextColor(context.getColor(if (words.second) R.color.good else R.color.warn))
        }
        elapsed.say(elapsed(now.elapsedMs))
        val spoken = context.getString(R.string.record_elapsed_spoken, elapsed(now.elapsedMs).substringBefore('.'))
        if (elapsed.contentDescription != spoken) elapsed.contentDescription = spoken // not with every tenth of a second
        elapsed.setTextColor(context.getColor(if (now.recording) R.color.bad else R.color.muted))
        val ready = label != null && contract != null && demo.recording.sensors.isNotEmpty()
        counts.say(
            if (now.samples.isNotEmpty()) now.samples.entries.joinToString(" · ") { counted(it.key, it.value) }
            else if (contract != null && label == null) context.getString(R.string.record_choose)
            else "",
        )
        toggle.isEnabled = now.recording || (ready && !now.saving)
        toggle.setBackgroundResource(if (now.recording) R.drawable.button_stop else R.drawable.button)
        toggle.setText(if (now.recording) R.string.record_stop else R.string.record_start)
        for (index in 0 until choices.childCount) choices.getChildAt(index).isEnabled = !now.recording
        if (now.recording || now.saving) listed = false else if (!listed) list()
    }

    /** Words, and whether they are good news. */
    private fun notice(now: RecordingSnapshot): Pair<String, Boolean>? {
        val missing = Sensor.values().firstOrNull { it !in demo.recording.sensors }
        return when {
            demo.recording.sensors.isEmpty() -> context.getString(R.string.record_no_sensors) to false
            now.warning != null -> now.warning to false
            now.ended != null -> now.ended to !now.badly
            demo.unrecovered != null -> demo.unrecovered?.let { it to false }
            missing != null -> context.getString(R.string.record_only, missing.title) to false
            else -> null
        }
    }

    private fun counted(sensor: Sensor, count: Long) = context.getString(R.string.record_count, name(context, sensor), count)

    private fun choices(contract: Contract) {
        choices.columnCount = if (context.resources.configuration.fontScale > LARGE) 1 else 2
        for (one in contract.labels) {
            val choice = inflater.inflate(R.layout.choice, choices, false) as RadioButton
            choice.text = spoken(one)
            choice.isChecked = one == label
            choice.setOnClickListener {
                label = one
                for (index in 0 until choices.childCount) (choices.getChildAt(index) as RadioButton).isChecked = false
                choice.isChecked = true
                render()
            }
            (choice.layoutParams as GridLayout.LayoutParams).columnSpec = GridLayout.spec(GridLayout.UNDEFINED, GridLayout.FILL, 1f)
            choices.addView(choice)
        }
    }

    private fun list() {
        val files = demo.recordings()?.listFiles { file -> file.name.endsWith(RecordingProvider.SUFFIX) }.orEmpty()
        val newest = files.sortedByDescending { it.lastModified() }
        listed = true
        list.removeAllViews()
        for (file in newest) list.addView(row(file))
        if (newest.isEmpty()) {
            val empty = inflater.inflate(R.layout.row_recording, list, false)
            empty.part<TextView>(R.id.recording_name).setText(R.string.record_empty)
            empty.part<View>(R.id.recording_size).visibility = View.GONE
            empty.part<View>(R.id.recording_buttons).visibility = View.GONE
            list.addView(empty)
        }
    }

    private fun row(file: File): View {
        val row = inflater.inflate(R.layout.row_recording, list, false)
        row.part<TextView>(R.id.recording_name).text = file.name
        row.part<TextView>(R.id.recording_size).text = Formatter.formatShortFileSize(context, file.length())
        val share = row.part<Button>(R.id.recording_share)
        share.contentDescription = context.getString(R.string.record_share_this, file.name)
        share.setOnClickListener { context.startOrSay(RecordingProvider.share(context, file)) }
        val delete = row.part<Button>(R.id.recording_delete)
        delete.contentDescription = context.getString(R.string.record_delete_this, file.name)
        delete.setOnClickListener {
            if (delete.isActivated) {
                file.delete()
                list()
            } else {
                // The second tap deletes; a dialog would not survive a rotation.
                delete.isActivated = true
                delete.setText(R.string.record_delete_sure)
                delete.contentDescription = null
            }
        }
        return row
    }

    private companion object {
        const val LARGE = 1.3f
    }
}
