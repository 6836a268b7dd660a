"""The unrolled LSTM stack on integers, all layers side by side as in wavefront.py.

Matrices, gates' sums and states are int8. The cell and what is computed with it is int8 where the calibration
found that 8 bits do, and then XNNPACK takes the whole graph: 2 to 3 times as fast as float32 on x86. Else it is
int16, from the gates' sum to the state, in TensorFlow Lite's own kernels (XNNPACK has no int16): about ten times slower.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harexport.exporting.flat import Graph, Quant
from harexport.exporting.integer_ops import SIGMOID, TANH, add, cut, matrix, mul, op, power_of_two, quantize, weights
from harexport.exporting.quantize import Calibration, symmetric
from harexport.exporting.wavefront import _side_by_side as side_by_side
from harexport.layers import LstmLayer

_Q3_12 = Quant(np.int16, 2.0**-12)  # what the int16 sigmoid reads without rescaling


def lower(
    graph: Graph, layers: tuple[LstmLayer, ...], rows: int, calibration: Calibration, frame: int = 1, hop: int = 1
) -> int:
    """From int8 rows [1, n, 1, inputs] to the last layer's last state int8 [1, 1, 1, hidden].

    A step reads `frame` rows, `hop` rows after the step before; layer 0's input weights are [4 * hidden, frame * inputs].
    """
    ends = np.cumsum([layer.hidden for layer in layers])
    forward, recurrent, input_bias, stack_bias = side_by_side(layers, ends)
    width = int(ends[-1])
    wide = calibration.cell == "int16"
    gates = _Q3_12 if wide else symmetric(calibration.limit("gates"))
    cell = _wide_cell(layers, calibration) if wide else symmetric(calibration.limit("cell"))
    state = symmetric(max(calibration.limit(f"lstm.{k}.state") for k in range(len(layers))))

    # Every bias joins here: rows of layers above are their biases alone, and are added at every step.
    kernel = forward.reshape(4 * width, frame, -1)
    projection = symmetric(calibration.limit("projected"))
    source = graph.quants[rows]
    projected = matrix(
        graph,
        rows,
        weights(graph, kernel, input_bias + stack_bias, source, projection, "lstm.0.input"),
        projection,
        hop,
    )
    if wide:
        projected = quantize(graph, projected, gates)
    steps = graph.shapes[projected][1]
    product = symmetric(calibration.limit("recurrent"))
    back = weights(graph, recurrent[:, None], np.zeros(4 * width), state, product, "lstm.recurrent")
    h = c = None
    for t in range(steps + len(layers) - 1):
        # past the last step only layers above go on; what layer 0 then computes is read by nobody
        total = cut(graph, projected, [0, min(t, steps - 1), 0, 0], (1, 1, 1, 4 * width))
        if h is not None:
            part = matrix(graph, h, back, product)
            total = add(graph, total, quantize(graph, part, gates) if wide else part, gates)
        elif not wide:
            total = quantize(graph, total, gates)
        begun = np.ones(width) if t + 1 >= len(layers) else (np.arange(width) < ends[t]).astype(float)
        h, c = _group(graph, total, c, cell, state, begun)
    assert h is not None
    if len(layers) == 1:
        return h
    return cut(graph, h, [0, 0, 0, int(ends[-2])], (1, 1, 1, layers[-1].hidden))


def _wide_cell(layers: tuple[LstmLayer, ...], calibration: Calibration) -> Quant:
    """One scale for the cells of all layers."""
    return power_of_two(max(calibration.limit(f"lstm.{k}.cell") for k in range(len(layers))))


def _group(
    graph: Graph, gates: int, cell: int | None, cell_quant: Quant, state: Quant, begun: NDArray[np.float64]
) -> tuple[int, int]:
    """`unrolled.group` on integers: gates [1, 1, 1, 4 * width] -> state h int8, cell c.

    `begun` [width] is 0 for layers that have not begun, whose candidates, and so cells and states, become 0.
    """
    dtype = cell_quant.dtype
    one = (1, 1, 1, graph.shapes[gates][3] // 4)
    sigmoid, tanh = SIGMOID[dtype], TANH[dtype]
    sigmoids = op(graph, "LOGISTIC", [gates], graph.shapes[gates], sigmoid)
    axis = graph.constant(np.array(3, np.int32))
    number = {"version": 4 if dtype is np.int16 else 2}
    i, f, g, o = graph.ops("SPLIT", [axis, sigmoids], [one] * 4, quant=sigmoid, numSplits=4, **number)
    largest = 127 if dtype is np.int8 else 16384
    two, unity = (
        graph.constant((begun * largest).astype(dtype).reshape(one), None, value / largest) for value in (2.0, 1.0)
    )
    # 2 sigmoid(2x) - 1 = tanh x; in int8 both results are exact
    doubled = Quant(dtype, 1 / 128, -128) if dtype is np.int8 else Quant(dtype, 2.0**-14)
    candidate = add(graph, mul(graph, g, two, doubled), unity, tanh, "SUB")
    new = mul(graph, i, candidate, cell_quant if cell is None or dtype is np.int16 else symmetric(1.0))
    if cell is not None:
        new = add(graph, mul(graph, f, cell, cell_quant), new, cell_quant)
    squashed = op(graph, "TANH", [new], one, tanh)
    if dtype is np.int8:
        return mul(graph, o, squashed, state), new
    return quantize(graph, mul(graph, o, squashed, tanh), state), new
