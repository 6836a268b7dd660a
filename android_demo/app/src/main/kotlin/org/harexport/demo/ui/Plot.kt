package org.harexport.demo.ui

import androidx.compose.foundation.Canvas
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.height
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.LaunchedEffect
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableIntStateOf
import androidx.compose.runtime.remember
import androidx.compose.runtime.setValue
import androidx.compose.ui.Modifier
import androidx.compose.ui.geometry.Offset
import androidx.compose.ui.graphics.Path
import androidx.compose.ui.graphics.drawscope.Stroke
import androidx.compose.ui.graphics.drawscope.clipRect
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.unit.dp
import kotlin.math.abs
import kotlin.math.ceil
import kotlinx.coroutines.delay
import org.harexport.demo.Trace

private const val FRAME_MS = 50L
private const val SPAN_S = Trace.SPAN_NS / 1e9f

/** No line is drawn across gaps of this length in seconds. */
private const val GAP_S = 0.2f

/** The last five seconds of a sensor's three axes; [heading] names them with the unit. */
@Composable
fun Plot(trace: Trace, heading: String, minRange: Float, step: Float) {
    val ages = remember { FloatArray(Trace.CAPACITY) }
    val axes = remember { Array(Trace.AXES) { FloatArray(Trace.CAPACITY) } }
    var frame by remember { mutableIntStateOf(0) }
    LaunchedEffect(trace) {
        while (true) {
            delay(FRAME_MS)
            frame++
        }
    }
    val colors = listOf(MaterialTheme.colorScheme.primary, MaterialTheme.colorScheme.tertiary, MaterialTheme.colorScheme.error)
    val grid = MaterialTheme.colorScheme.outlineVariant
    Text(heading, style = MaterialTheme.typography.labelMedium)
    Canvas(Modifier.fillMaxWidth().height(96.dp).semantics { contentDescription = heading }) {
        frame // draws again with every frame
        val count = trace.copy(ages, axes)
        var range = minRange
        for (axis in axes) for (index in 0 until count) range = maxOf(range, ceil(abs(axis[index]) / step) * step)
        for (y in listOf(0f, size.height / 2, size.height)) drawLine(grid, Offset(0f, y), Offset(size.width, y))
        val scale = size.height / 2 / range
        clipRect {
            axes.forEachIndexed { axis, values ->
                val path = Path()
                for (index in 0 until count) {
                    val x = size.width * (1 - ages[index] / SPAN_S)
                    val y = size.height / 2 - values[index] * scale
                    if (index == 0 || ages[index - 1] - ages[index] > GAP_S) path.moveTo(x, y) else path.lineTo(x, y)
                }
                drawPath(path, colors[axis], style = Stroke(1.75.dp.toPx()))
            }
        }
    }
}
