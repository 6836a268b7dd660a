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

/** Creates, shares and deletes labeled recordings. */
class RecordScreen(root: View, private val demo: DemoApplication) : Screen(root) {
    private val context = root.context
    private val inflater = LayoutInflater.from(context)
    private val notice: TextView = root.requireView(R.id.record_notice)
    private val choices: GridLayout = root.requireView(R.id.record_labels)
    private val elapsed: TextView = root.requireView(R.id.record_elapsed)
    private val counts: TextView = root.requireView(R.id.record_counts)
    private val toggle: Button = root.requireView(R.id.record_toggle)
    private val list: ViewGroup = root.requireView(R.id.record_list)
    private var isListed = false

    /** The selected label; MainActivity saves it during a rotation. */
    var label: String? = null

    init {
        toggle.setOnClickListener {
            toggle()
            render()
        }
        val path = "/sdcard/Android/data/${context.packageName}/files/${DemoApplication.RECORDINGS}"
        root.requireView<TextView>(R.id.record_where).text = context.getString(R.string.record_where, path)
    }

    private fun toggle() {
        val chosen = label
        val contract = demo.model.contract
        if (demo.recording.recording) demo.recording.stop()
        else if (chosen != null && contract != null) demo.recording.start(chosen, contract.rateHz)
    }

    override fun show() {
        isListed = false
        super.show()
    }

    override fun render() {
        val state = demo.model.state
        val contract = demo.model.contract
        if (contract != null && choices.childCount == 0) {
            addChoices(contract)
            isListed = false // interrupted recordings have been restored by now
        }
        val now = demo.recording.snapshot()
        val message = notice(now) ?: (state as? ModelState.Rejected)?.takeIf { contract == null }?.let { it.message to false }
        notice.setTextOrHide(message?.first)
        if (message != null) {
            notice.setBackgroundResource(if (message.second) R.drawable.tint_good else R.drawable.tint_warn)
            notice.setTextColor(context.getColor(if (message.second) R.color.good else R.color.warn))
        }
        elapsed.setTextIfChanged(formatElapsed(now.elapsedMs))
        val description = context.getString(R.string.record_elapsed_spoken, formatElapsed(now.elapsedMs).substringBefore('.'))
        if (elapsed.contentDescription != description) elapsed.contentDescription = description // once per second
        elapsed.setTextColor(context.getColor(if (now.recording) R.color.bad else R.color.muted))
        val isReady = label != null && contract != null && demo.recording.sensors.isNotEmpty()
        counts.setTextIfChanged(
            if (now.samples.isNotEmpty()) now.samples.entries.joinToString(" · ") { describeCount(it.key, it.value) }
            else if (contract != null && label == null) context.getString(R.string.record_choose)
            else "",
        )
        toggle.isEnabled = now.recording || (isReady && !now.saving)
        toggle.setBackgroundResource(if (now.recording) R.drawable.button_stop else R.drawable.button)
        toggle.setText(if (now.recording) R.string.record_stop else R.string.record_start)
        for (index in 0 until choices.childCount) choices.getChildAt(index).isEnabled = !now.recording
        if (now.recording || now.saving) isListed = false else if (!isListed) updateList()
    }

    /** Returns a message and whether it reports success; null for none. */
    private fun notice(now: RecordingSnapshot): Pair<String, Boolean>? {
        val missing = Sensor.values().firstOrNull { it !in demo.recording.sensors }
        return when {
            demo.recording.sensors.isEmpty() -> context.getString(R.string.record_no_sensors) to false
            now.warning != null -> now.warning to false
            now.result != null -> now.result to !now.isFailure
            demo.recoveryError != null -> demo.recoveryError?.let { it to false }
            missing != null -> context.getString(R.string.record_only, missing.title) to false
            else -> null
        }
    }

    private fun describeCount(sensor: Sensor, count: Long) = context.getString(R.string.record_count, sensorName(context, sensor), count)

    private fun addChoices(contract: Contract) {
        choices.columnCount = if (context.resources.configuration.fontScale > LARGE) 1 else 2
        for (item in contract.labels) {
            val choice = inflater.inflate(R.layout.choice, choices, false) as RadioButton
            choice.text = displayName(item)
            choice.isChecked = item == label
            choice.setOnClickListener {
                label = item
                for (index in 0 until choices.childCount) (choices.getChildAt(index) as RadioButton).isChecked = false
                choice.isChecked = true
                render()
            }
            (choice.layoutParams as GridLayout.LayoutParams).columnSpec = GridLayout.spec(GridLayout.UNDEFINED, GridLayout.FILL, 1f)
            choices.addView(choice)
        }
    }

    private fun updateList() {
        val files = demo.recordings()?.listFiles { file -> file.name.endsWith(RecordingProvider.SUFFIX) }.orEmpty()
        val newest = files.sortedByDescending { it.lastModified() }
        isListed = true
        list.removeAllViews()
        for (file in newest) list.addView(createRow(file))
        if (newest.isEmpty()) {
            val empty = inflater.inflate(R.layout.row_recording, list, false)
            empty.requireView<TextView>(R.id.recording_name).setText(R.string.record_empty)
            empty.requireView<View>(R.id.recording_size).visibility = View.GONE
            empty.requireView<View>(R.id.recording_buttons).visibility = View.GONE
            list.addView(empty)
        }
    }

    private fun createRow(file: File): View {
        val row = inflater.inflate(R.layout.row_recording, list, false)
        row.requireView<TextView>(R.id.recording_name).text = file.name
        row.requireView<TextView>(R.id.recording_size).text = Formatter.formatShortFileSize(context, file.length())
        val share = row.requireView<Button>(R.id.recording_share)
        share.contentDescription = context.getString(R.string.record_share_this, file.name)
        share.setOnClickListener { context.startOrReport(RecordingProvider.share(context, file)) }
        val delete = row.requireView<Button>(R.id.recording_delete)
        delete.contentDescription = context.getString(R.string.record_delete_this, file.name)
        delete.setOnClickListener {
            if (delete.isActivated) {
                file.delete()
                updateList()
            } else {
                // The second tap deletes: a dialog would be lost by a rotation.
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
