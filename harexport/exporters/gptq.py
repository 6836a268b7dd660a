"""int8 weights whose rounding errors cancel on real windows, at no cost in size, time or operator versions.

Rounding each weight to the nearest step leaves errors that add up wherever the inputs move together, and a
window's do: whoever stands still hands the same direction of gravity to every sample. So columns are rounded one
after the other, and the weights that are still to come make up for the error so far, as far as the inputs'
second moments allow (optimal brain surgeon; for quantisation Frantar et al. 2022, "GPTQ", algorithm 1).

On held-out training subjects a logit's error falls to a fifth (edge: RMS 0.034 to 0.007) and to a half (seed-lstm:
0.055 to 0.027).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harexport.model.layers import Array, Doubles, LstmLayer
from harexport.model.network import Network, check_windows

_LARGEST = 127  # as weights.py
_DAMPING = 1e-3  # of the mean second moment: keeps directions that the windows do not show from running away


def round_weights(network: Network, windows: Array, lowering: str) -> Network:
    """The network with weights moved onto the steps that the scheme int8-weights will round them to.

    windows [n, window, channels] of training subjects. `lowering` says which weights share a scale: "fused" (each
    gate's) or "unrolled" (see wavefront.py). Emitting the result rounds nothing any more; what it is compared with
    stays the network that came in. Only LSTM networks change; others come back as they are.
    """
    if network.kind != "lstm":
        return network
    check_windows(windows, network.window, network.num_channels)
    mean, std = network.mean.astype(np.float64), network.std.astype(np.float64)
    layer = network.input
    centred = windows.astype(np.float64) - mean  # the scheme subtracts the mean through the rounded weights
    starts = np.arange(network.num_steps) * layer.stride
    frames = centred[:, starts[:, None] + np.arange(layer.kernel_size)]
    flat = (layer.weight / std).reshape(layer.out_channels, -1)
    moved = _moved(flat, _moments(frames.reshape(-1, flat.shape[1])), _step(flat))
    weight = (moved.reshape(layer.weight.shape) * std).astype(np.float32)

    sequence = layer.forward(centred / std)
    stack = []
    steps = _fused_steps(network.lstm) if lowering == "fused" else _unrolled_steps(network.lstm)
    for lstm, (forward, recurrent) in zip(network.lstm, steps, strict=True):
        states = lstm.forward(sequence)
        before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
        stack.append(
            replace(
                lstm,
                input_weight=_moved(lstm.input_weight, _moments(sequence), forward).astype(np.float32),
                recurrent_weight=_moved(lstm.recurrent_weight, _moments(before), recurrent).astype(np.float32),
            )
        )
        sequence = states
    head = network.head
    head = replace(head, weight=_moved(head.weight, _moments(sequence[:, -1]), _step(head.weight)).astype(np.float32))
    return replace(network, input=replace(layer, weight=weight), recurrent_layers=tuple(stack), head=head)


def _fused_steps(layers: tuple[LstmLayer, ...]) -> list[tuple[Doubles, Doubles]]:
    """The step of each row of a layer's input and recurrent weights: one scale a gate and matrix."""

    def by_gate(weight: Array) -> Doubles:
        return np.concatenate([_step(gate) for gate in np.split(weight, 4)])

    return [(by_gate(layer.input_weight), by_gate(layer.recurrent_weight)) for layer in layers]


def _unrolled_steps(layers: tuple[LstmLayer, ...]) -> list[tuple[Doubles, Doubles]]:
    """The same where candidates are doubled and all but layer 0's input weights are one matrix."""
    doubled = [np.repeat([1.0, 1.0, 2.0, 1.0], layer.hidden)[:, None] for layer in layers]
    forward = float(np.abs(layers[0].input_weight * doubled[0]).max()) / _LARGEST
    matrices = [layer.recurrent_weight * factor for layer, factor in zip(layers, doubled, strict=True)]
    matrices += [layer.input_weight * factor for layer, factor in zip(layers[1:], doubled[1:], strict=True)]
    common = max(float(np.abs(matrix).max()) for matrix in matrices) / _LARGEST
    return [((forward if k == 0 else common) / factor, common / factor) for k, factor in enumerate(doubled)]


def _step(weight: Array) -> Doubles:
    """One step for a whole matrix, a row each [rows, 1]."""
    step = float(np.float32(np.abs(weight).max() / _LARGEST)) or 1.0
    return np.full((len(weight), 1), step)


def _moments(inputs: Doubles) -> Doubles:
    """The second moments [inputs, inputs] of rows of inputs, damped."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    moments = rows.T @ rows / len(rows)
    size = len(moments)
    damped: Doubles = moments + (_DAMPING * np.trace(moments) / size or 1.0) * np.eye(size)
    return damped


def _moved(weight: Array, moments: Doubles, steps: Doubles) -> Doubles:
    """weight [rows, inputs] on multiples of `steps` [rows, 1] so that the products with such inputs change little."""
    order = np.argsort(-np.diag(moments))  # the strongest inputs first: their errors have the most to lean on
    inverse = np.linalg.inv(moments[np.ix_(order, order)])
    factor = np.linalg.cholesky(inverse).T
    rest = weight[:, order].astype(np.float64)
    # a scale is made from its largest weight, which must stay where it is
    fixed = np.abs(rest) >= (_LARGEST - 0.5) * steps
    rounded: NDArray[np.float64] = np.empty_like(rest)
    for k in range(rest.shape[1]):
        nearest = np.clip(np.rint(rest[:, k] / steps[:, 0]), -_LARGEST, _LARGEST)
        kept = np.sign(weight[:, order[k]]) * _LARGEST
        rounded[:, k] = np.where(fixed[:, k], kept, nearest) * steps[:, 0]
        error = (rest[:, k] - rounded[:, k]) / factor[k, k]
        rest[:, k + 1 :] -= error[:, None] * factor[k, k + 1 :]
    moved = np.empty_like(rounded)
    moved[:, order] = rounded
    return moved
