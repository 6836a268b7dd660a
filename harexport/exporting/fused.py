"""The LSTM stack as TensorFlow Lite's fused operator, made stateless inside the graph."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.exporting.flat import Graph
from harexport.exporting.weights import HYBRID_VERSIONS, add_weight
from harexport.layers import LstmLayer

_RESET = 1e4  # what the reset row adds to the i, f and o gates: sigmoid(-1e4) is 0 in float32
_LARGEST_SQUARE = 1e30  # of a row's value: far above any signal, far below what overflows in a sum
_ABSENT = -1  # an optional input that is not there
# Positions of the operator's 24 inputs (lstm_eval.cc): 1-4 input weights, 5-8 recurrent weights and
# 12-15 biases in the order i, f, candidate, o, which is PyTorch's; 18 and 19 the state h and the cell c.
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES, _STATES = 1, 5, 12, 18


def lower(graph: Graph, layers: tuple[LstmLayer, ...], rows: int, scheme: str) -> int:
    """From the input layer's `rows` [windows, steps, units + 1] to the last layer's last state [windows, 1, hidden].

    The operator keeps h and c between invokes (FACTS, trap 1). So one more row follows the window's: its
    last column, the indicator, is 0 in every row of the window (the input layer has an output without
    weights for it) and huge in this row, where it closes the i, f and o gates: c and h become 0, and the next
    invoke begins as the first one did. The answer is read one row earlier.
    """
    windows, steps, width = graph.shapes[rows]
    sequence = rows
    for k, layer in enumerate(layers):
        indicator, weights = _with_indicator(layer)
        if k == 0:
            reset = np.zeros((windows, 1, width), np.float32)
            reset[..., -1] = indicator
            parts = [sequence, graph.constant(reset, "reset_row")]
            sequence = graph.op("CONCATENATION", parts, (windows, steps + 1, width), axis=1)
        else:  # the layer below answers the reset row with zeros, so the indicator must join again
            column = np.zeros((windows, steps + 1, 1), np.float32)
            column[:, -1] = indicator
            parts = [sequence, graph.constant(column, f"reset_column.{k}")]
            width = layers[k - 1].hidden + 1
            sequence = graph.op("CONCATENATION", parts, (windows, steps + 1, width), axis=2)
        sequence = _operator(graph, layer, weights, sequence, scheme, f"lstm.{k}")
    last = (windows, 1, layers[-1].hidden)
    begin, size = graph.constant(np.array([0, steps - 1, 0], np.int32)), graph.constant(np.array(last, np.int32))
    return graph.op("SLICE", [sequence, begin, size], last)


def finite(graph: Graph, rows: int) -> int:
    """The input layer's rows with 0 in place of NaN, infinity and what is nearly that: none of it reaches the cell.

    Once NaN is in the cell no gate gets it out: 0 * NaN is NaN, and every later answer would be. Huge numbers
    become infinite, and their differences NaN, in the operator's own sums. No comparison with NaN is true, on
    every processor; minimum and maximum of NaN are not the same on all. Costs 3 % at 7 steps and 1 % at 128.
    """
    shape = graph.shapes[rows]
    largest = graph.constant(np.array([_LARGEST_SQUARE], np.float32))
    mask = graph.op("LESS", [graph.op("MUL", [rows, rows], shape), largest], shape)
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
    scheme: str,
    name: str,
) -> int:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over [windows, steps, inputs]: the states h [windows, steps, hidden]."""
    windows, steps, _ = graph.shapes[sequence]
    int8 = scheme == "int8-weights"
    inputs = [sequence] + [_ABSENT] * 23
    recurrent, biases = np.split(layer.recurrent_weight, 4), np.split(layer.bias, 4)
    for k, gate in enumerate("ifgo"):
        for position, weight in ((_INPUT_WEIGHTS, input_weights[k]), (_RECURRENT_WEIGHTS, recurrent[k])):
            label = f"{name}.{'input' if position == _INPUT_WEIGHTS else 'recurrent'}_weight.{gate}"
            inputs[position + k] = add_weight(graph, weight, label, scheme)
        inputs[_BIASES + k] = graph.constant(biases[k].astype(np.float32), f"{name}.bias.{gate}")
    for k, state in enumerate("hc"):
        inputs[_STATES + k] = graph.tensor((windows, layer.hidden), f"{name}.{state}", variable=True)
    return graph.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        (windows, steps, layer.hidden),
        version=HYBRID_VERSIONS["UNIDIRECTIONAL_SEQUENCE_LSTM"] if int8 else 1,
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=0.0,  # PyTorch has none; TensorFlow's converter would write 10 (FACTS, trap 2)
        projClip=0.0,
    )
