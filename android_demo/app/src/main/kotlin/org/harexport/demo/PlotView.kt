package org.harexport.demo

import android.content.Context
import android.graphics.Canvas
import android.graphics.Paint
import android.graphics.Path
import android.util.AttributeSet
import android.view.View
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.sqrt

/** The last five seconds of a sensor's three axes, scrolling. */
class PlotView
    @JvmOverloads
    constructor(
        context: Context,
        attributes: AttributeSet? = null,
    ) : View(context, attributes) {
        private val text = Paint(Paint.ANTI_ALIAS_FLAG).apply { textSize = resources.getDimension(R.dimen.text_caption) }
        private val pen =
            Paint(Paint.ANTI_ALIAS_FLAG).apply {
                style = Paint.Style.STROKE
                strokeWidth = STROKE_DP * resources.displayMetrics.density
                strokeJoin = Paint.Join.ROUND
                strokeCap = Paint.Cap.ROUND
            }
        private val path = Path()
        private val gap = resources.getDimension(R.dimen.one)
        private val plot = resources.getDimension(R.dimen.plot)
        private val ages = FloatArray(Trace.ROOM)
        private val axes = Array(Trace.AXES) { FloatArray(Trace.ROOM) }
        private var title = ""
        private var unit = ""
        private var least = 1f
        private var step = 1f
        private var reach = 1f
        private var trace: Trace? = null
        private var running = false

        /** Draws [trace], whose values are in [unit]. The scale shows [least] up and down, or whole [step]s more. */
        fun watch(
            trace: Trace,
            title: String,
            unit: String,
            least: Float,
            step: Float,
        ) {
            this.trace = trace
            this.title = title
            this.unit = unit
            this.least = least
            this.step = step
            requestLayout()
            describe()
            invalidate()
        }

        /** Whether it scrolls on its own. */
        fun run(running: Boolean) {
            this.running = running
            invalidate()
        }

        /** Says in words what is in sight; called now and then, not with every frame. */
        fun describe() {
            val count = trace?.copy(ages, axes) ?: 0
            contentDescription =
                if (count == 0) {
                    context.getString(R.string.plot_empty, title)
                } else {
                    val now = axes.sumOf { (it[count - 1] * it[count - 1]).toDouble() }
                    context.getString(R.string.plot_now, title, sqrt(now), unit)
                }
        }

        private fun lineHeight() = text.fontMetrics.run { descent - ascent }

        private fun heading(reach: Float) = context.getString(R.string.plot_heading, title, reach, unit)

        /** Whether the axes' names have room beside the heading; large text has not, and puts them below it. */
        internal fun inOneLine(width: Int): Boolean {
            text.isFakeBoldText = true
            val names = NAMES.sumOf { text.measureText(it) + LEGEND_GAP.toDouble() * gap }
            text.isFakeBoldText = false
            return text.measureText(heading(WIDEST)) + names <= width
        }

        /** Pixels above the plot itself. */
        private fun above(width: Int) = lineHeight() * (if (inOneLine(width)) 1 else 2) + gap

        override fun onMeasure(
            widthSpec: Int,
            heightSpec: Int,
        ) {
            val width = MeasureSpec.getSize(widthSpec)
            val height = ceil(above(width) + plot).toInt()
            setMeasuredDimension(width, resolveSize(height, heightSpec))
        }

        override fun onDraw(canvas: Canvas) {
            val count = trace?.copy(ages, axes) ?: 0
            reach = least
            for (axis in axes) for (index in 0 until count) reach = maxOf(reach, ceil(abs(axis[index]) / step) * step)
            drawHeading(canvas)
            val top = above(width)
            val middle = (top + height) / 2
            pen.color = context.getColor(R.color.line)
            drawLine(canvas, top)
            drawLine(canvas, middle)
            drawLine(canvas, height - pen.strokeWidth)
            val save = canvas.save()
            canvas.clipRect(0f, top, width.toFloat(), height.toFloat())
            val scale = (height - top) / 2 / reach
            axes.forEachIndexed { axis, values ->
                path.rewind()
                for (index in 0 until count) {
                    val x = width * (1 - ages[index] / SPAN_S)
                    val y = middle - values[index] * scale
                    // A gap in time stays a gap: nothing was measured there.
                    if (index == 0 || ages[index - 1] - ages[index] > GAP_S) path.moveTo(x, y) else path.lineTo(x, y)
                }
                pen.color = context.getColor(COLORS[axis])
                canvas.drawPath(path, pen)
            }
            canvas.restoreToCount(save)
            if (running && isAttachedToWindow && isShown) postInvalidateOnAnimation()
        }

        private fun drawHeading(canvas: Canvas) {
            val baseline = -text.fontMetrics.ascent
            text.textAlign = Paint.Align.LEFT
            text.color = context.getColor(R.color.muted)
            canvas.drawText(heading(reach), 0f, baseline, text)
            val line = if (inOneLine(width)) baseline else baseline + lineHeight()
            var x = width.toFloat()
            text.textAlign = Paint.Align.RIGHT
            for (axis in Trace.AXES - 1 downTo 0) {
                text.color = context.getColor(COLORS[axis])
                text.isFakeBoldText = true
                canvas.drawText(NAMES[axis], x, line, text)
                x -= text.measureText(NAMES[axis]) + LEGEND_GAP * gap
            }
            text.isFakeBoldText = false
        }

        private fun drawLine(
            canvas: Canvas,
            y: Float,
        ) = canvas.drawLine(0f, y, width.toFloat(), y, pen)

        private companion object {
            const val STROKE_DP = 1.75f
            const val SPAN_S = Trace.SPAN_NS / 1e9f
            const val LEGEND_GAP = 1.5f

            /** A scale that hardly any movement exceeds: the lines must not change with every sample. */
            const val WIDEST = 100f
            const val GAP_S = 0.2f
            val COLORS = intArrayOf(R.color.axis_x, R.color.axis_y, R.color.axis_z)
            val NAMES = arrayOf("x", "y", "z")
        }
    }
