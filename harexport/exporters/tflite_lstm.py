"""The LSTM stack as plain operators, one group a step: stateless by construction, and XNNPACK takes all of it.

This form, layer after layer, is for float weights; wavefront.py is for int8 weights. XNNPACK takes SPLIT up to 4
outputs and CONCATENATION up to 5 inputs, so rows are handed out by SLICE and gathered by a tree of
CONCATENATIONs: one partition, as fast as one SPLIT and one CONCATENATION outside of it.

A sequence is [steps, values] for one window, and [windows, steps, values] for any other number of them; one
step of it is [1, values] or [windows, 1, values].
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.exporters.tflite_ops import HYBRID_VERSIONS, add_weight, fully_connected
from harexport.formats.tflite_builder import QuantParams, TfliteBuilder
from harexport.model.layers import LstmLayer

_JOINED = 4  # rows a CONCATENATION joins


def lower_unrolled(
    graph: TfliteBuilder, layers: tuple[LstmLayer, ...], rows: int, lead: tuple[int, ...], scheme: str
) -> int:
    """From the input layer's `rows` to the last layer's last state, one step of a sequence.

    `lead` is (steps,), then `rows` may have any shape that holds so many rows, or (windows, steps).
    """
    states: list[int] = []
    for k, layer in enumerate(layers):
        if states:
            rows = concat_steps(graph, states)
        states = _layer(graph, layer, rows, lead, scheme, f"lstm.{k}")
    return states[-1]


def lstm_step(graph: TfliteBuilder, gates: int, cell: int | None, two: int, unity: int) -> tuple[int, int]:
    """One step after its matrix products: gates [..., 4 * width] in the order i, f, candidate, o -> state h, cell c.

    tanh x = 2 sigmoid(2x) - 1: with the candidate's rows doubled one LOGISTIC serves all four gates. `two`
    and `unity` are the constants 2 and 1. Without a cell there is nothing to forget: the first step.
    """
    *lead, four = graph.shapes[gates]
    one = (*lead, four // 4)
    axis = graph.constant(np.array(len(lead), np.int32))
    sigmoids = graph.op("LOGISTIC", [gates], (*lead, four))
    i, f, g, o = graph.ops("SPLIT", [axis, sigmoids], [one] * 4, numSplits=4)
    candidate = graph.op("SUB", [graph.op("MUL", [g, two], one), unity], one)
    new = graph.op("MUL", [i, candidate], one)
    if cell is not None:
        new = graph.op("ADD", [graph.op("MUL", [f, cell], one), new], one)
    return graph.op("MUL", [o, graph.op("TANH", [new], one)], one), new


def slice_step(graph: TfliteBuilder, rows: int, t: int) -> int:
    """Step t of the sequence `rows`."""
    return slice_columns(graph, rows, t, 0, graph.shapes[rows][-1])


def slice_columns(graph: TfliteBuilder, rows: int, t: int, first: int, width: int) -> int:
    """`width` columns from `first` on, of step t of the sequence `rows`."""
    windows = graph.shapes[rows][:-2]
    begin = graph.constant(np.array([0] * len(windows) + [t, first], np.int32))
    # -1 is all of them; XNNPACK wants the number where it is known
    sizes = [-1] * len(windows) if graph.is_open else list(windows)
    size = graph.constant(np.array([*sizes, 1, width], np.int32))
    return graph.op("SLICE", [rows, begin, size], (*windows, 1, width))


def _layer(
    graph: TfliteBuilder, layer: LstmLayer, rows: int, lead: tuple[int, ...], scheme: str, name: str
) -> list[int]:
    """One layer: its state h after each step. The inputs of all steps are projected at once."""
    hidden = layer.hidden
    double = np.ones((4 * hidden, 1))
    double[2 * hidden : 3 * hidden] = 2.0  # the candidate's rows, see `group`
    forward = add_weight(graph, layer.input_weight * double, f"{name}.input_weight", scheme)
    recurrent = add_weight(graph, layer.recurrent_weight * double, f"{name}.recurrent_weight", scheme)
    bias = graph.constant((layer.bias * double[:, 0]).astype(np.float32), f"{name}.bias")
    no_bias = graph.constant(np.zeros(4 * hidden, np.float32))  # without a bias the operator needs version 6
    two, unity = graph.constant(np.array([2.0], np.float32)), graph.constant(np.array([1.0], np.float32))

    *windows, steps = lead
    projected = fully_connected(graph, rows, forward, bias, lead, scheme)
    states: list[int] = []
    cell = None
    for t in range(steps):
        gates = slice_step(graph, projected, t)
        if states:  # h = 0 before the first step: nothing to multiply
            product = fully_connected(graph, states[-1], recurrent, no_bias, (*windows, 1), scheme)
            gates = graph.op("ADD", [gates, product], graph.shapes[gates])
        state, cell = lstm_step(graph, gates, cell, two, unity)
        states.append(state)
    return states


def concat_steps(graph: TfliteBuilder, parts: list[int]) -> int:
    """Steps one after the other as a sequence, by a tree of CONCATENATIONs."""
    while len(parts) > 1:
        runs = [parts[start : start + _JOINED] for start in range(0, len(parts), _JOINED)]
        parts = [run[0] if len(run) == 1 else _one_after_the_other(graph, run) for run in runs]
    return parts[0]


def _one_after_the_other(graph: TfliteBuilder, parts: list[int]) -> int:
    *windows, _, width = graph.shapes[parts[0]]
    count = sum(graph.shapes[part][-2] for part in parts)
    return graph.op("CONCATENATION", parts, (*windows, count, width), axis=len(windows))


_SCHEME = "int8-weights"


def lower_wavefront(graph: TfliteBuilder, layers: tuple[LstmLayer, ...], rows: int, lead: tuple[int, ...]) -> int:
    """From the input layer's `rows` to the last layer's last state; `rows`, `lead` and state as in unrolled.py."""
    ends = np.cumsum([layer.hidden for layer in layers])
    width = int(ends[-1])
    projection, recurrent, input_bias, stack_bias = stack_layer_weights(layers, ends)
    forward = add_weight(graph, projection, "lstm.0.input_weight", _SCHEME)
    weight = add_weight(graph, recurrent, "lstm.recurrent_weight", _SCHEME)
    bias = graph.constant(stack_bias.astype(np.float32), "lstm.bias")
    first = graph.constant(input_bias.astype(np.float32), "lstm.0.bias")

    *windows, steps = lead
    projected = fully_connected(graph, rows, forward, first, lead, _SCHEME)
    gates = slice_step(graph, projected, 0)  # h = 0 before the first step: nothing to multiply
    state, cell = lstm_step(graph, gates, None, *_constants(graph, ends, 0))
    for t in range(1, steps + len(layers) - 1):
        gates = fully_connected(graph, state, weight, bias, (*windows, 1), _SCHEME)
        if t < steps:
            gates = graph.op("ADD", [slice_step(graph, projected, t), gates], (*windows, 1, 4 * width))
        state, cell = lstm_step(graph, gates, cell, *_constants(graph, ends, t))
    if len(layers) == 1:
        return state
    return slice_columns(graph, state, 0, int(ends[-2]), layers[-1].hidden)


def _constants(graph: TfliteBuilder, ends: NDArray[np.integer], t: int) -> tuple[int, int]:
    """The 2 and the 1 of `group`, where layers that have not begun at step t have 0: their c and h stay 0.

    A layer that has ended runs on, into values that no layer above reads any more.
    """
    begun = np.ones(1) if t + 1 >= len(ends) else (np.arange(ends[-1]) < ends[t]).astype(float)[None]
    return graph.constant((2 * begun).astype(np.float32)), graph.constant(begun.astype(np.float32))


def stack_layer_weights(
    layers: tuple[LstmLayer, ...], ends: NDArray[np.integer]
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Input weight [4 * width, units], recurrent weight [4 * width, width], and the two biases [4 * width].

    Gate by gate (i, f, candidate, o), each with all layers below each other; candidates doubled, as
    unrolled.py explains. The first bias is layer 0's, which comes with its inputs, the second the others'.
    """
    width = int(ends[-1])
    double = np.array([1.0, 1.0, 2.0, 1.0])
    projection = np.zeros((4, width, layers[0].input_weight.shape[1]))
    recurrent = np.zeros((4, width, width))
    biases = np.zeros((2, 4, width))
    for k, layer in enumerate(layers):
        own = slice(int(ends[k]) - layer.hidden, int(ends[k]))
        forward = layer.input_weight.reshape(4, layer.hidden, -1) * double[:, None, None]
        if k == 0:
            projection[:, own] = forward
        else:
            below = slice(own.start - layers[k - 1].hidden, own.start)
            recurrent[:, own, below] = forward
        recurrent[:, own, own] = layer.recurrent_weight.reshape(4, layer.hidden, -1) * double[:, None, None]
        biases[min(k, 1), :, own] = layer.bias.reshape(4, layer.hidden) * double[:, None]
    return projection.reshape(4 * width, -1), recurrent.reshape(4 * width, width), *biases.reshape(2, 4 * width)


_ABSENT = -1  # an optional input that is not there
# Positions of the operator's 24 inputs (lstm_eval.cc): 1-4 input weights, 5-8 recurrent weights and
# 12-15 biases in the order i, f, candidate, o, which is PyTorch's; 18 and 19 the state h and the cell c.
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES, _STATES = 1, 5, 12, 18


def lower_fused(graph: TfliteBuilder, layers: tuple[LstmLayer, ...], rows: int, scheme: str) -> int:
    """From the input layer's `rows` [windows, steps, units] to the last layer's last state [windows, 1, hidden]."""
    for k, layer in enumerate(layers):
        rows = _operator(graph, layer, rows, scheme, f"lstm.{k}")
    windows, steps, hidden = graph.shapes[rows]
    begin = graph.constant(np.array([0, steps - 1, 0], np.int32))
    last = (windows, 1, hidden)
    return graph.op("SLICE", [rows, begin, graph.constant(np.array(last, np.int32))], last)


def _operator(graph: TfliteBuilder, layer: LstmLayer, rows: int, scheme: str, name: str) -> int:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over [windows, steps, inputs]: the states h [windows, steps, hidden]."""
    windows, steps, _ = graph.shapes[rows]
    int8 = scheme == "int8-weights"
    inputs = [rows] + [_ABSENT] * 23
    forward, recurrent, biases = (
        np.split(values, 4) for values in (layer.input_weight, layer.recurrent_weight, layer.bias)
    )
    for k, gate in enumerate("ifgo"):
        inputs[_INPUT_WEIGHTS + k] = add_weight(graph, forward[k], f"{name}.input_weight.{gate}", scheme)
        inputs[_RECURRENT_WEIGHTS + k] = add_weight(graph, recurrent[k], f"{name}.recurrent_weight.{gate}", scheme)
        inputs[_BIASES + k] = graph.constant(biases[k].astype(np.float32), f"{name}.bias.{gate}")
    for k, letter in enumerate("hc"):
        inputs[_STATES + k] = zero_state(graph, (windows, layer.hidden), f"{name}.{letter}")
    return graph.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        (windows, steps, layer.hidden),
        version=HYBRID_VERSIONS["UNIDIRECTIONAL_SEQUENCE_LSTM"] if int8 else 1,
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=0.0,  # PyTorch has none; TensorFlow's converter would write 10 (FACTS, trap 2)
        projClip=0.0,
    )


def zero_state(
    graph: TfliteBuilder, shape: tuple[int, int], name: str, quant: QuantParams | None = None, version: int = 1
) -> int:
    """A variable tensor, float32 or `quant`, that an operator sets to zero before the LSTM reads it.

    The LSTM keeps h and c between invokes (FACTS, trap 1), and NaN in them for good. A SLICE of a constant writes
    the zeros anew at every invoke. FACTS' cure, a last row of input that closes the gates, costs 8 to 16 % more and
    does not help against NaN, since 0 * NaN is NaN; on integers it cannot close the gates (edge: R h up to 24, and
    W x ends at -8). `version` is SLICE's.
    """
    variable = graph.tensor(shape, name, variable=True, quant=quant)
    if quant is None:
        zeros = graph.constant(np.zeros(shape, np.float32), f"{name}.zero")
    else:
        values = np.full(shape, quant.zero_point, quant.dtype)
        zeros = graph.constant(values, f"{name}.zero", quant.scale, quant.zero_point)
    places = [graph.constant(np.array(values, np.int32)) for values in ((0, 0), shape)]
    graph.write("SLICE", [zeros, *places], [variable], version=version)
    return variable
