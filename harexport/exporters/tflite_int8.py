"""TFLite exporter for full integer quantization: int8 weights and activations.

All operators between input and logits compute on integers. The cells of the fused operator are int16; in the unrolled
graph all activations are int16 if the calibration selects it. With float32 input, the channels are scaled to a common
range (MUL, SUB) and quantized, to int16 or to a high and a low int8 part. The logits are dequantized, and SOFTMAX
computes in float32. With int8 input, one scale serves all channels in physical units, and SOFTMAX is int8.
TensorFlow Lite 2.6, 2.7, 2.8, 2.11, 2.14 and LiteRT 2.3 give equal results.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.exporters import tflite, tflite_lstm
from harexport.exporters.calibration import Calibration, Range, asymmetric_int8, symmetric_int8
from harexport.exporters.tflite_lstm import ABSENT, BIASES, INPUT_WEIGHTS, RECURRENT_WEIGHTS, STATES
from harexport.exporters.tflite_ops import (
    INT_VERSIONS,
    PROBABILITY_PARAMS,
    SIGMOID_PARAMS,
    TANH_PARAMS,
    conv,
    conv_weights,
    int16_power_of_two,
    int_add,
    int_bias,
    int_mul,
    int_op,
    int_reshape,
    matmul_high_low,
    quantize,
    quantize_weight,
    slice_op,
)
from harexport.formats.tflite_builder import QuantParams, TfliteBuilder
from harexport.model.contract import Contract
from harexport.model.layers import Linear, LstmLayer
from harexport.model.network import Network

_HEADROOM = 8.0  # range of an int16 activation, as a multiple of the calibrated range
# int16 gate sums: the sigmoid reads +-8 without rescaling; a part of a sum may be larger.
INT16_SUM, INT16_PART = int16_power_of_two(8.0), int16_power_of_two(32.0)
# The first four intermediates of the fused operator belong to layer normalization. The fifth is the state before the
# projection; without a projection it is the state.
_NUM_INTERMEDIATES = 5
_FUSED_VERSION = 2  # as TensorFlow's quantizer writes it (operator_property.cc)


def build(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    lowering: str,
    calibration: Calibration,
    io: str = "float32",
) -> bytes:
    """Build a full-integer .tflite file. The same arguments give the same bytes.

    Args:
        network: LSTM network.
        contract: Its contract.
        metadata: Strings to store in the file.
        lowering: "fused" or "unrolled".
        calibration: Activation ranges.
        io: Type of input and outputs, "float32" or "int8".

    Returns:
        The file: `window` [1, window, channels] -> `logits` and `probabilities` [1, labels].
    """
    graph = TfliteBuilder()
    is_int16 = lowering == "unrolled" and calibration.cell == "int16"
    layer = network.input
    is_adjacent = layer.kernel_size == layer.stride and network.window % layer.stride == 0
    is_folded = network.fold_input().input.is_identity and (is_adjacent or lowering == "unrolled")
    is_one_part = is_folded and lowering == "fused"
    window, samples, network = _quantize_input(graph, network, calibration, io, is_int16, is_one_part)
    if is_folded:
        network = network.fold_input()
        rows, kernel_size, stride = samples, layer.kernel_size, layer.stride
    else:
        network = network.fold_normalization()
        limit, row_range = calibration.limit("rows"), calibration.ranges["rows"]
        quant = int16_with_headroom(limit) if is_int16 else asymmetric_int8(row_range)
        inner = network.input
        rows = [matmul_high_low(graph, samples, inner.weight, inner.bias, quant, "input", layer.stride, layer.relu)]
        kernel_size = stride = 1
    if lowering == "fused":
        sequence = int_reshape(graph, rows[0], (1, network.num_steps, network.lstm[0].input_weight.shape[1]))
        state = lower_fused(graph, network.lstm, sequence, calibration)
        state = int_reshape(graph, state, (1, 1, 1, graph.shapes[state][2]))
    else:
        state = lower_unrolled(graph, network.lstm, rows, calibration, kernel_size, stride)
    outputs: list[int] = []
    for name, head in network.heads().items():
        values = calibration.ranges["logits" if name == "head" else name]
        outputs += add_head(graph, head, state, values, name, io)
    return tflite.serialize(graph, network, contract, metadata, window, outputs, lowering, f"int8 with {io} input")


def _quantize_input(
    graph: TfliteBuilder, network: Network, calibration: Calibration, io: str, is_int16: bool, is_one_part: bool
) -> tuple[int, list[int], Network]:
    """Return the input tensor, the samples [1, window, 1, channels] as one or two parts, and the network for them.

    Two int8 parts are the high and the low part of a sample. A single int8 part clips strong motion or loses small
    motion: it costs edge up to 0.3 points of accuracy, while the low part costs no measurable time.
    """
    shape = (1, network.window, network.num_channels)
    image = (1, network.window, 1, network.num_channels)
    quant = asymmetric_int8(calibration.ranges["window"]) if io == "int8" else None
    window = floats = graph.tensor(shape, quant=quant)
    if io == "int8" and not is_int16:
        return window, [int_reshape(graph, window, image)], network
    if io == "int8":  # runtimes up to LiteRT 1.4 have no QUANTIZE from int8 to int16
        floats = graph.op("DEQUANTIZE", [window], shape, version=2)
    middle, half = calibration.channels(network.num_channels)
    factor, offset = (values.astype(np.float32) for values in (1 / half, middle / half))
    level = graph.op("MUL", [floats, graph.constant(factor, "input.factor")], shape)
    level = graph.op("SUB", [level, graph.constant(offset, "input.offset")], shape)
    scaled = network.replace(mean=(network.mean - middle) / half, std=network.std / half)
    if is_int16 or is_one_part:
        samples = [quantize(graph, level, int16_with_headroom(1.0) if is_int16 else symmetric_int8(1.0))]
    else:
        high = quantize(graph, level, symmetric_int8(_HEADROOM))
        remainder = graph.op("SUB", [level, graph.op("DEQUANTIZE", [high], shape, version=2)], shape)
        samples = [high, quantize(graph, remainder, symmetric_int8(graph.quants[high].scale / 2))]
    return window, [int_reshape(graph, part, image) for part in samples], scaled


def int16_with_headroom(limit: float) -> QuantParams:
    """Return int16 over several times the range +- `limit` that int8 would be clipped to."""
    return QuantParams(np.int16, float(np.float32(_HEADROOM * limit / 32767)))


def add_head(graph: TfliteBuilder, head: Linear, state: int, values: Range, name: str, io: str) -> list[int]:
    """Return logits and probabilities [1, labels].

    Args:
        graph: Graph to add to.
        head: Linear layer.
        state: Its input [1, 1, 1, features].
        values: Range of the logits.
        name: Prefix of the names in the file.
        io: Type of the outputs.
    """
    int8_quant = asymmetric_int8(values)
    is_int16 = graph.quants[state].dtype is np.int16
    quant = int16_with_headroom(max(map(abs, values)) or 1.0) if is_int16 else int8_quant
    shape = (1, len(head.bias))
    weights = conv_weights(graph, head.weight[:, None], head.bias, graph.quants[state], quant, name)
    logits = int_reshape(graph, conv(graph, state, weights, quant), shape)
    if io == "int8":
        logits = quantize(graph, logits, int8_quant) if is_int16 else logits
        return [logits, int_op(graph, "SOFTMAX", [logits], shape, PROBABILITY_PARAMS, beta=1.0)]
    floats = graph.op("DEQUANTIZE", [logits], shape, version=INT_VERSIONS["DEQUANTIZE"][is_int16])
    return [floats, graph.op("SOFTMAX", [floats], shape, beta=1.0)]


def lower_unrolled(
    graph: TfliteBuilder,
    layers: tuple[LstmLayer, ...],
    rows: list[int],
    calibration: Calibration,
    kernel_size: int,
    stride: int,
) -> int:
    """Add the layers as plain integer operators for each step, all layers side by side.

    Args:
        graph: Graph to add to.
        layers: LSTM layers; the input weights of the first are [4 * hidden, kernel_size * inputs].
        rows: int8 or int16 [1, n, 1, inputs]; two tensors are a high and a low part.
        calibration: Activation ranges.
        kernel_size: Rows that a step reads.
        stride: Distance of the first rows of consecutive steps.

    Returns:
        The last layer's last state [1, 1, 1, hidden], of the type of the rows.
    """
    is_int16 = graph.quants[rows[0]].dtype is np.int16
    projected_quant, product_quant, sum_quant = (
        (INT16_PART, INT16_PART, INT16_SUM)
        if is_int16
        else (symmetric_int8(calibration.limit(name)) for name in ("projected", "recurrent", "gates"))
    )
    largest_cell = max(calibration.limit(f"lstm.{k}.cell") for k in range(len(layers)))
    largest_state = max(calibration.limit(f"lstm.{k}.state") for k in range(len(layers)))
    cell_quant = int16_power_of_two(largest_cell) if is_int16 else symmetric_int8(calibration.limit("cell"))
    state_quant = TANH_PARAMS[np.int16] if is_int16 else symmetric_int8(largest_state)

    ends = np.cumsum([layer.hidden for layer in layers])
    width = int(ends[-1])
    forward, recurrent, input_bias, upper_bias = tflite_lstm.stack_layer_weights(layers, ends)
    # all biases are added here: the rows of the layers above hold their biases, and are added at every step
    bias = input_bias + upper_bias
    kernel = forward.reshape(4 * width, kernel_size, -1)
    projected = matmul_high_low(graph, rows, kernel, bias, projected_quant, "lstm.0.input", stride)
    weights = conv_weights(graph, recurrent[:, None], np.zeros(4 * width), state_quant, product_quant, "lstm.recurrent")
    steps = graph.shapes[projected][1]
    h = c = None
    for t in range(steps + len(layers) - 1):
        # after the last step only the layers above continue; no layer reads what layer 0 computes then
        gates = slice_op(graph, projected, [0, min(t, steps - 1), 0, 0], (1, 1, 1, 4 * width))
        if h is None:
            gates = quantize(graph, gates, sum_quant)
        else:
            gates = int_add(graph, gates, conv(graph, h, weights, product_quant), sum_quant)
        started = np.ones(width) if t + 1 >= len(layers) else (np.arange(width) < ends[t]).astype(float)
        h, c = lstm_step(graph, gates, c, cell_quant, state_quant, started)
    assert h is not None
    if len(layers) == 1:
        return h
    return slice_op(graph, h, [0, 0, 0, int(ends[-2])], (1, 1, 1, layers[-1].hidden))


def lstm_step(
    graph: TfliteBuilder,
    gates: int,
    cell: int | None,
    cell_quant: QuantParams,
    state_quant: QuantParams,
    started: NDArray[np.float64],
) -> tuple[int, int]:
    """Return state h and cell c of gates [1, 1, 1, 4 * width]: `tflite_lstm.lstm_step` on integers.

    `started` [width] is 0 for layers that have not started; their candidates, cells and states become 0.
    """
    dtype = cell_quant.dtype
    is_int16 = dtype is np.int16
    shape = (1, 1, 1, graph.shapes[gates][3] // 4)
    sigmoid = SIGMOID_PARAMS[dtype]
    sigmoids = int_op(graph, "LOGISTIC", [gates], graph.shapes[gates], sigmoid)
    axis = graph.constant(np.array(3, np.int32))
    version = INT_VERSIONS["SPLIT"][is_int16]
    i, f, g, o = graph.ops("SPLIT", [axis, sigmoids], [shape] * 4, version=version, quant=sigmoid, numSplits=4)
    # tanh x = 2 sigmoid(2x) - 1; with these scales both steps are exact in int8
    largest = 16384 if is_int16 else 127
    two, one = (
        graph.constant((started * largest).astype(dtype).reshape(shape), None, value / largest) for value in (2.0, 1.0)
    )
    doubled = int_mul(
        graph, g, two, QuantParams(np.int16, 2.0**-14) if is_int16 else QuantParams(np.int8, 2.0**-7, -128)
    )
    candidate = int_add(graph, doubled, one, TANH_PARAMS[dtype], "SUB")
    new = int_mul(graph, i, candidate, cell_quant if is_int16 or cell is None else symmetric_int8(1.0))
    if cell is not None:
        new = int_add(graph, int_mul(graph, f, cell, cell_quant), new, cell_quant)
    return int_mul(graph, o, int_op(graph, "TANH", [new], shape, TANH_PARAMS[dtype]), state_quant), new


def lower_fused(graph: TfliteBuilder, layers: tuple[LstmLayer, ...], rows: int, calibration: Calibration) -> int:
    """Add one integer UNIDIRECTIONAL_SEQUENCE_LSTM per layer.

    Args:
        graph: Graph to add to.
        layers: LSTM layers.
        rows: int8 [1, steps, inputs].
        calibration: Activation ranges.

    Returns:
        The last layer's last state, int8 [1, 1, hidden].
    """
    for k, layer in enumerate(layers):
        state = asymmetric_int8(calibration.ranges[f"lstm.{k}.state"])
        cell = int16_power_of_two(calibration.limit(f"lstm.{k}.cell"))
        rows = sequence_lstm(graph, layer, rows, state, cell, f"lstm.{k}")
    _, steps, hidden = graph.shapes[rows]
    return slice_op(graph, rows, [0, steps - 1, 0], (1, 1, hidden))


def sequence_lstm(
    graph: TfliteBuilder, layer: LstmLayer, rows: int, state: QuantParams, cell: QuantParams, name: str
) -> int:
    """Add one integer UNIDIRECTIONAL_SEQUENCE_LSTM; return all its states, int8 [1, steps, hidden]."""
    inputs = [rows] + [ABSENT] * 23
    gates = zip(
        *(np.split(array, 4) for array in (layer.input_weight, layer.recurrent_weight, layer.bias)),
        strict=True,
    )
    for k, (forward, recurrent, bias) in enumerate(gates):
        gate = "ifgo"[k]
        integers, scale = quantize_weight(forward)
        inputs[INPUT_WEIGHTS + k] = graph.constant(integers, f"{name}.input_weight.{gate}", scale)
        unit = np.float32(scale) * np.float32(graph.quants[rows].scale)
        inputs[BIASES + k] = int_bias(graph, bias, float(unit), f"{name}.bias.{gate}")
        integers, scale = quantize_weight(recurrent)
        inputs[RECURRENT_WEIGHTS + k] = graph.constant(integers, f"{name}.recurrent_weight.{gate}", scale)
    for k, (letter, quant) in enumerate((("h", state), ("c", cell))):
        version = INT_VERSIONS["SLICE"][quant.dtype is np.int16]
        inputs[STATES + k] = tflite_lstm.zero_state(graph, (1, layer.hidden), f"{name}.{letter}", quant, version)
    intermediates = [
        graph.tensor((0,), f"{name}.intermediate.{k}", quant=state if k == _NUM_INTERMEDIATES - 1 else None)
        for k in range(_NUM_INTERMEDIATES)
    ]
    return graph.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        (1, graph.shapes[rows][1], layer.hidden),
        version=_FUSED_VERSION,
        quant=state,
        intermediates=intermediates,
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=0.0,
        projClip=0.0,
    )
