"""LSTM layers of a .tflite file: unrolled, wavefront and fused.

- Unrolled: plain operators for each step, layer after layer, for float weights. Stateless, and XNNPACK runs all of it.
- Wavefront: the same operators with all layers side by side, layer k on step t - k, for int8 weights.
- Fused: UNIDIRECTIONAL_SEQUENCE_LSTM, one operator per layer.

A sequence has the shape [steps, values] for one window and [windows, steps, values] for any other number of windows;
one step of it is [1, values] or [windows, 1, values]. `leading_shape` is (steps,) or (windows, steps).

XNNPACK takes SPLIT with up to 4 outputs and CONCATENATION with up to 5 inputs. Therefore SLICE extracts the steps and
a tree of CONCATENATIONs joins them: one XNNPACK partition, as fast as a single SPLIT and CONCATENATION outside of it.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.exporters.gptq import candidate_factor
from harexport.exporters.tflite_ops import HYBRID_VERSIONS, add_weight, fully_connected
from harexport.formats.tflite_builder import QuantParams, TfliteBuilder
from harexport.model.layers import LstmLayer

ABSENT = -1  # an optional input without a value
# Positions among the 24 inputs of UNIDIRECTIONAL_SEQUENCE_LSTM (lstm_eval.cc): 1-4 input weights, 5-8 recurrent weights
# and 12-15 biases in the order i, f, g, o, as in PyTorch; 18 and 19 the state h and the cell c.
INPUT_WEIGHTS, RECURRENT_WEIGHTS, BIASES, STATES = 1, 5, 12, 18

_CONCAT_INPUTS = 4
_WAVEFRONT_SCHEME = "int8-weights"


def unroll_layer(
    graph: TfliteBuilder,
    layer: LstmLayer,
    rows: int,
    leading_shape: tuple[int, ...],
    scheme: str,
    name: str,
    backward: bool = False,
    initial: tuple[int, int] | None = None,
) -> tuple[list[int], int]:
    """Return the state h after each step, in the order of execution, and the last cell.

    The inputs of all steps are projected at once. `initial` has the state and the cell before the first step.
    """
    hidden = layer.hidden
    factor = candidate_factor(hidden)
    forward = add_weight(graph, layer.input_weight * factor[:, None], f"{name}.input_weight", scheme)
    recurrent = add_weight(graph, layer.recurrent_weight * factor[:, None], f"{name}.recurrent_weight", scheme)
    bias = graph.constant((layer.bias * factor).astype(np.float32), f"{name}.bias")
    no_bias = graph.constant(np.zeros(4 * hidden, np.float32))  # FULLY_CONNECTED without a bias needs version 6
    two, one = graph.constant(np.array([2.0], np.float32)), graph.constant(np.array([1.0], np.float32))

    *windows, steps = leading_shape
    projected = fully_connected(graph, rows, forward, bias, leading_shape, scheme)  # [*leading_shape, 4 * hidden]
    states: list[int] = []
    state, cell = initial or (None, None)
    for t in reversed(range(steps)) if backward else range(steps):
        gates = slice_step(graph, projected, t)
        if state is not None:  # h = 0 before the first step
            product = fully_connected(graph, state, recurrent, no_bias, (*windows, 1), scheme)
            gates = graph.op("ADD", [gates, product], graph.shapes[gates])
        state, cell = lstm_step(graph, gates, cell, two, one)
        states.append(state)
    assert cell is not None
    return states, cell


def lower_wavefront(
    graph: TfliteBuilder, layers: tuple[LstmLayer, ...], rows: int, leading_shape: tuple[int, ...], name: str
) -> int:
    """Add the layers side by side, layer k on step t - k: one matrix product per step serves all layers.

    The weights are int8.

    Args:
        graph: Graph to add to.
        layers: LSTM layers.
        rows: Output of the layer before, a sequence. If `leading_shape` is (steps,), any shape with so many rows.
        leading_shape: Shape of the sequence without its last axis.
        name: First part of the names in the file.

    Returns:
        The last layer's last state, one step of a sequence.
    """
    ends = np.cumsum([layer.hidden for layer in layers])
    width = int(ends[-1])
    projection, recurrent, input_bias, upper_bias = stack_layer_weights(layers, ends)
    forward = add_weight(graph, projection, f"{name}.0.input_weight", _WAVEFRONT_SCHEME)
    weight = add_weight(graph, recurrent, f"{name}.recurrent_weight", _WAVEFRONT_SCHEME)
    bias = graph.constant(upper_bias.astype(np.float32), f"{name}.bias")
    first_bias = graph.constant(input_bias.astype(np.float32), f"{name}.0.bias")

    *windows, steps = leading_shape
    projected = fully_connected(graph, rows, forward, first_bias, leading_shape, _WAVEFRONT_SCHEME)
    gates = slice_step(graph, projected, 0)  # h = 0 before the first step
    state, cell = lstm_step(graph, gates, None, *_step_constants(graph, ends, 0))
    for t in range(1, steps + len(layers) - 1):
        gates = fully_connected(graph, state, weight, bias, (*windows, 1), _WAVEFRONT_SCHEME)
        if t < steps:
            gates = graph.op("ADD", [slice_step(graph, projected, t), gates], (*windows, 1, 4 * width))
        state, cell = lstm_step(graph, gates, cell, *_step_constants(graph, ends, t))
    if len(layers) == 1:
        return state
    return slice_columns(graph, state, 0, int(ends[-2]), layers[-1].hidden)


def _step_constants(graph: TfliteBuilder, ends: NDArray[np.integer], t: int) -> tuple[int, int]:
    """Add the constants 2 and 1 of `lstm_step`: 0 for layers that start after step t, whose c and h stay 0.

    A layer that has finished continues; no layer reads its values.
    """
    started = np.ones(1) if t + 1 >= len(ends) else (np.arange(ends[-1]) < ends[t]).astype(float)[None]
    return graph.constant((2 * started).astype(np.float32)), graph.constant(started.astype(np.float32))


def stack_layer_weights(
    layers: tuple[LstmLayer, ...], ends: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Stack the weights of all layers into one block matrix.

    Gates are in the order i, f, g, o, each with the rows of all layers. Rows of the candidate are doubled, see
    `lstm_step`.

    Args:
        layers: LSTM layers.
        ends: Cumulative sum of their hidden sizes; the last one is `width`.

    Returns:
        The input weight [4 * width, inputs] and the recurrent weight [4 * width, width], the bias of layer 0
        [4 * width], which its inputs bring, and the bias of the layers above [4 * width].
    """
    width = int(ends[-1])
    factor = np.array([1.0, 1.0, 2.0, 1.0])
    projection = np.zeros((4, width, layers[0].input_weight.shape[1]))
    recurrent = np.zeros((4, width, width))
    biases = np.zeros((2, 4, width))
    for k, layer in enumerate(layers):
        own = slice(int(ends[k]) - layer.hidden, int(ends[k]))
        forward = layer.input_weight.reshape(4, layer.hidden, -1) * factor[:, None, None]
        if k == 0:
            projection[:, own] = forward
        else:
            below = slice(own.start - layers[k - 1].hidden, own.start)
            recurrent[:, own, below] = forward
        recurrent[:, own, own] = layer.recurrent_weight.reshape(4, layer.hidden, -1) * factor[:, None, None]
        biases[min(k, 1), :, own] = layer.bias.reshape(4, layer.hidden) * factor[:, None]
    return projection.reshape(4 * width, -1), recurrent.reshape(4 * width, width), *biases.reshape(2, 4 * width)


def lstm_step(graph: TfliteBuilder, gates: int, cell: int | None, two: int, one: int) -> tuple[int, int]:
    """Add the elementwise part of one LSTM step.

    tanh x = 2 sigmoid(2x) - 1: with the rows of the candidate doubled, one LOGISTIC computes all four gates.

    Args:
        graph: Graph to add to.
        gates: Sums [..., 4 * width] in the order i, f, g, o, those of the candidate g doubled.
        cell: Cell c; None at the first step.
        two: The constant 2.
        one: The constant 1.

    Returns:
        State h and cell c, [..., width].
    """
    *leading, size = graph.shapes[gates]
    shape = (*leading, size // 4)
    axis = graph.constant(np.array(len(leading), np.int32))
    sigmoids = graph.op("LOGISTIC", [gates], (*leading, size))
    i, f, g, o = graph.ops("SPLIT", [axis, sigmoids], [shape] * 4, numSplits=4)
    candidate = graph.op("SUB", [graph.op("MUL", [g, two], shape), one], shape)
    new = graph.op("MUL", [i, candidate], shape)
    if cell is not None:
        new = graph.op("ADD", [graph.op("MUL", [f, cell], shape), new], shape)
    return graph.op("MUL", [o, graph.op("TANH", [new], shape)], shape), new


def slice_step(graph: TfliteBuilder, rows: int, t: int) -> int:
    """Add a SLICE: step t of a sequence."""
    return slice_columns(graph, rows, t, 0, graph.shapes[rows][-1])


def slice_columns(graph: TfliteBuilder, rows: int, t: int, first: int, width: int) -> int:
    """Add a SLICE: `width` columns of step t of a sequence, beginning with column `first`."""
    windows = graph.shapes[rows][:-2]
    begin = graph.constant(np.array([0] * len(windows) + [t, first], np.int32))
    # -1: all of a dynamic axis; XNNPACK needs the number where it is known
    sizes = [-1] * len(windows) if graph.has_dynamic_batch else list(windows)
    size = graph.constant(np.array([*sizes, 1, width], np.int32))
    return graph.op("SLICE", [rows, begin, size], (*windows, 1, width))


def concat_steps(graph: TfliteBuilder, parts: list[int]) -> int:
    """Add a tree of CONCATENATIONs that joins steps to a sequence."""
    while len(parts) > 1:
        groups = [parts[start : start + _CONCAT_INPUTS] for start in range(0, len(parts), _CONCAT_INPUTS)]
        parts = [group[0] if len(group) == 1 else _concat(graph, group) for group in groups]
    return parts[0]


def _concat(graph: TfliteBuilder, parts: list[int]) -> int:
    *windows, _, width = graph.shapes[parts[0]]
    count = sum(graph.shapes[part][-2] for part in parts)
    return graph.op("CONCATENATION", parts, (*windows, count, width), axis=len(windows))


def lower_fused(graph: TfliteBuilder, layers: tuple[LstmLayer, ...], rows: int, scheme: str, name: str) -> int:
    """Add one UNIDIRECTIONAL_SEQUENCE_LSTM per layer.

    Args:
        graph: Graph to add to.
        layers: LSTM layers.
        rows: Output of the layer before [windows, steps, inputs].
        scheme: Type of the weights.
        name: First part of the names in the file.

    Returns:
        The last layer's last state [windows, 1, hidden].
    """
    for k, layer in enumerate(layers):
        rows = sequence_lstm(graph, layer, rows, scheme, f"{name}.{k}")
    windows, steps, hidden = graph.shapes[rows]
    begin = graph.constant(np.array([0, steps - 1, 0], np.int32))
    shape = (windows, 1, hidden)
    return graph.op("SLICE", [rows, begin, graph.constant(np.array(shape, np.int32))], shape)


def sequence_lstm(graph: TfliteBuilder, layer: LstmLayer, rows: int, scheme: str, name: str) -> int:
    """Return all states [windows, steps, hidden]."""
    windows, steps, _ = graph.shapes[rows]
    inputs = [rows] + [ABSENT] * 23
    forward, recurrent, biases = (
        np.split(values, 4) for values in (layer.input_weight, layer.recurrent_weight, layer.bias)
    )
    for k, gate in enumerate("ifgo"):
        inputs[INPUT_WEIGHTS + k] = add_weight(graph, forward[k], f"{name}.input_weight.{gate}", scheme)
        inputs[RECURRENT_WEIGHTS + k] = add_weight(graph, recurrent[k], f"{name}.recurrent_weight.{gate}", scheme)
        inputs[BIASES + k] = graph.constant(biases[k].astype(np.float32), f"{name}.bias.{gate}")
    for k, letter in enumerate("hc"):
        inputs[STATES + k] = zero_state(graph, (windows, layer.hidden), f"{name}.{letter}")
    return graph.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        (windows, steps, layer.hidden),
        version=HYBRID_VERSIONS["UNIDIRECTIONAL_SEQUENCE_LSTM"] if scheme == "int8-weights" else 1,
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=0.0,  # no clipping, as in PyTorch; TensorFlow's converter writes 10
        projClip=0.0,
    )


def zero_state(
    graph: TfliteBuilder, shape: tuple[int, int], name: str, quant: QuantParams | None = None, version: int = 1
) -> int:
    """Add a variable tensor and a SLICE that sets it to zero at every invocation, before the LSTM reads it.

    LiteRT keeps h and c of a fused LSTM between invocations, including NaN. An input row that closes the gates would
    clear them as well, but it costs 8 to 16 % more time, and not for NaN, since 0 * NaN is NaN. With integers it cannot
    close the gates (edge: R h up to 24, while W x is clipped at -8).

    Args:
        graph: Graph to add to.
        shape: [windows, hidden].
        name: Name in the file.
        quant: Quantization; None: float32.
        version: Version of SLICE.
    """
    variable = graph.tensor(shape, name, variable=True, quant=quant)
    if quant is None:
        zeros = graph.constant(np.zeros(shape, np.float32), f"{name}.zero")
    else:
        values = np.full(shape, quant.zero_point, quant.dtype)
        zeros = graph.constant(values, f"{name}.zero", quant.scale, quant.zero_point)
    bounds = [graph.constant(np.array(values, np.int32)) for values in ((0, 0), shape)]
    graph.add_op("SLICE", [zeros, *bounds], [variable], version=version)
    return variable
