"""The unrolled LSTM stack with all layers side by side: layer k works on step t - k while layer 0 works on step t.

One group of operators then serves every layer, so a stack of two needs steps + 1 groups and not 2 * steps.
The price is one recurrent matrix for the whole stack, with blocks of zeros: layer k sees its own state and
the state of the layer below, nothing else.

With int8 weights that pays everywhere it was tried, time against layer after layer: 0.83 (edge: 48 units, 7
steps), 0.66 (seed, 128 steps), 0.73 (hidden 32, 8 steps), 0.94 (hidden 64), 0.66 (three layers); 0.74 to 1.0
in TensorFlow Lite's own kernels. With float32 it does not: 1.46 for edge, because XNNPACK packs a copy of the weights
for every step and the copies leave the cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harexport.exporting.flat import Graph
from harexport.exporting.unrolled import columns, group, row
from harexport.exporting.weights import add_weight, dense
from harexport.layers import LstmLayer

_SCHEME = "int8-weights"


def lower(graph: Graph, layers: tuple[LstmLayer, ...], rows: int, lead: tuple[int, ...]) -> int:
    """From the input layer's `rows` to the last layer's last state; `rows`, `lead` and state as in unrolled.py."""
    ends = np.cumsum([layer.hidden for layer in layers])
    width = int(ends[-1])
    projection, recurrent, input_bias, stack_bias = side_by_side(layers, ends)
    forward = add_weight(graph, projection, "lstm.0.input_weight", _SCHEME)
    weight = add_weight(graph, recurrent, "lstm.recurrent_weight", _SCHEME)
    bias = graph.constant(stack_bias.astype(np.float32), "lstm.bias")
    first = graph.constant(input_bias.astype(np.float32), "lstm.0.bias")

    *windows, steps = lead
    projected = dense(graph, rows, forward, first, lead, _SCHEME)
    gates = row(graph, projected, 0)  # h = 0 before the first step: nothing to multiply
    state, cell = group(graph, gates, None, *_constants(graph, ends, 0))
    for t in range(1, steps + len(layers) - 1):
        gates = dense(graph, state, weight, bias, (*windows, 1), _SCHEME)
        if t < steps:
            gates = graph.op("ADD", [row(graph, projected, t), gates], (*windows, 1, 4 * width))
        state, cell = group(graph, gates, cell, *_constants(graph, ends, t))
    if len(layers) == 1:
        return state
    return columns(graph, state, 0, int(ends[-2]), layers[-1].hidden)


def _constants(graph: Graph, ends: NDArray[np.integer], t: int) -> tuple[int, int]:
    """The 2 and the 1 of `group`, where layers that have not begun at step t have 0: their c and h stay 0.

    A layer that has ended runs on, into values that no layer above reads any more.
    """
    begun = np.ones(1) if t + 1 >= len(ends) else (np.arange(ends[-1]) < ends[t]).astype(float)[None]
    return graph.constant((2 * begun).astype(np.float32)), graph.constant(begun.astype(np.float32))


def side_by_side(
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
