"""Find where a converted model diverges from its network: the error of every layer's state, step by step.

Whatever the lowering (fused or unrolled, layer by layer or stacked, from our exporters or another converter), a file
that computes the network holds each state h of each layer among its intermediate values. All of them are read, and the
error of a reference state is its distance to the nearest one: about 1e-7 while the file agrees with the network, and as
large as the states themselves from the first wrong step on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harexport.errors import InputError
from harexport.formats.macs import LOOPS
from harexport.formats.structure import read_structure
from harexport.model.layers import Doubles
from harexport.model.network import Network
from harexport.runtimes.runner import Floats
from harexport.runtimes.sandbox import read_intermediate_values

# Rounding of the weights and states of each scheme stays below these errors.
_TOLERANCES = {"float32": 1e-3, "float16": 2e-2, "int8-weights": 0.3}
SCHEMES = tuple(_TOLERANCES)
_TEMPORARY_SIZE = 1 << 22  # values of a temporary array


@dataclass(frozen=True)
class Divergence:
    """The errors of all states for one test window.

    Attributes:
        window: The window's index.
        layers: Per layer and step, the largest error of a unit's state.
        threshold: The error above which a state diverges.
        layer: Layer of the first divergence, None without one.
        step: Step of the first divergence, None without one.
        summary: The result in one sentence.
    """

    window: int
    layers: tuple[tuple[float, ...], ...]
    threshold: float
    layer: int | None
    step: int | None
    summary: str


def find_divergence(model: bytes, fmt: str, scheme: str, network: Network, window: Floats, index: int) -> Divergence:
    """Compare the states inside a model with those of the float64 reference.

    Args:
        model: The file's bytes.
        fmt: "tflite" or "onnx".
        scheme: Quantization scheme of the file: float32, float16 or int8-weights.
        network: The reference.
        window: [1, window, channels].
        index: The window's index in the test set, for the result.

    Raises:
        InputError: The scheme has no float states, or the model exposes no intermediate values, as inside a loop.
    """
    if scheme not in _TOLERANCES:
        raise InputError(f"states are compared for {', '.join(SCHEMES)}; this file is {scheme}")
    if read_structure(model, fmt, "the file").ops.keys() & set(LOOPS):
        raise InputError("the steps are in a loop, whose values cannot be read; export with --lowering unrolled")
    values = read_intermediate_values(model, f".{fmt}", "the file", window)
    if not values:
        raise InputError("the file exposes none of its intermediate values")
    states = [layer[0] for layer in network.states(window)]  # [steps, hidden] each
    hidden = [layer.hidden for layer in network.recurrent_layers]
    offsets = [0, *np.cumsum(hidden)[:-1].tolist()]  # of a layer in a row that holds the states of all layers
    layers = tuple(_errors(layer, values, offsets) for layer in states)
    threshold = _TOLERANCES[scheme] * max(1.0, max(float(np.abs(layer).max()) for layer in states))
    layer, step = _first_divergence(layers, threshold)
    return Divergence(index, layers, threshold, layer, step, _summary(layers, threshold, layer, step))


def _errors(states: Doubles, values: list[Floats], offsets: list[int]) -> tuple[float, ...]:
    """Per step, the largest difference of the state [hidden] to the nearest row of the values."""
    hidden = states.shape[1]
    rows = [
        value.reshape(-1, value.shape[-1])[:, start : start + hidden]
        for value in values
        for start in offsets
        if value.shape[-1] >= start + hidden
    ]
    if not rows:
        return tuple(float(np.abs(state).max()) for state in states)
    candidates = np.unique(np.nan_to_num(np.concatenate(rows), nan=1e6), axis=0)
    part = max(1, _TEMPORARY_SIZE // candidates.size)
    nearest = [
        np.abs(states[start : start + part, None] - candidates).max(axis=2).min(axis=1)
        for start in range(0, len(states), part)
    ]
    return tuple(float(error) for error in np.concatenate(nearest))


def _first_divergence(layers: tuple[tuple[float, ...], ...], threshold: float) -> tuple[int | None, int | None]:
    """The first divergence in the order of computation: the earliest step, there the lowest layer."""
    for step in range(len(layers[0])):
        for layer, errors in enumerate(layers):
            if errors[step] > threshold:
                return layer, step
    return None, None


def _summary(layers: tuple[tuple[float, ...], ...], threshold: float, layer: int | None, step: int | None) -> str:
    if layer is None or step is None:
        largest = max(max(errors) for errors in layers)
        return (
            f"All states of all layers match the reference (largest error {largest:.1g}). If the logits differ, check "
            "the head"
        )
    error = layers[layer][step]
    if step == 0:
        where = "at the first step" + (": check the input layer and the normalization" if layer == 0 else "")
        return f"Layer {layer} diverges {where} (error {error:.2g}, tolerance {threshold:.1g})"
    return (
        f"Layer {layer} diverges at step {step}: its error jumps from {layers[layer][step - 1]:.1g} to {error:.2g} "
        f"(tolerance {threshold:.1g})"
    )
