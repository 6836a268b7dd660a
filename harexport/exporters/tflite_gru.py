"""GRU layers of a .tflite file, as plain operators for each step. Stateless, and XNNPACK runs all of it.

tflite_loop.py adds the same step once, as the body of a loop.

TensorFlow Lite has no GRU operator. The update (1 - z) n + z h (Cho et al. 2014) is computed as n + z (h - n), which
takes one operator less. Gates r and z share a matrix product and a LOGISTIC. If the reset gate is applied after the
recurrent product (torch.nn.GRU), that product includes the candidate's; if it is applied before (TensorFlow 1's
GRUCell), the candidate needs a product of its own, of r h.

As for the LSTM, layers are lowered one after the other, or with int8 weights as a wavefront. The latency of the
wavefront relative to layer after layer is 0.86 (two layers of 48 units, 7 steps), 0.69 (two of 32, 32 steps), 0.75
(three layers, 8 steps) and 1.1 (two of 64, 7 steps); with float32 it is 1.4 to 1.9 from 48 units on. tflite_lstm.py
describes the shapes of sequences and steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.exporters import tflite_ops
from harexport.exporters.tflite_lstm import slice_columns
from harexport.formats.tflite_builder import TfliteBuilder
from harexport.model.layers import GruLayer

_SCHEME = "int8-weights"  # of the wavefront


@dataclass(frozen=True)
class _Product:
    """A matrix product with a bias, whose constants all steps share."""

    weight: int
    bias: int
    scheme: str

    @staticmethod
    def create(
        graph: TfliteBuilder, values: NDArray[np.floating], bias: NDArray[np.floating] | None, name: str, scheme: str
    ) -> _Product:
        weight = tflite_ops.add_weight(graph, values, f"{name}_weight", scheme)
        # zeros instead of no bias, which would need version 6 of FULLY_CONNECTED
        offsets = np.zeros(len(values)) if bias is None else bias
        return _Product(weight, graph.constant(offsets.astype(np.float32), f"{name}_bias"), scheme)

    def apply(self, graph: TfliteBuilder, rows: int, leading_shape: tuple[int, ...]) -> int:
        return tflite_ops.fully_connected(graph, rows, self.weight, self.bias, leading_shape, self.scheme)


def unroll_layer(
    graph: TfliteBuilder,
    layer: GruLayer,
    rows: int,
    leading_shape: tuple[int, ...],
    scheme: str,
    name: str,
    backward: bool = False,
    initial: int | None = None,
) -> list[int]:
    """Return the state h after each step, in the order of execution. The inputs of all steps are projected at once.

    `initial` is the state before the first step.
    """
    forward = _Product.create(graph, layer.input_weight, layer.bias, f"{name}.input", scheme)
    products = _recurrent_products(graph, layer, scheme, name)
    projected = forward.apply(graph, rows, leading_shape)
    states: list[int] = []
    for t in reversed(range(leading_shape[-1])) if backward else range(leading_shape[-1]):
        states.append(_advance(graph, layer, projected, t, states[-1] if states else initial, *products))
    return states


def add_step(graph: TfliteBuilder, layer: GruLayer, projected: int, h: int, scheme: str, name: str) -> int:
    """Add one step of a loop, with constants of its own, and return the new state h.

    Args:
        graph: Body of the loop.
        layer: The layer.
        projected: Inputs of the step times the input weight, plus the bias, [..., 1, 3 * hidden].
        h: State before the step.
        scheme: Type of the weights.
        name: First part of the names in the file.
    """
    return _advance(graph, layer, projected, 0, h, *_recurrent_products(graph, layer, scheme, name))


def _recurrent_products(
    graph: TfliteBuilder, layer: GruLayer, scheme: str, name: str
) -> tuple[_Product, _Product | None]:
    """Add the weights of the product with h, and of the candidate's product of r h, None with `reset_after`."""
    gates, matrix = 2 * layer.hidden, layer.recurrent_weight
    if layer.reset_after:
        bias = np.concatenate([np.zeros(gates), layer.recurrent_bias])
        return _Product.create(graph, matrix, bias, f"{name}.recurrent", scheme), None
    recurrent = _Product.create(graph, matrix[:gates], None, f"{name}.gates", scheme)
    return recurrent, _Product.create(graph, matrix[gates:], None, f"{name}.candidate", scheme)


def _advance(
    graph: TfliteBuilder,
    layer: GruLayer,
    projected: int,
    t: int,
    h: int | None,
    recurrent: _Product,
    candidate: _Product | None,
) -> int:
    """Add step t of the sequence `projected` and return the state after it; h is None if it is 0."""
    hidden, gates = layer.hidden, 2 * layer.hidden
    sums, n = slice_columns(graph, projected, t, 0, gates), slice_columns(graph, projected, t, gates, hidden)
    inner = None
    if h is not None:
        back = recurrent.apply(graph, h, graph.shapes[n][:-1])
        if layer.reset_after:
            back, inner = slice_columns(graph, back, 0, 0, gates), slice_columns(graph, back, 0, gates, hidden)
        sums = graph.op("ADD", [sums, back], graph.shapes[sums])
    elif layer.reset_after:
        inner = graph.constant(layer.recurrent_bias.astype(np.float32))
    return _step(graph, sums, n, inner, candidate, h, layer.relu)


def lower_wavefront(
    graph: TfliteBuilder, layers: tuple[GruLayer, ...], rows: int, leading_shape: tuple[int, ...], name: str
) -> int:
    """Return the last state of all layers side by side, layer k on step t - k; see `tflite_lstm.lower_wavefront`."""
    first, ends = layers[0], np.cumsum([layer.hidden for layer in layers])
    width, steps, now = int(ends[-1]), leading_shape[-1], (*leading_shape[:-1], 1)
    projection, matrix, own = _stack_layer_weights(layers, ends)
    recurrent = _Product.create(graph, *matrix, f"{name}.recurrent", _SCHEME)
    candidate = None if first.reset_after else _Product.create(graph, own, None, f"{name}.candidate", _SCHEME)

    projected = _Product.create(graph, *projection, f"{name}.0.input", _SCHEME).apply(graph, rows, leading_shape)
    h = None
    for t in range(steps + len(layers) - 1):
        inner = None
        if h is None:
            sums = slice_columns(graph, projected, 0, 0, 3 * width)
            if first.reset_after:
                bias = np.pad(first.recurrent_bias, (0, width - first.hidden))
                inner = graph.constant(bias.astype(np.float32))
        else:
            sums = recurrent.apply(graph, h, now)
            if first.reset_after:
                sums, inner = (
                    slice_columns(graph, sums, 0, 0, 3 * width),
                    slice_columns(graph, sums, 0, 3 * width, width),
                )
            if t < steps:  # after the last step only the layers above continue
                sums = graph.op("ADD", [sums, slice_columns(graph, projected, t, 0, 3 * width)], (*now, 3 * width))
        gates, n = slice_columns(graph, sums, 0, 0, 2 * width), slice_columns(graph, sums, 0, 2 * width, width)
        h = _step(graph, gates, n, inner, candidate, h, first.relu)
        if t + 1 < len(layers):  # the states of layers that have not started stay 0
            started = graph.constant((np.arange(width) < ends[t]).astype(np.float32))
            h = graph.op("MUL", [h, started], (*now, width))
    assert h is not None
    return slice_columns(graph, h, 0, int(ends[-2]), layers[-1].hidden)


_WeightAndBias = tuple[NDArray[np.floating], NDArray[np.floating]]


def _stack_layer_weights(
    layers: tuple[GruLayer, ...], ends: NDArray[np.integer]
) -> tuple[_WeightAndBias, _WeightAndBias, NDArray[np.floating]]:
    """Stack the weights of all layers into block matrices, gate by gate with the rows of all layers.

    Returns:
        Weight and bias of the input projection [3 * width, inputs]; weight and bias of the product with all states,
        whose rows are r, z, the candidates' sums, and with `reset_after` the candidates' R h + b_R; and the
        candidates' recurrent weight [width, width].
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
    """Return the state after a step.

    Args:
        graph: Graph to add to.
        gates: Sums of r and z, [..., 2 * width].
        n: Sums of the candidate, [..., width].
        inner: R h + b_R of the candidate, which r multiplies; None with a reset gate before the product.
        candidate: The candidate's product of r h; None with a reset gate after the product.
        h: The state before the step; None at the first step.
        relu: Whether the candidate's activation is ReLU instead of tanh.
    """
    gates_shape, shape = graph.shapes[gates], graph.shapes[n]
    axis = graph.constant(np.array(len(gates_shape) - 1, np.int32))
    r, z = graph.ops("SPLIT", [axis, graph.op("LOGISTIC", [gates], gates_shape)], [shape, shape], numSplits=2)
    back = None
    if inner is not None:
        back = graph.op("MUL", [r, inner], shape)
    elif candidate is not None and h is not None:
        back = candidate.apply(graph, graph.op("MUL", [r, h], shape), shape[:-1])
    n = _activate(graph, n, back, relu)
    if h is None:
        return graph.op("SUB", [n, graph.op("MUL", [z, n], shape)], shape)
    return graph.op("ADD", [n, graph.op("MUL", [z, graph.op("SUB", [h, n], shape)], shape)], shape)


def _activate(graph: TfliteBuilder, sums: int, back: int | None, relu: bool) -> int:
    """Return the candidate: ReLU or tanh of the input's sums plus the state's contribution."""
    shape, operator = graph.shapes[sums], "RELU" if relu else "TANH"
    if back is None:
        return graph.op(operator, [sums], shape)
    if relu:
        return graph.op("ADD", [sums, back], shape, fusedActivationFunction=schema.ActivationFunctionType.RELU)
    return graph.op(operator, [graph.op("ADD", [sums, back], shape)], shape)
