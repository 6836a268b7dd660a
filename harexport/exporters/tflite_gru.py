"""A stack of GRU layers as plain operators, one group a step: stateless by construction, and XNNPACK takes all of it.

TensorFlow Lite has no GRU operator. The update (1 - z) n + z h (Cho et al. 2014) is computed as n + z (h - n),
one operator less. Gates r and z share a matrix product and a LOGISTIC. Where the reset gate comes after the
recurrent product (torch.nn.GRU), the candidate's product is part of that same product; where it comes before
(TensorFlow 1's GRUCell), it needs one of its own, on r h.

Two forms, as for the LSTM: layer after layer (unrolled.py), and for stacks with int8 weights all layers side by
side (wavefront.py), whose time against layer after layer is 0.86 (two of 48, 7 steps), 0.69 (two of 32, 32
steps), 0.75 (three layers, 8 steps), 1.1 (two of 64, 7 steps), and with float32 1.4 to 1.9 from hidden 48 on.
Sequences and steps have the shapes that unrolled.py explains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.exporters import tflite_ops
from harexport.exporters.tflite_lstm import concat_steps, slice_columns
from harexport.formats.tflite_builder import TfliteBuilder
from harexport.model.layers import GruLayer


def lower(graph: TfliteBuilder, layers: tuple[GruLayer, ...], rows: int, lead: tuple[int, ...], scheme: str) -> int:
    """From the input layer's `rows` to the last layer's last state, one step of a sequence.

    `lead` is (steps,), then `rows` may have any shape that holds so many rows, or (windows, steps).
    """
    if scheme == "int8-weights" and len(layers) > 1:
        return _side_by_side(graph, layers, rows, lead, scheme)
    states: list[int] = []
    for k, layer in enumerate(layers):
        if states:
            rows = concat_steps(graph, states)
        states = _layer(graph, layer, rows, lead, scheme, f"gru.{k}")
    return states[-1]


@dataclass(frozen=True)
class _Product:
    """A matrix product with a bias; its constants are in the file once, however many steps call it."""

    weight: int
    bias: int
    scheme: str

    @staticmethod
    def add(
        graph: TfliteBuilder, values: NDArray[np.floating], bias: NDArray[np.floating] | None, name: str, scheme: str
    ) -> _Product:
        weight = tflite_ops.add_weight(graph, values, f"{name}_weight", scheme)
        # zeros where there is none: without a bias the operator needs version 6
        offsets = np.zeros(len(values)) if bias is None else bias
        return _Product(weight, graph.constant(offsets.astype(np.float32), f"{name}_bias"), scheme)

    def of(self, graph: TfliteBuilder, rows: int, lead: tuple[int, ...]) -> int:
        return tflite_ops.fully_connected(graph, rows, self.weight, self.bias, lead, self.scheme)


def _layer(
    graph: TfliteBuilder, layer: GruLayer, rows: int, lead: tuple[int, ...], scheme: str, name: str
) -> list[int]:
    """One layer: its state h after each step. The inputs of all steps are projected at once."""
    hidden, gates, matrix = layer.hidden, 2 * layer.hidden, layer.recurrent_weight
    now = (*lead[:-1], 1)
    forward = _Product.add(graph, layer.input_weight, layer.bias, f"{name}.input", scheme)
    candidate = None
    if layer.reset_after:
        bias = np.concatenate([np.zeros(gates), layer.recurrent_bias])
        recurrent = _Product.add(graph, matrix, bias, f"{name}.recurrent", scheme)
    else:
        recurrent = _Product.add(graph, matrix[:gates], None, f"{name}.gates", scheme)
        candidate = _Product.add(graph, matrix[gates:], None, f"{name}.candidate", scheme)

    projected = forward.of(graph, rows, lead)
    states: list[int] = []
    for t in range(lead[-1]):
        sums, n = slice_columns(graph, projected, t, 0, gates), slice_columns(graph, projected, t, gates, hidden)
        h, inner = None, None
        if states:  # h = 0 before the first step: nothing to multiply
            h = states[-1]
            back = recurrent.of(graph, h, now)
            if layer.reset_after:
                back, inner = slice_columns(graph, back, 0, 0, gates), slice_columns(graph, back, 0, gates, hidden)
            sums = graph.op("ADD", [sums, back], graph.shapes[sums])
        elif layer.reset_after:
            inner = graph.constant(layer.recurrent_bias.astype(np.float32))
        states.append(_step(graph, sums, n, inner, candidate, h, layer.relu))
    return states


def _side_by_side(
    graph: TfliteBuilder, layers: tuple[GruLayer, ...], rows: int, lead: tuple[int, ...], scheme: str
) -> int:
    """All layers at once, layer k on step t - k: one group of operators serves the whole stack. Its last state."""
    first, ends = layers[0], np.cumsum([layer.hidden for layer in layers])
    width, steps, now = int(ends[-1]), lead[-1], (*lead[:-1], 1)
    projection, matrix, own = _blocks(layers, ends)
    recurrent = _Product.add(graph, *matrix, "gru.recurrent", scheme)
    candidate = None if first.reset_after else _Product.add(graph, own, None, "gru.candidate", scheme)

    projected = _Product.add(graph, *projection, "gru.0.input", scheme).of(graph, rows, lead)
    h = None
    for t in range(steps + len(layers) - 1):
        inner = None
        if h is None:
            sums = slice_columns(graph, projected, 0, 0, 3 * width)
            if first.reset_after:
                bias = np.pad(first.recurrent_bias, (0, width - first.hidden))
                inner = graph.constant(bias.astype(np.float32))
        else:
            sums = recurrent.of(graph, h, now)
            if first.reset_after:
                sums, inner = (
                    slice_columns(graph, sums, 0, 0, 3 * width),
                    slice_columns(graph, sums, 0, 3 * width, width),
                )
            if t < steps:  # after that layer 0 runs on, into values that no layer above reads any more
                sums = graph.op("ADD", [sums, slice_columns(graph, projected, t, 0, 3 * width)], (*now, 3 * width))
        gates, n = slice_columns(graph, sums, 0, 0, 2 * width), slice_columns(graph, sums, 0, 2 * width, width)
        h = _step(graph, gates, n, inner, candidate, h, first.relu)
        if t + 1 < len(layers):  # the states of layers that have not begun stay 0
            begun = graph.constant((np.arange(width) < ends[t]).astype(np.float32))
            h = graph.op("MUL", [h, begun], (*now, width))
    assert h is not None
    return slice_columns(graph, h, 0, int(ends[-2]), layers[-1].hidden)


_Weighted = tuple[NDArray[np.floating], NDArray[np.floating]]


def _blocks(
    layers: tuple[GruLayer, ...], ends: NDArray[np.integer]
) -> tuple[_Weighted, _Weighted, NDArray[np.floating]]:
    """Weight and bias of the inputs' projection, of the product with all states, and the candidates' own matrix.

    Gate by gate, each with all layers below each other. What a layer above has from the layer below are its
    inputs, so the product with all states answers r, z, the candidates' sums, and where the reset gate comes
    after the product the candidates' R h + b_R apart from them.
    """
    width, after = int(ends[-1]), layers[0].reset_after
    projection, first = np.zeros((3, width, layers[0].input_weight.shape[1])), np.zeros((3, width))
    matrix, bias = np.zeros((3 + after, width, width)), np.zeros((3 + after, width))
    candidates = np.zeros((width, width))
    for k, layer in enumerate(layers):
        own = slice(int(ends[k]) - layer.hidden, int(ends[k]))
        forward, back = (w.reshape(3, layer.hidden, -1) for w in (layer.input_weight, layer.recurrent_weight))
        if k == 0:
            projection[:, own], first[:, own] = forward, layer.bias.reshape(3, -1)
        else:
            matrix[:3, own, own.start - layers[k - 1].hidden : own.start] = forward
            bias[:3, own] = layer.bias.reshape(3, -1)
        matrix[:2, own, own] = back[:2]
        if after:
            matrix[3, own, own], bias[3, own] = back[2], layer.recurrent_bias
        candidates[own, own] = back[2]
    flat = (projection.reshape(3 * width, -1), first.ravel()), (matrix.reshape(-1, width), bias.ravel())
    return *flat, candidates


def _step(
    graph: TfliteBuilder, gates: int, n: int, inner: int | None, candidate: _Product | None, h: int | None, relu: bool
) -> int:
    """The state after a step: `gates` are the sums of r and z side by side, `n` those of the candidate.

    To these come r times `inner`, which is R h + b_R, or the product `candidate` of r h; before the first step
    there is no h.
    """
    both, one = graph.shapes[gates], graph.shapes[n]
    columns = graph.constant(np.array(len(both) - 1, np.int32))
    r, z = graph.ops("SPLIT", [columns, graph.op("LOGISTIC", [gates], both)], [one, one], numSplits=2)
    back = None
    if inner is not None:
        back = graph.op("MUL", [r, inner], one)
    elif candidate is not None and h is not None:
        back = candidate.of(graph, graph.op("MUL", [r, h], one), one[:-1])
    n = _activated(graph, n, back, relu)
    if h is None:
        return graph.op("SUB", [n, graph.op("MUL", [z, n], one)], one)
    return graph.op("ADD", [n, graph.op("MUL", [z, graph.op("SUB", [h, n], one)], one)], one)


def _activated(graph: TfliteBuilder, sums: int, back: int | None, relu: bool) -> int:
    """The candidate: ReLU or tanh of its sums and what comes back from the state."""
    shape, operator = graph.shapes[sums], "RELU" if relu else "TANH"
    if back is None:
        return graph.op(operator, [sums], shape)
    if relu:
        return graph.op("ADD", [sums, back], shape, fusedActivationFunction=schema.ActivationFunctionType.RELU)
    return graph.op(operator, [graph.op("ADD", [sums, back], shape)], shape)
