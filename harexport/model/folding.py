"""Folding of layers into their neighbors, in float64: the same function with fewer operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from harexport.model.layers import (
    Activation,
    Array,
    Branches,
    Cell,
    Conv1d,
    Layer,
    Linear,
    Normalize,
    Recurrent,
    Step,
)

_Product = TypeVar("_Product", bound=Conv1d | Linear)


def simplify(
    layers: tuple[Layer, ...],
    into_recurrent: bool = True,
    round_weight: Callable[[Array], Array] = lambda weight: weight,
) -> tuple[Layer, ...]:
    """Fold normalizations, activations, last steps and small linear layers into other layers.

    Args:
        layers: Layers of a network.
        into_recurrent: Whether a first, linear convolution may be folded into a recurrent layer after it.
        round_weight: Applied to the weight of a layer into which a normalization is folded. The mean is subtracted
            through the rounded weight, so that the rounding error applies to the deviation of a channel from its mean.
    """
    result: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Branches):
            branches = tuple(simplify(branch, into_recurrent, round_weight) for branch in layer.branches)
            layer = replace(layer, branches=branches)
        last = result[-1] if result else None
        if isinstance(last, Normalize) and isinstance(layer, Linear | Conv1d) and _is_unpadded(layer):
            result[-1] = fold_normalization(last, layer, round_weight)
        elif isinstance(last, Normalize) and isinstance(layer, Recurrent):
            result[-1] = _fold_into_cell(last, layer)
        elif isinstance(layer, Activation) and layer.kind == "relu" and isinstance(last, Linear | Conv1d):
            result[-1] = replace(last, relu=True)
        elif isinstance(layer, Step) and layer.index == -1 and isinstance(last, Recurrent) and not last.backward:
            result[-1] = replace(last, sequence=False)
        elif into_recurrent and len(result) == 1 and isinstance(last, Conv1d) and isinstance(layer, Recurrent):
            result[-1], cell = fold_linear(last, layer.layer)
            result.append(replace(layer, layer=cell))
        else:
            result.append(layer)
    return tuple(result)


def _is_unpadded(layer: Linear | Conv1d) -> bool:
    return isinstance(layer, Linear) or not any(layer.padding)


def fold_normalization(
    first: Normalize, layer: _Product, round_weight: Callable[[Array], Array] = lambda weight: weight
) -> _Product:
    """Return a linear or convolution layer that normalizes its input."""
    weight = round_weight(layer.weight.astype(np.float64) / first.std.astype(np.float64))
    taps = weight.sum(axis=1) if isinstance(layer, Conv1d) else weight
    bias = layer.bias.astype(np.float64) - taps @ first.mean.astype(np.float64)
    return replace(layer, weight=weight, bias=bias)


def _fold_into_cell(first: Normalize, layer: Recurrent) -> Recurrent:
    weight = layer.layer.input_weight.astype(np.float64) / first.std.astype(np.float64)
    bias = layer.layer.bias.astype(np.float64) - weight @ first.mean.astype(np.float64)
    return replace(layer, layer=replace(layer.layer, input_weight=weight, bias=bias))


def fold_linear(inner: Conv1d, cell: Cell) -> tuple[Conv1d, Cell]:
    """Fold a convolution into a recurrent layer where that saves work; its rest is an identity that cuts frames.

    The convolution must be linear, and a frame must have no more values than the convolution has outputs.
    """
    size = inner.kernel_size * inner.weight.shape[2]
    if inner.relu or not inner.is_plain or size > inner.out_channels:
        return inner, cell
    outer = cell.input_weight.astype(np.float64)
    folded = replace(
        cell,
        input_weight=outer @ inner.weight.reshape(inner.out_channels, size),
        bias=cell.bias + outer @ inner.bias,
    )
    eye = np.eye(size).reshape(size, inner.kernel_size, inner.weight.shape[2])
    return Conv1d(eye, np.zeros(size), inner.stride), folded
