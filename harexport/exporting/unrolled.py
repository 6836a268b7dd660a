"""The LSTM stack as plain operators, one group a step: stateless by construction, and XNNPACK takes all of it.

This form, layer after layer, is for float weights; wavefront.py is for int8 weights. XNNPACK takes SPLIT up to 4
outputs and CONCATENATION up to 5 inputs, so rows are handed out by SLICE and gathered by a tree of
CONCATENATIONs: one partition, as fast as one SPLIT and one CONCATENATION outside of it.

A sequence is [steps, values] for one window, and [windows, steps, values] for any other number of them; one
step of it is [1, values] or [windows, 1, values].
"""

from __future__ import annotations

import numpy as np

from harexport.exporting.flat import Graph
from harexport.exporting.weights import add_weight, dense
from harexport.layers import LstmLayer

_JOINED = 4  # rows a CONCATENATION joins


def lower(graph: Graph, layers: tuple[LstmLayer, ...], rows: int, lead: tuple[int, ...], scheme: str) -> int:
    """From the input layer's `rows` to the last layer's last state, one step of a sequence.

    `lead` is (steps,), then `rows` may have any shape that holds so many rows, or (windows, steps).
    """
    states: list[int] = []
    for k, layer in enumerate(layers):
        if states:
            rows = joined(graph, states)
        states = _layer(graph, layer, rows, lead, scheme, f"lstm.{k}")
    return states[-1]


def group(graph: Graph, gates: int, cell: int | None, two: int, unity: int) -> tuple[int, int]:
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


def row(graph: Graph, rows: int, t: int) -> int:
    """Step t of the sequence `rows`."""
    return columns(graph, rows, t, 0, graph.shapes[rows][-1])


def columns(graph: Graph, rows: int, t: int, first: int, width: int) -> int:
    """`width` columns from `first` on, of step t of the sequence `rows`."""
    windows = graph.shapes[rows][:-2]
    begin = graph.constant(np.array([0] * len(windows) + [t, first], np.int32))
    # -1 is all of them; XNNPACK wants the number where it is known
    sizes = [-1] * len(windows) if graph.is_open else list(windows)
    size = graph.constant(np.array([*sizes, 1, width], np.int32))
    return graph.op("SLICE", [rows, begin, size], (*windows, 1, width))


def _layer(graph: Graph, layer: LstmLayer, rows: int, lead: tuple[int, ...], scheme: str, name: str) -> list[int]:
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
    projected = dense(graph, rows, forward, bias, lead, scheme)
    states: list[int] = []
    cell = None
    for t in range(steps):
        gates = row(graph, projected, t)
        if states:  # h = 0 before the first step: nothing to multiply
            product = dense(graph, states[-1], recurrent, no_bias, (*windows, 1), scheme)
            gates = graph.op("ADD", [gates, product], graph.shapes[gates])
        state, cell = group(graph, gates, cell, two, unity)
        states.append(state)
    return states


def joined(graph: Graph, parts: list[int]) -> int:
    """Steps one after the other as a sequence, by a tree of CONCATENATIONs."""
    while len(parts) > 1:
        runs = [parts[start : start + _JOINED] for start in range(0, len(parts), _JOINED)]
        parts = [run[0] if len(run) == 1 else _one_after_the_other(graph, run) for run in runs]
    return parts[0]


def _one_after_the_other(graph: Graph, parts: list[int]) -> int:
    *windows, _, width = graph.shapes[parts[0]]
    count = sum(graph.shapes[part][-2] for part in parts)
    return graph.op("CONCATENATION", parts, (*windows, count, width), axis=len(windows))
