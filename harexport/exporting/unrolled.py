"""The LSTM stack as plain operators, one group a step: stateless by construction, and XNNPACK takes all of it.

This form, layer after layer, is for float32; wavefront.py is for int8 weights. XNNPACK takes SPLIT up to 4
outputs and CONCATENATION up to 5 inputs, so rows are handed out by SLICE and gathered by a tree of
CONCATENATIONs: one partition, as fast as one SPLIT and one CONCATENATION outside of it.
"""

from __future__ import annotations

import numpy as np

from harexport.exporting.flat import Graph
from harexport.exporting.weights import add_weight, dense
from harexport.layers import LstmLayer

_JOINED = 4  # rows a CONCATENATION joins


def lower(graph: Graph, layers: tuple[LstmLayer, ...], rows: int, steps: int) -> int:
    """From the input layer's `rows` (steps x units values) to the last layer's last state [1, hidden]."""
    states: list[int] = []
    for k, layer in enumerate(layers):
        if states:
            rows = _joined(graph, states)
        states = _layer(graph, layer, rows, steps, f"lstm.{k}")
    return states[-1]


def group(graph: Graph, gates: int, cell: int | None, two: int, unity: int) -> tuple[int, int]:
    """One step after its matrix products: gates [1, 4 * width] in the order i, f, candidate, o -> state h, cell c.

    tanh x = 2 sigmoid(2x) - 1: with the candidate's rows doubled one LOGISTIC serves all four gates. `two`
    and `unity` are the constants 2 and 1. Without a cell there is nothing to forget: the first step.
    """
    width = graph.shapes[gates][1] // 4
    one = (1, width)
    columns = graph.constant(np.array(1, np.int32))
    sigmoids = graph.op("LOGISTIC", [gates], (1, 4 * width))
    i, f, g, o = graph.ops("SPLIT", [columns, sigmoids], [one] * 4, numSplits=4)
    candidate = graph.op("SUB", [graph.op("MUL", [g, two], one), unity], one)
    new = graph.op("MUL", [i, candidate], one)
    if cell is not None:
        new = graph.op("ADD", [graph.op("MUL", [f, cell], one), new], one)
    return graph.op("MUL", [o, graph.op("TANH", [new], one)], one), new


def row(graph: Graph, rows: int, t: int) -> int:
    """Row t of `rows` [steps, width], as [1, width]."""
    shape = (1, graph.shapes[rows][1])
    begin, size = graph.constant(np.array([t, 0], np.int32)), graph.constant(np.array(shape, np.int32))
    return graph.op("SLICE", [rows, begin, size], shape)


def _layer(graph: Graph, layer: LstmLayer, rows: int, steps: int, name: str) -> list[int]:
    """One layer: its state h [1, hidden] after each step. The inputs of all steps are projected at once."""
    hidden, four = layer.hidden, (1, 4 * layer.hidden)
    double = np.ones((4 * hidden, 1))
    double[2 * hidden : 3 * hidden] = 2.0  # the candidate's rows, see `group`
    forward = add_weight(graph, layer.input_weight * double, f"{name}.input_weight", int8=False)
    recurrent = add_weight(graph, layer.recurrent_weight * double, f"{name}.recurrent_weight", int8=False)
    bias = graph.constant((layer.bias * double[:, 0]).astype(np.float32), f"{name}.bias")
    no_bias = graph.constant(np.zeros(4 * hidden, np.float32))  # without a bias the operator needs version 6
    two, unity = graph.constant(np.array([2.0], np.float32)), graph.constant(np.array([1.0], np.float32))

    projected = dense(graph, rows, forward, bias, steps, int8=False)
    states: list[int] = []
    cell = None
    for t in range(steps):
        gates = row(graph, projected, t)
        if states:  # h = 0 before the first step: nothing to multiply
            gates = graph.op("ADD", [gates, dense(graph, states[-1], recurrent, no_bias, 1, int8=False)], four)
        state, cell = group(graph, gates, cell, two, unity)
        states.append(state)
    return states


def _joined(graph: Graph, parts: list[int]) -> int:
    """Rows [n, width] below each other, by a tree of CONCATENATIONs."""
    while len(parts) > 1:
        runs = [parts[start : start + _JOINED] for start in range(0, len(parts), _JOINED)]
        parts = [run[0] if len(run) == 1 else _below_each_other(graph, run) for run in runs]
    return parts[0]


def _below_each_other(graph: Graph, parts: list[int]) -> int:
    count = sum(graph.shapes[part][0] for part in parts)
    return graph.op("CONCATENATION", parts, (count, graph.shapes[parts[0]][1]), axis=0)
