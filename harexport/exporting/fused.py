"""The LSTM stack as TensorFlow Lite's fused operator, made stateless inside the graph."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.exporting.flat import Graph
from harexport.exporting.weights import HYBRID_VERSIONS, add_weight
from harexport.layers import LstmLayer

_RESET = 1e4  # what the reset row adds to the i, f and o gates: sigmoid(-1e4) is 0 in float32
_ABSENT = -1  # an optional input that is not there
# Positions of the operator's 24 inputs (lstm_eval.cc): 1-4 input weights, 5-8 recurrent weights and
# 12-15 biases in the order i, f, candidate, o, which is PyTorch's; 18 and 19 the state h and the cell c.
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES, _STATES = 1, 5, 12, 18


def lower(graph: Graph, layers: tuple[LstmLayer, ...], rows: int, steps: int, int8: bool) -> int:
    """From the input layer's `rows` [1, steps, units + 1] to the last layer's last state [1, 1, hidden].

    The operator keeps h and c between invokes (FACTS, trap 1). So one more row follows the window's: its
    last column, the indicator, is 0 in every row of the window (the input layer has an output without
    weights for it) and huge in this row, where it closes the i, f and o gates: c and h become 0, and the next
    invoke begins as the first one did. The answer is read one row earlier.
    """
    sequence, units = rows, graph.shapes[rows][2] - 1
    for k, layer in enumerate(layers):
        indicator, weights = _with_indicator(layer)
        if k == 0:
            reset = np.zeros((1, 1, units + 1), np.float32)
            reset[..., -1] = indicator
            parts = [sequence, graph.constant(reset, "reset_row")]
            sequence = graph.op("CONCATENATION", parts, (1, steps + 1, units + 1), axis=1)
        else:  # the layer below answers the reset row with zeros, so the indicator must join again
            column = np.zeros((1, steps + 1, 1), np.float32)
            column[:, -1] = indicator
            parts = [sequence, graph.constant(column, f"reset_column.{k}")]
            width = layers[k - 1].hidden + 1
            sequence = graph.op("CONCATENATION", parts, (1, steps + 1, width), axis=2)
        sequence = _operator(graph, layer, weights, sequence, steps + 1, int8, f"lstm.{k}")
    begin, size = np.array([0, steps - 1, 0], np.int32), np.array([1, 1, layers[-1].hidden], np.int32)
    return graph.op("SLICE", [sequence, graph.constant(begin), graph.constant(size)], (1, 1, layers[-1].hidden))


def finite(graph: Graph, rows: int) -> int:
    """The input layer's rows with 0 in place of NaN and infinity, so that neither ever reaches the cell.

    Once NaN is in the cell no gate gets it out: 0 * NaN is NaN, and every later answer would be. x - x is 0
    or, of NaN and infinity, NaN, and only NaN differs from itself: comparisons mean the same on every
    processor, minimum and maximum of NaN do not. Costs 3 % at 7 steps and 1 % at 128.
    """
    shape = graph.shapes[rows]
    zero = graph.op("SUB", [rows, rows], shape)
    mask = graph.op("EQUAL", [zero, zero], shape)
    return graph.op("SELECT", [mask, rows, graph.op("ZEROS_LIKE", [rows], shape)], shape)


def _with_indicator(layer: LstmLayer) -> tuple[float, list[NDArray[np.float64]]]:
    """The indicator's value, and the input weights of each gate [hidden, inputs + 1] with its column.

    int8 has one scale a tensor, so the column is as large as its gate's largest weight and the size comes
    from the value: the other weights lose nothing.
    """
    gates = [gate.astype(np.float64) for gate in np.split(layer.input_weight, 4)]
    sizes = [float(np.abs(gate).max()) or 1.0 for gate in gates]
    closing = [-sizes[0], -sizes[1], 0.0, -sizes[3]]  # with i and f closed the candidate does not matter
    columns = [np.hstack([gate, np.full((layer.hidden, 1), value)]) for gate, value in zip(gates, closing, strict=True)]
    return _RESET / min(sizes[0], sizes[1], sizes[3]), columns


def _operator(
    graph: Graph,
    layer: LstmLayer,
    input_weights: list[NDArray[np.float64]],
    sequence: int,
    steps: int,
    int8: bool,
    name: str,
) -> int:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over [1, steps, inputs]: the states h [1, steps, hidden]."""
    inputs = [sequence] + [_ABSENT] * 23
    recurrent, biases = np.split(layer.recurrent_weight, 4), np.split(layer.bias, 4)
    for k, gate in enumerate("ifgo"):
        for position, weight in ((_INPUT_WEIGHTS, input_weights[k]), (_RECURRENT_WEIGHTS, recurrent[k])):
            label = f"{name}.{'input' if position == _INPUT_WEIGHTS else 'recurrent'}_weight.{gate}"
            inputs[position + k] = add_weight(graph, weight, label, int8)
        inputs[_BIASES + k] = graph.constant(biases[k].astype(np.float32), f"{name}.bias.{gate}")
    for k, state in enumerate("hc"):
        inputs[_STATES + k] = graph.tensor((1, layer.hidden), f"{name}.{state}", variable=True)
    return graph.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        (1, steps, layer.hidden),
        version=HYBRID_VERSIONS["UNIDIRECTIONAL_SEQUENCE_LSTM"] if int8 else 1,
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=0.0,  # PyTorch has none; TensorFlow's converter would write 10 (FACTS, trap 2)
        projClip=0.0,
    )
