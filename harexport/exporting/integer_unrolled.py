"""The unrolled LSTM stack on integers, all layers side by side as in wavefront.py.

Everything is int8, and XNNPACK takes the whole graph: 0.6 of float32's time on x86 (edge). Where the
calibration found that 8 bits are too few for the cells (many steps that add little each), everything is int16 but
the weights. That takes TensorFlow Lite's own kernels, since XNNPACK has no int16, and over ten times as long.
Cells alone in int16 need a QUANTIZE from int8 to int16, which runtimes up to LiteRT 1.4 do not have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harexport.exporting.flat import Graph, Quant
from harexport.exporting.integer_ops import (
    SIGMOID,
    TANH,
    add,
    cut,
    matrices,
    matrix,
    mul,
    op,
    power_of_two,
    quantize,
    weights,
)
from harexport.exporting.quantize import Calibration, symmetric
from harexport.exporting.wavefront import side_by_side
from harexport.layers import LstmLayer

_SUM16, _PART16 = power_of_two(8.0), power_of_two(32.0)  # the sigmoid reads +-8 without rescaling; a part may be larger


def lower(
    graph: Graph, layers: tuple[LstmLayer, ...], rows: list[int], calibration: Calibration, frame: int, hop: int
) -> int:
    """From rows [1, n, 1, inputs], int8 or int16, to the last layer's last state [1, 1, 1, hidden] of that type.

    Two tensors of rows are their coarse and their fine part. A step reads `frame` rows, `hop` after those of the
    step before; layer 0's input weights are [4 * hidden, frame * inputs].
    """
    wide = graph.quants[rows[0]].dtype is np.int16
    projected_quant, product_quant, sum_quant = (
        (_PART16, _PART16, _SUM16)
        if wide
        else (symmetric(calibration.limit(name)) for name in ("projected", "recurrent", "gates"))
    )
    whole_cells = max(calibration.limit(f"lstm.{k}.cell") for k in range(len(layers)))
    cell_quant = power_of_two(whole_cells) if wide else symmetric(calibration.limit("cell"))
    state_quant = TANH[np.int16] if wide else symmetric(_largest_state(layers, calibration))

    ends = np.cumsum([layer.hidden for layer in layers])
    width = int(ends[-1])
    forward, recurrent, input_bias, stack_bias = side_by_side(layers, ends)
    # every bias joins here: rows of layers above are their biases alone, and are added at every step
    bias = input_bias + stack_bias
    kernel = forward.reshape(4 * width, frame, -1)
    projected = matrices(graph, rows, kernel, bias, projected_quant, "lstm.0.input", hop)
    back = weights(graph, recurrent[:, None], np.zeros(4 * width), state_quant, product_quant, "lstm.recurrent")
    steps = graph.shapes[projected][1]
    h = c = None
    for t in range(steps + len(layers) - 1):
        # past the last step only layers above go on; what layer 0 then computes is read by nobody
        gates = cut(graph, projected, [0, min(t, steps - 1), 0, 0], (1, 1, 1, 4 * width))
        if h is None:
            gates = quantize(graph, gates, sum_quant)
        else:
            gates = add(graph, gates, matrix(graph, h, back, product_quant), sum_quant)
        begun = np.ones(width) if t + 1 >= len(layers) else (np.arange(width) < ends[t]).astype(float)
        h, c = _group(graph, gates, c, cell_quant, state_quant, begun)
    assert h is not None
    if len(layers) == 1:
        return h
    return cut(graph, h, [0, 0, 0, int(ends[-2])], (1, 1, 1, layers[-1].hidden))


def _largest_state(layers: tuple[LstmLayer, ...], calibration: Calibration) -> float:
    return max(calibration.limit(f"lstm.{k}.state") for k in range(len(layers)))


def _group(
    graph: Graph, gates: int, cell: int | None, cell_quant: Quant, state_quant: Quant, begun: NDArray[np.float64]
) -> tuple[int, int]:
    """`unrolled.group` on integers: gates [1, 1, 1, 4 * width] -> state h, cell c, all of one type.

    `begun` [width] is 0 for layers that have not begun, whose candidates, and so cells and states, become 0.
    """
    dtype = cell_quant.dtype
    wide = dtype is np.int16
    one = (1, 1, 1, graph.shapes[gates][3] // 4)
    sigmoids = op(graph, "LOGISTIC", [gates], graph.shapes[gates], SIGMOID[dtype])
    axis = graph.constant(np.array(3, np.int32))
    version = 4 if wide else 2
    i, f, g, o = graph.ops("SPLIT", [axis, sigmoids], [one] * 4, version=version, quant=SIGMOID[dtype], numSplits=4)
    # tanh x = 2 sigmoid(2x) - 1; on these scales int8 loses nothing in either step
    largest = 16384 if wide else 127
    two, unity = (
        graph.constant((begun * largest).astype(dtype).reshape(one), None, value / largest) for value in (2.0, 1.0)
    )
    doubled = mul(graph, g, two, Quant(np.int16, 2.0**-14) if wide else Quant(np.int8, 2.0**-7, -128))
    candidate = add(graph, doubled, unity, TANH[dtype], "SUB")
    new = mul(graph, i, candidate, cell_quant if wide or cell is None else symmetric(1.0))
    if cell is not None:
        new = add(graph, mul(graph, f, cell, cell_quant), new, cell_quant)
    return mul(graph, o, op(graph, "TANH", [new], one, TANH[dtype]), state_quant), new
