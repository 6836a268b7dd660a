"""Activation ranges of any network for full integer quantization, from its float64 forward pass.

calibration.py has those of stacks (see `Network`), whose graph shares scales between layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harexport.data.dataset import Windows
from harexport.errors import InputError
from harexport.exporters.calibration import (
    PERCENTILES,
    Range,
    fake_quantize,
    range_of,
    rms,
    sample_windows,
    six_digits,
    widest_near_optimum,
)
from harexport.model.folding import simplify
from harexport.model.layers import (
    Activation,
    Branches,
    Conv1d,
    Doubles,
    Flatten,
    Layer,
    Linear,
    Normalize,
    Pool,
    Recurrent,
    Reduce,
    Step,
)
from harexport.model.network import Network, check_windows

_SEARCH_WINDOWS = 64
_POSITIVE_HOMOGENEOUS = ("relu", "leaky_relu")  # f(s x) = s f(x) for s > 0
Visit = Callable[[str, Doubles], Doubles]


@dataclass(frozen=True)
class LayerCalibration:
    """Activation ranges and the windows they were measured on.

    Attributes:
        ranges: Lowest and highest value by the name of the layer. "<name>.cell" and "<name>.state" of recurrent layers,
            and "logits", are full ranges; the others have the share `share` of the values.
        share: Share of the values inside the ranges.
        half: Values of each channel that are scaled to +- 1; of length 1 if the channels are not scaled.
        indices: Positions of the windows in the training set.
        sha256: Hash of their float32 values.
    """

    ranges: dict[str, Range]
    share: float
    half: tuple[float, ...]
    indices: tuple[int, ...]
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        ranges = {name: list(values) for name, values in self.ranges.items()}
        return {**vars(self), "ranges": ranges, "half": list(self.half), "indices": list(self.indices)}

    def limit(self, name: str) -> float:
        """Return the largest absolute value of a range, or 1 if that is 0."""
        return max(abs(value) for value in self.ranges[name]) or 1.0


def integer_layers(network: Network) -> tuple[Layer, ...]:
    """Return the layers as they are calibrated and exported."""
    return simplify(network.layers, into_recurrent=False)


def calibrate(network: Network, train: Windows, count: int = 256, seed: int = 0) -> LayerCalibration:
    """Measure the output ranges of all layers.

    Args:
        network: Network that ends with a linear layer.
        train: Windows of training subjects.
        count: Number of windows to run.
        seed: Random seed of their selection.

    Raises:
        InputError: There are no windows, or they do not fit the network.
    """
    if not len(train) or count < 1:
        raise InputError("full integer quantization needs at least one window for calibration")
    sample = sample_windows(train, count, seed)
    check_windows(sample.signals, network.window, network.num_channels)
    layers, windows = integer_layers(network), sample.signals.astype(np.float64)
    searched = windows[np.linspace(0, len(windows) - 1, min(len(windows), _SEARCH_WINDOWS)).astype(int)]
    exact = run(layers, searched, "", lambda name, x: x)
    errors = {share: rms(run(layers, searched, "", _rounding(share)) - exact) for share in PERCENTILES}
    share = widest_near_optimum(errors)
    ranges: dict[str, Range] = {"window": range_of(windows, share)}

    def record(name: str, x: Doubles) -> Doubles:
        ranges[name] = range_of(x, 1.0 if name.endswith((".cell", ".state")) else share)
        return x

    *inner, head = layers
    features = run(tuple(inner), windows, "", record)
    heads = {"logits": head} | ({"coarse": network.coarse_head} if network.coarse_head else {})
    ranges |= {name: range_of(layer.forward(features)) for name, layer in heads.items()}
    limits = [max(map(abs, range_of(windows[..., k], share))) or 1.0 for k in range(network.num_channels)]
    half = limits if scale_input(layers, np.ones(network.num_channels)) else [max(limits)]
    return LayerCalibration(
        ranges={name: (six_digits(low), six_digits(high)) for name, (low, high) in ranges.items()},
        share=share,
        half=tuple(six_digits(value) for value in half),
        indices=sample.indices,
        sha256=sample.sha256,
    )


def _rounding(share: float) -> Visit:
    """Return a function that rounds activations to int8, with the range of a share of their own values."""

    def visit(name: str, x: Doubles) -> Doubles:
        return x if name.endswith((".cell", ".state")) else fake_quantize(x, range_of(x, share))

    return visit


def run(layers: tuple[Layer, ...], x: Doubles, prefix: str, visit: Visit) -> Doubles:
    """Run layers, and pass the output of each one, with its name, through `visit`."""
    for k, layer in enumerate(layers):
        name = f"{prefix}{k}"
        if isinstance(layer, Branches):
            outputs = [run(branch, x, f"{name}.{b}.", visit) for b, branch in enumerate(layer.branches)]
            if layer.kind == "concat":
                x = np.concatenate(outputs, axis=-1)
            else:
                x = outputs[0]
                for b, output in enumerate(outputs[1:], 1):
                    x = visit(f"{name}.sum.{b}", x + output)
        elif isinstance(layer, Recurrent):
            inputs = x[:, ::-1] if layer.backward else x
            activations = layer.layer.forward(inputs, return_intermediates=True)
            visit(f"{name}.cell", activations.cells)
            visit(f"{name}.state", activations.states)
            x = activations.states if layer.sequence else activations.states[:, -1]
            x = x[:, ::-1] if layer.sequence and layer.backward else x
        else:
            x = layer.forward(x)
        x = visit(name, x)
    return x


def scale_input(layers: tuple[Layer, ...], factor: Doubles) -> tuple[Layer, ...] | None:
    """Return layers of an input divided by `factor` [channels], with the same output.

    None if the factor cannot be moved into the weights that read it.
    """
    if not layers:
        return None
    first, *others = layers
    rest = tuple(others)
    if isinstance(first, Conv1d | Linear):
        return replace(first, weight=first.weight.astype(np.float64) * factor), *rest
    if isinstance(first, Normalize):
        return replace(first, mean=first.mean / factor, std=first.std / factor), *rest
    if isinstance(first, Recurrent):
        weight = first.layer.input_weight.astype(np.float64) * factor
        return replace(first, layer=replace(first.layer, input_weight=weight)), *rest
    if isinstance(first, Branches):
        branches = [scale_input(branch, factor) for branch in first.branches]
        if any(branch is None for branch in branches):
            return None
        return replace(first, branches=tuple(branch for branch in branches if branch is not None)), *rest
    if isinstance(first, Pool | Reduce | Step) or (
        isinstance(first, Activation) and first.kind in _POSITIVE_HOMOGENEOUS
    ):
        scaled = scale_input(rest, factor)
        return None if scaled is None else (first, *scaled)
    if isinstance(first, Flatten) and rest and isinstance(rest[0], Linear):
        factors = np.tile(factor, rest[0].weight.shape[1] // len(factor))
        return first, replace(rest[0], weight=rest[0].weight.astype(np.float64) * factors), *rest[1:]
    return None
