"""The model as plain arrays: the waist between trainers and emitters, free of any framework.

`Network.logits` computes in float64 and is the reference that torch, ONNX Runtime and LiteRT are
compared with. Arrays are kept in float32, as trained; nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError

Array = NDArray[np.floating]
_CHUNK = 512  # windows a pass: keeps the float64 temporaries of 128 steps within the caches and 100 MB


@dataclass(frozen=True)
class InputLayer:
    """A linear map of each step's frame: step t reads samples t*hop .. t*hop + frame - 1.

    weight [units, frame, channels], bias [units]; `relu` says whether a ReLU follows.
    frame = hop = 1 is a dense layer on every sample; frame > hop makes steps that overlap.
    """

    weight: Array
    bias: Array
    hop: int
    relu: bool

    @property
    def frame(self) -> int:
        return int(self.weight.shape[1])

    @property
    def units(self) -> int:
        return int(self.weight.shape[0])


@dataclass(frozen=True)
class LstmLayer:
    """One LSTM layer in PyTorch's gate order (i, f, g, o), with a single bias.

    input_weight [4 * hidden, inputs], recurrent_weight [4 * hidden, hidden], bias [4 * hidden].
    """

    input_weight: Array
    recurrent_weight: Array
    bias: Array

    @property
    def hidden(self) -> int:
        return int(self.recurrent_weight.shape[1])


@dataclass(frozen=True)
class Head:
    """The linear layer on the last step's state: weight [labels, hidden], bias [labels]."""

    weight: Array
    bias: Array


@dataclass(frozen=True)
class Network:
    """Normalisation, input layer, LSTM stack, head. `window` is the number of samples it reads.

    mean and std [channels] normalise the physical input: (x - mean) / std.
    """

    window: int
    mean: Array
    std: Array
    input: InputLayer
    lstm: tuple[LstmLayer, ...]
    head: Head

    def __post_init__(self) -> None:
        channels, width = self.input.weight.shape[2], self.input.units
        expected: dict[str, tuple[Array, tuple[int, ...]]] = {
            "mean": (self.mean, (channels,)),
            "std": (self.std, (channels,)),
            "input.bias": (self.input.bias, (width,)),
        }
        for k, layer in enumerate(self.lstm):
            expected[f"lstm.{k}.input_weight"] = (layer.input_weight, (4 * layer.hidden, width))
            expected[f"lstm.{k}.recurrent_weight"] = (layer.recurrent_weight, (4 * layer.hidden, layer.hidden))
            expected[f"lstm.{k}.bias"] = (layer.bias, (4 * layer.hidden,))
            width = layer.hidden
        expected["head.weight"] = (self.head.weight, (self.labels, width))
        expected["head.bias"] = (self.head.bias, (self.labels,))
        for name, (array, shape) in expected.items():
            if array.shape != shape:
                raise InputError(f"network: {name} has shape {array.shape}, expected {shape}")
        for name, array in self.arrays().items():
            if not np.isfinite(array).all():
                raise InputError(f"network: {name} holds NaN or infinity; train again with a smaller learning rate")
        if not self.lstm or self.input.frame > self.window or self.input.hop < 1 or (self.std <= 0).any():
            raise InputError(
                f"network: needs an LSTM layer, 1 <= frame <= window, hop >= 1 and std > 0; "
                f"got {len(self.lstm)} layers, frame {self.input.frame}, window {self.window}, hop {self.input.hop}"
            )

    @property
    def steps(self) -> int:
        return (self.window - self.input.frame) // self.input.hop + 1

    @property
    def channels(self) -> int:
        return int(self.input.weight.shape[2])

    @property
    def labels(self) -> int:
        return int(self.head.weight.shape[0])

    def arrays(self) -> dict[str, Array]:
        """Every array under its name, as `from_arrays` reads them."""
        named: dict[str, Array] = {
            "mean": self.mean,
            "std": self.std,
            "input.weight": self.input.weight,
            "input.bias": self.input.bias,
        }
        for k, layer in enumerate(self.lstm):
            named[f"lstm.{k}.input_weight"] = layer.input_weight
            named[f"lstm.{k}.recurrent_weight"] = layer.recurrent_weight
            named[f"lstm.{k}.bias"] = layer.bias
        return {**named, "head.weight": self.head.weight, "head.bias": self.head.bias}

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], window: int, hop: int, relu: bool, where: str = "network") -> Network:
        """Build a network from `arrays()`'s names. Raises InputError where a name is missing or a shape is off."""
        layers = sum(1 for name in arrays if name.startswith("lstm.") and name.endswith(".bias"))
        parts = {f"lstm.{k}.{part}" for k in range(layers) for part in ("input_weight", "recurrent_weight", "bias")}
        expected = {"mean", "std", "input.weight", "input.bias", "head.weight", "head.bias", *parts}
        if unknown := sorted(set(arrays) - expected):
            raise InputError(f"{where}: the arrays {', '.join(unknown)} belong to no such network")
        try:
            stack = tuple(
                LstmLayer(*(arrays[f"lstm.{k}.{part}"] for part in ("input_weight", "recurrent_weight", "bias")))
                for k in range(layers)
            )
            return Network(
                window=window,
                mean=arrays["mean"],
                std=arrays["std"],
                input=InputLayer(arrays["input.weight"], arrays["input.bias"], hop, relu),
                lstm=stack,
                head=Head(arrays["head.weight"], arrays["head.bias"]),
            )
        except KeyError as error:
            raise InputError(f"{where}: the array {error} is missing") from None
        except IndexError:
            raise InputError(f"{where}: an array has too few dimensions for this kind of network") from None

    def folded(self) -> Network:
        """The same function with mean 0 and std 1: the normalisation moved into the input layer, in float64."""
        weight = self.input.weight.astype(np.float64) / self.std.astype(np.float64)
        bias = self.input.bias.astype(np.float64) - weight.sum(axis=1) @ self.mean.astype(np.float64)
        return replace(
            self,
            mean=np.zeros(self.channels),
            std=np.ones(self.channels),
            input=replace(self.input, weight=weight, bias=bias),
        )

    def logits(self, windows: Array, progress: Callable[[int], None] | None = None) -> NDArray[np.float64]:
        """The float64 reference: windows [n, window, channels] in physical units -> logits [n, labels].

        `progress` is told how many windows are done. Raises InputError for a wrong shape or non-finite values.
        """
        check_windows(windows, self.window, self.channels)
        answers = np.empty((len(windows), self.labels))
        for start in range(0, len(windows), _CHUNK):
            answers[start : start + _CHUNK] = self._forward(windows[start : start + _CHUNK].astype(np.float64))
            if progress:
                progress(min(start + _CHUNK, len(windows)))
        return answers

    def _forward(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        x = (x - self.mean.astype(np.float64)) / self.std.astype(np.float64)
        flat = self.input.weight.reshape(self.input.units, -1).astype(np.float64)
        starts = np.arange(self.steps) * self.input.hop
        frames = x[:, starts[:, None] + np.arange(self.input.frame)]  # [n, steps, frame, channels]
        sequence = frames.reshape(len(x), self.steps, -1) @ flat.T + self.input.bias
        if self.input.relu:
            sequence = np.maximum(sequence, 0.0)
        for layer in self.lstm:
            sequence = _lstm(sequence, layer)
        last: NDArray[np.float64] = sequence[:, -1]
        return last @ self.head.weight.T.astype(np.float64) + self.head.bias


def _lstm(sequence: NDArray[np.float64], layer: LstmLayer) -> NDArray[np.float64]:
    """Hochreiter & Schmidhuber 1997 with a forget gate (Gers et al. 2000), as torch.nn.LSTM documents it.

    sequence [n, steps, inputs] -> states h [n, steps, hidden]; h and c start at zero.
    """
    recurrent = layer.recurrent_weight.T.astype(np.float64)
    projected = sequence @ layer.input_weight.T.astype(np.float64) + layer.bias
    h = c = np.zeros((len(sequence), layer.hidden))
    states = np.empty((len(sequence), sequence.shape[1], layer.hidden))
    for t in range(sequence.shape[1]):
        i, f, g, o = np.split(projected[:, t] + h @ recurrent, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        states[:, t] = h
    return states


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # the same function; cannot overflow


def softmax(logits: Array) -> NDArray[np.float64]:
    """Probabilities [n, labels] of logits [n, labels], in float64."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def check_windows(windows: Array, window: int, channels: int) -> None:
    """Raise InputError unless `windows` is [n, window, channels], floating and finite.

    LiteRT answers NaN windows with finite numbers (FACTS, trap 7), so every runner asks this first.
    """
    if windows.ndim != 3 or windows.shape[1:] != (window, channels):
        raise InputError(f"windows have shape {windows.shape}, the model reads [n, {window}, {channels}]")
    if not np.issubdtype(windows.dtype, np.floating):
        raise InputError(f"windows are {windows.dtype}, the model reads floating point values in physical units")
    finite = np.isfinite(windows).all(axis=(1, 2))
    if not finite.all():
        raise InputError(
            f"window {int(np.argmin(finite))} holds NaN or infinity ({int((~finite).sum())} such windows); "
            "repair or drop them first, a runtime would answer with a number that means nothing"
        )
