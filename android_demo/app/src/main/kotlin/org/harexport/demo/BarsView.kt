package org.harexport.demo

import android.content.Context
import android.graphics.Canvas
import android.graphics.Paint
import android.util.AttributeSet
import android.view.View
import kotlin.math.ceil
import kotlin.math.roundToInt

/** A bar chart of probabilities, one bar per label, with a description for screen readers. */
class BarsView
    @JvmOverloads
    constructor(
        context: Context,
        attributes: AttributeSet? = null,
    ) : View(context, attributes) {
        private val text =
            Paint(Paint.ANTI_ALIAS_FLAG).apply {
                textSize = resources.getDimension(R.dimen.text_caption)
            }
        private val bar = Paint(Paint.ANTI_ALIAS_FLAG)
        private val gap = resources.getDimension(R.dimen.one)
        private val thickness = resources.getDimension(R.dimen.one)
        private val percent = context.getString(R.string.percent, HUNDRED)
        private var labels: List<String> = emptyList()
        private var probabilities: List<Double> = emptyList()

        /**
         * Shows [probabilities] of [labels] in their order. [probabilities] may be empty while there is no prediction.
         */
        fun show(
            labels: List<String>,
            probabilities: List<Double>,
        ) {
            if (labels != this.labels) {
                this.labels = labels
                requestLayout()
            }
            this.probabilities = probabilities
            contentDescription =
                if (probabilities.isEmpty()) {
                    context.getString(R.string.bars_empty)
                } else {
                    labels.indices
                        .sortedByDescending { probabilities[it] }
                        .joinToString(", ") { "${labels[it]} ${percent(probabilities[it])}" }
                }
            invalidate()
        }

        private fun percent(share: Double) = context.getString(R.string.percent, (share * HUNDRED).roundToInt())

        private fun lineHeight() = text.fontMetrics.run { descent - ascent }

        /** Returns whether label, bar and value fit side by side; otherwise the bar is below the text. */
        private fun inOneRow(width: Int) = widest() + text.measureText(percent) + 2 * gap < width * TEXT_SHARE

        private fun rowHeight(oneRow: Boolean) = lineHeight() + gap + if (oneRow) 0f else thickness + gap

        private fun widest() = labels.maxOfOrNull { text.measureText(it) } ?: 0f

        override fun onMeasure(
            widthSpec: Int,
            heightSpec: Int,
        ) {
            val width = MeasureSpec.getSize(widthSpec)
            val row = rowHeight(inOneRow(width))
            setMeasuredDimension(width, resolveSize(ceil(row * labels.size).toInt(), heightSpec))
        }

        override fun onDraw(canvas: Canvas) {
            val oneRow = inOneRow(width)
            val row = rowHeight(oneRow)
            val left = if (oneRow) widest() + 2 * gap else 0f
            val right = if (oneRow) width - text.measureText(percent) - 2 * gap else width.toFloat()
            val best = probabilities.indices.maxByOrNull { probabilities[it] }
            labels.forEachIndexed { index, label ->
                val top = index * row
                val baseline = top + gap / 2 - text.fontMetrics.ascent
                text.color = context.getColor(if (index == best) R.color.ink else R.color.muted)
                text.isFakeBoldText = index == best
                text.textAlign = Paint.Align.LEFT
                canvas.drawText(label, 0f, baseline, text)
                val middle = if (oneRow) top + row / 2 else top + gap + lineHeight() + thickness / 2
                draw(canvas, left, right, middle, R.color.line)
                val share = probabilities.getOrNull(index) ?: return@forEachIndexed
                text.textAlign = Paint.Align.RIGHT
                canvas.drawText(percent(share), width.toFloat(), baseline, text)
                val end = left + (right - left) * share.toFloat()
                if (end - left >= 1f) draw(canvas, left, end, middle, if (index == best) R.color.accent else R.color.muted)
            }
        }

        private fun draw(
            canvas: Canvas,
            left: Float,
            right: Float,
            middle: Float,
            color: Int,
        ) {
            bar.color = context.getColor(color)
            val half = thickness / 2
            canvas.drawRoundRect(left, middle - half, right, middle + half, half, half, bar)
        }

        private companion object {
            const val HUNDRED = 100
            const val TEXT_SHARE = 0.62f
        }
    }
