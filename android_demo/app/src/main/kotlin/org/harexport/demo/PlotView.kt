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

/** A scrolling plot of the last five seconds of a sensor with three axes. */
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
        private val ages = FloatArray(Trace.CAPACITY)
        private val axes = Array(Trace.AXES) { FloatArray(Trace.CAPACITY) }
        private var title = ""
        private var unit = ""
        private var minRange = 1f
        private var step = 1f
        private var range = 1f
        private var trace: Trace? = null
        private var isScrolling = false

        /**
         * Shows [trace], whose values are in [unit]. The vertical range is at minRange ±[minRange] and grows in steps of
         * [step].
         */
        fun bind(
            trace: Trace,
            title: String,
            unit: String,
            minRange: Float,
            step: Float,
        ) {
            this.trace = trace
            this.title = title
            this.unit = unit
            this.minRange = minRange
            this.step = step
            requestLayout()
            updateDescription()
            invalidate()
        }

        /** Enables or disables scrolling. */
        fun setScrolling(isScrolling: Boolean) {
            this.isScrolling = isScrolling
            invalidate()
        }

        /** Updates the description for screen readers; called less often than the plot is drawn. */
        fun updateDescription() {
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

        private fun heading(range: Float) = context.getString(R.string.plot_heading, title, range, unit)

        /** Returns whether the axis names fit beside the heading; with large text they are below it. */
        internal fun fitsOneLine(width: Int): Boolean {
            text.isFakeBoldText = true
            val names = NAMES.sumOf { text.measureText(it) + LEGEND_GAP.toDouble() * gap }
            text.isFakeBoldText = false
            return text.measureText(heading(WIDEST)) + names <= width
        }

        /** Height above the plot area in pixels. */
        private fun above(width: Int) = lineHeight() * (if (fitsOneLine(width)) 1 else 2) + gap

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
            range = minRange
            for (axis in axes) for (index in 0 until count) range = maxOf(range, ceil(abs(axis[index]) / step) * step)
            drawHeading(canvas)
            val top = above(width)
            val middle = (top + height) / 2
            pen.color = context.getColor(R.color.line)
            drawLine(canvas, top)
            drawLine(canvas, middle)
            drawLine(canvas, height - pen.strokeWidth)
            val save = canvas.save()
            canvas.clipRect(0f, top, width.toFloat(), height.toFloat())
            val scale = (height - top) / 2 / range
            axes.forEachIndexed { axis, values ->
                path.rewind()
                for (index in 0 until count) {
                    val x = width * (1 - ages[index] / SPAN_S)
                    val y = middle - values[index] * scale
                    // No line across gaps in the data.
                    if (index == 0 || ages[index - 1] - ages[index] > GAP_S) path.moveTo(x, y) else path.lineTo(x, y)
                }
                pen.color = context.getColor(COLORS[axis])
                canvas.drawPath(path, pen)
            }
            canvas.restoreToCount(save)
            if (isScrolling && isAttachedToWindow && isShown) postInvalidateOnAnimation()
        }

        private fun drawHeading(canvas: Canvas) {
            val baseline = -text.fontMetrics.ascent
            text.textAlign = Paint.Align.LEFT
            text.color = context.getColor(R.color.muted)
            canvas.drawText(heading(range), 0f, baseline, text)
            val line = if (fitsOneLine(width)) baseline else baseline + lineHeight()
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

            /** A range that is rarely exceeded, so that the layout does not change with every sample. */
            const val WIDEST = 100f
            const val GAP_S = 0.2f
            val COLORS = intArrayOf(R.color.axis_x, R.color.axis_y, R.color.axis_z)
            val NAMES = arrayOf("x", "y", "z")
        }
    }
