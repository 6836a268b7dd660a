"""Network -> .tflite in full integer: int8 weights, int8 activations, in the fused operator int16 cells.

In the unrolled graph every activation is int16 where the calibration asks for it (see integer_unrolled.py). Between
the borders all is integers. With float32 input the window's channels are first brought to one size (MUL, SUB)
and rounded (QUANTIZE), coarsely and what is left finely; the logits leave by DEQUANTIZE, and SOFTMAX follows in
float32. With int8 input one scale must serve all channels in physical units, and SOFTMAX is int8.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.exporters import tflite, tflite_lstm
from harexport.exporters.calibration import Calibration, asymmetric, symmetric
from harexport.exporters.tflite_lstm import stack_layer_weights
from harexport.exporters.tflite_ops import (
    PROBABILITY,
    SIGMOID,
    TANH,
    VERSIONS,
    add,
    biases,
    cut,
    matrices,
    matrix,
    mul,
    op,
    power_of_two,
    quantize,
    quantize_weight,
    reshape,
    weights,
)
from harexport.formats.tflite_builder import QuantParams, TfliteBuilder
from harexport.model.contract import Contract
from harexport.model.layers import Head, LstmLayer
from harexport.model.network import Network

# By operator versions (integer_ops.py) and by test: TensorFlow Lite 2.6, 2.7, 2.8, 2.11, 2.14 and LiteRT 2.3 agree.
OLDEST_RUNTIME = "2.6.0"

_SPACE = 8.0  # where there are more than 8 bits, times the calibrated range


def build(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    lowering: str,
    calibration: Calibration,
    io: str = "float32",
) -> bytes:
    """The file: `window` [1, window, channels] -> `logits` and `probabilities` [1, labels], all float32 or (`io`) int8.

    Same input, same bytes.
    """
    graph = TfliteBuilder()
    wide = lowering == "unrolled" and calibration.cell == "int16"
    layer = network.input
    side_by_side = layer.kernel_size == layer.stride and network.window % layer.stride == 0
    folds = network.fold_input().input.is_identity and (side_by_side or lowering == "unrolled")
    window, samples, network = _entrance(graph, network, calibration, io, wide, whole=folds and lowering == "fused")
    if folds:
        network = network.fold_input()
        rows, frame, hop = samples, layer.kernel_size, layer.stride
    else:
        network = network.fold_normalization()
        quant = _spacious(calibration.limit("rows")) if wide else asymmetric(calibration.ranges["rows"])
        inner = network.input
        rows = [matrices(graph, samples, inner.weight, inner.bias, quant, "input", layer.stride, layer.relu)]
        frame = hop = 1
    if lowering == "fused":
        sequence = reshape(graph, rows[0], (1, network.num_steps, network.lstm[0].input_weight.shape[1]))
        state = lower_fused(graph, network.lstm, sequence, calibration)
        state = reshape(graph, state, (1, 1, 1, graph.shapes[state][2]))
    else:
        state = lower_unrolled(graph, network.lstm, rows, calibration, frame, hop)
    outputs: list[int] = []
    for name, head in network.heads().items():
        outputs += _head(graph, head, state, calibration, name, io)
    return tflite.serialize(
        graph, network, contract, metadata, window, outputs, lowering, f"int8 with {io} input", OLDEST_RUNTIME
    )


def _entrance(
    graph: TfliteBuilder, network: Network, calibration: Calibration, io: str, wide: bool, whole: bool
) -> tuple[int, list[int], Network]:
    """The input tensor, the samples [1, window, 1, channels] as one or two tensors, and the network that reads them.

    Two int8 tensors are a sample's coarse and its fine part. Eight bits alone (`whole`, or int8 input) clip strong
    motion or lose what hardly moves; they cost edge up to 0.3 points of accuracy, the fine part no measurable time.
    """
    shape = (1, network.window, network.num_channels)
    tall = (1, network.window, 1, network.num_channels)
    window = floats = graph.tensor(shape, quant=asymmetric(calibration.ranges["window"]) if io == "int8" else None)
    if io == "int8" and not wide:
        return window, [reshape(graph, window, tall)], network
    if io == "int8":  # no runtime up to LiteRT 1.4 has a QUANTIZE from int8 to int16
        floats = graph.op("DEQUANTIZE", [window], shape, version=2)
    middle, half = calibration.channels(network.num_channels)
    factor, offset = (values.astype(np.float32) for values in (1 / half, middle / half))
    level = graph.op("MUL", [floats, graph.constant(factor, "input.factor")], shape)
    level = graph.op("SUB", [level, graph.constant(offset, "input.offset")], shape)
    levelled = replace(network, mean=(network.mean - middle) / half, std=network.std / half)
    if wide or whole:
        samples = [quantize(graph, level, _spacious(1.0) if wide else symmetric(1.0))]
    else:
        coarse = quantize(graph, level, symmetric(_SPACE))
        rest = graph.op("SUB", [level, graph.op("DEQUANTIZE", [coarse], shape, version=2)], shape)
        samples = [coarse, quantize(graph, rest, symmetric(graph.quants[coarse].scale / 2))]
    return window, [reshape(graph, part, tall) for part in samples], levelled


def _spacious(limit: float) -> QuantParams:
    """int16 with room for more than the range that int8 would be clipped to."""
    return QuantParams(np.int16, float(np.float32(_SPACE * limit / 32767)))


def _head(graph: TfliteBuilder, head: Head, state: int, calibration: Calibration, name: str, io: str) -> list[int]:
    """Logits and probabilities [1, labels] of the state [1, 1, 1, hidden]."""
    values = "logits" if name == "head" else name
    narrow = asymmetric(calibration.ranges[values])
    wide = graph.quants[state].dtype is np.int16
    quant = _spacious(calibration.limit(values)) if wide else narrow
    shape = (1, len(head.bias))
    kernel = weights(graph, head.weight[:, None], head.bias, graph.quants[state], quant, name)
    logits = reshape(graph, matrix(graph, state, kernel, quant), shape)
    if io == "int8":
        logits = quantize(graph, logits, narrow) if wide else logits
        return [logits, op(graph, "SOFTMAX", [logits], shape, PROBABILITY, beta=1.0)]
    answer = graph.op("DEQUANTIZE", [logits], shape, version=VERSIONS["DEQUANTIZE"][wide])
    return [answer, graph.op("SOFTMAX", [answer], shape, beta=1.0)]


_SUM16, _PART16 = power_of_two(8.0), power_of_two(32.0)  # the sigmoid reads +-8 without rescaling; a part may be larger


def lower_unrolled(
    graph: TfliteBuilder, layers: tuple[LstmLayer, ...], rows: list[int], calibration: Calibration, frame: int, hop: int
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
    forward, recurrent, input_bias, stack_bias = stack_layer_weights(layers, ends)
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
    graph: TfliteBuilder,
    gates: int,
    cell: int | None,
    cell_quant: QuantParams,
    state_quant: QuantParams,
    begun: NDArray[np.float64],
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
    doubled = mul(graph, g, two, QuantParams(np.int16, 2.0**-14) if wide else QuantParams(np.int8, 2.0**-7, -128))
    candidate = add(graph, doubled, unity, TANH[dtype], "SUB")
    new = mul(graph, i, candidate, cell_quant if wide or cell is None else symmetric(1.0))
    if cell is not None:
        new = add(graph, mul(graph, f, cell, cell_quant), new, cell_quant)
    return mul(graph, o, op(graph, "TANH", [new], one, TANH[dtype]), state_quant), new


_ABSENT = -1  # an optional input that is not there
# Positions of the operator's 24 inputs, as in fused.py; in full integer biases are int32.
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES, _STATES = 1, 5, 12, 18
_INTERMEDIATES = (
    5  # 0 to 3 belong to layer normalisation; 4 is the state before a projection, and without one the state
)


def lower_fused(graph: TfliteBuilder, layers: tuple[LstmLayer, ...], rows: int, calibration: Calibration) -> int:
    """From int8 rows [1, steps, inputs] to the last layer's last state int8 [1, 1, hidden]."""
    for k, layer in enumerate(layers):
        state = asymmetric(calibration.ranges[f"lstm.{k}.state"])
        cell = power_of_two(calibration.limit(f"lstm.{k}.cell"))
        rows = _operator(graph, layer, rows, state, cell, f"lstm.{k}")
    _, steps, hidden = graph.shapes[rows]
    return cut(graph, rows, [0, steps - 1, 0], (1, 1, hidden))


def _operator(
    graph: TfliteBuilder, layer: LstmLayer, rows: int, state: QuantParams, cell: QuantParams, name: str
) -> int:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over int8 [1, steps, inputs]: the states h int8 [1, steps, hidden]."""
    inputs = [rows] + [_ABSENT] * 23
    gates = zip(
        *(np.split(array, 4) for array in (layer.input_weight, layer.recurrent_weight, layer.bias)),
        strict=True,
    )
    for k, (forward, recurrent, bias) in enumerate(gates):
        gate = "ifgo"[k]
        integers, scale = quantize_weight(forward)
        inputs[_INPUT_WEIGHTS + k] = graph.constant(integers, f"{name}.input_weight.{gate}", scale)
        unit = np.float32(scale) * np.float32(graph.quants[rows].scale)
        inputs[_BIASES + k] = biases(graph, bias, float(unit), f"{name}.bias.{gate}")
        integers, scale = quantize_weight(recurrent)
        inputs[_RECURRENT_WEIGHTS + k] = graph.constant(integers, f"{name}.recurrent_weight.{gate}", scale)
    for k, (letter, quant) in enumerate((("h", state), ("c", cell))):
        version = VERSIONS["SLICE"][quant.dtype is np.int16]
        inputs[_STATES + k] = tflite_lstm.zero_state(graph, (1, layer.hidden), f"{name}.{letter}", quant, version)
    intermediates = [
        graph.tensor((0,), f"{name}.intermediate.{k}", quant=state if k == 4 else None) for k in range(_INTERMEDIATES)
    ]
    return graph.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        (1, graph.shapes[rows][1], layer.hidden),
        version=2,  # what TensorFlow's quantizer writes (operator_property.cc)
        quant=state,
        intermediates=intermediates,
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=0.0,
        projClip=0.0,
    )
