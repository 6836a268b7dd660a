"""Framework-independent model: plain NumPy arrays with a float64 forward pass.

`Network.logits` is the reference that PyTorch, ONNX Runtime and LiteRT are compared with. Arrays are float32, as
trained.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.layers import (
    Array,
    Conv1d,
    Doubles,
    GruLayer,
    Head,
    Layer,
    LstmLayer,
    array_names,
    build_layer,
    named_arrays,
)

_CHUNK = 512  # windows per pass: the float64 temporaries of 128 steps stay below 100 MB


@dataclass(frozen=True)
class Network:
    """Normalization, a strided convolution, LSTM or GRU layers, and one or two heads.

    The input is physical: the network computes (x - mean) / std itself.
    """

    window: int  # samples
    mean: Array  # [channels]
    std: Array  # [channels]
    input: Conv1d
    recurrent_layers: tuple[Layer, ...]
    head: Head
    coarse_head: Head | None = None  # on the same state, for coarse labels

    def __post_init__(self) -> None:
        channels, width = self.input.weight.shape[2], self.input.out_channels
        expected: dict[str, tuple[int, ...]] = {"mean": (channels,), "std": (channels,), "input.bias": (width,)}
        for k, layer in enumerate(self.recurrent_layers):
            shapes = layer.shapes(width)
            expected |= {f"{self.kind}.{k}.{part}": shape for part, shape in shapes.items()}
            width = layer.hidden
        for name, head in self.heads().items():
            expected |= {f"{name}.weight": (len(head.weight), width), f"{name}.bias": (len(head.weight),)}
        arrays = self.arrays()
        for name, shape in expected.items():
            if arrays[name].shape != shape:
                raise InputError(f"network: {name} has shape {arrays[name].shape}, expected {shape}")
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise InputError(f"network: {name} contains NaN or infinity; train again with a smaller learning rate")
        frame, hop = self.input.kernel_size, self.input.stride
        if not self.recurrent_layers or frame > self.window or hop < 1 or (self.std <= 0).any():
            raise InputError(
                f"network: needs an LSTM or GRU layer, 1 <= frame <= window, hop >= 1 and std > 0; "
                f"got {len(self.recurrent_layers)} layers, frame {frame}, window {self.window}, hop {hop}"
            )
        if any(layer.recurrent_bias.any() for layer in self.gru if not layer.reset_after):
            raise InputError("network: recurrent_bias needs reset_after, where it is added before the reset gate")
        if len({(type(layer), *_options(layer).items()) for layer in self.recurrent_layers}) > 1:
            raise InputError("network: all recurrent layers must be LSTM, or GRU of one convention")

    @property
    def kind(self) -> str:
        """The kind of the recurrent layers, "lstm" or "gru"; names of arrays and files begin with it."""
        return "gru" if self.recurrent_layers and isinstance(self.recurrent_layers[0], GruLayer) else "lstm"

    @property
    def lstm(self) -> tuple[LstmLayer, ...]:
        """The LSTM layers; empty for a GRU network."""
        return tuple(layer for layer in self.recurrent_layers if isinstance(layer, LstmLayer))

    @property
    def gru(self) -> tuple[GruLayer, ...]:
        """The GRU layers; empty for an LSTM network."""
        return tuple(layer for layer in self.recurrent_layers if isinstance(layer, GruLayer))

    @property
    def num_steps(self) -> int:
        """Steps of the recurrent layers per window."""
        return (self.window - self.input.kernel_size) // self.input.stride + 1

    @property
    def num_channels(self) -> int:
        """Channels of a sample."""
        return int(self.input.weight.shape[2])

    @property
    def num_labels(self) -> int:
        """Labels of the first head."""
        return int(self.head.weight.shape[0])

    @property
    def parameters(self) -> int:
        """Number of trained values: all arrays but the normalization."""
        return sum(array.size for name, array in self.arrays().items() if name not in ("mean", "std"))

    def heads(self) -> dict[str, Head]:
        """Return the heads by the names of their arrays: "head" and, where there is one, "coarse"."""
        return {"head": self.head} | ({"coarse": self.coarse_head} if self.coarse_head else {})

    def arrays(self) -> dict[str, Array]:
        """Return all arrays by name, as `from_arrays` reads them."""
        named: dict[str, Array] = {"mean": self.mean, "std": self.std, **named_arrays(self.input, "input")}
        for k, layer in enumerate(self.recurrent_layers):
            named |= named_arrays(layer, f"{self.kind}.{k}")
        for name, head in self.heads().items():
            named |= named_arrays(head, name)
        return named

    def structure(self) -> dict[str, Any]:
        """Return what the arrays do not determine as plain JSON values, as `from_arrays` reads them."""
        plain: dict[str, Any] = {"window": self.window, "hop": self.input.stride, "relu": self.input.relu}
        return plain | ({"gru": _options(self.recurrent_layers[0])} if self.kind == "gru" else {})

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], structure: Mapping[str, Any], where: str = "network") -> Network:
        """Build a network from the results of `arrays` and `structure`.

        Args:
            arrays: All arrays by name.
            structure: Window, hop, relu and the convention of a GRU.
            where: The source in error messages.

        Raises:
            InputError: An array is missing, unknown or of a wrong shape.
            KeyError, TypeError, ValueError: `structure` lacks a key or has a value of a wrong type.
        """
        window, hop, relu = int(structure["window"]), int(structure["hop"]), bool(structure["relu"])
        kind: type[Layer] = GruLayer if "gru" in structure else LstmLayer
        name = "gru" if kind is GruLayer else "lstm"
        options = {key: bool(structure["gru"][key]) for key in ("reset_after", "relu")} if kind is GruLayer else {}
        layers = sum(1 for key in arrays if key.startswith(f"{name}.") and key.endswith(".input_weight"))
        expected = {"mean", "std", "input.weight", "input.bias", "head.weight", "head.bias"}
        expected |= {key for k in range(layers) for key in array_names(kind, f"{name}.{k}")}
        heads = ("head", "coarse") if any(key.startswith("coarse.") for key in arrays) else ("head",)
        expected |= {f"{head}.{part}" for head in heads for part in ("weight", "bias")}
        if unknown := sorted(set(arrays) - expected):
            raise InputError(f"{where}: unknown arrays {', '.join(unknown)}")
        try:
            return Network(
                window,
                arrays["mean"],
                arrays["std"],
                Conv1d(arrays["input.weight"], arrays["input.bias"], hop, relu),
                tuple(build_layer(kind, arrays, f"{name}.{k}", options) for k in range(layers)),
                *(Head(arrays[f"{head}.weight"], arrays[f"{head}.bias"]) for head in heads),
            )
        except KeyError as error:
            raise InputError(f"{where}: the array {error} is missing") from None
        except IndexError:
            raise InputError(f"{where}: an array has too few dimensions for this kind of network") from None

    def fold_normalization(self) -> Network:
        """Return the same function with mean 0 and std 1: the normalization moves into the input layer, in float64."""
        weight = self.input.weight.astype(np.float64) / self.std.astype(np.float64)
        bias = self.input.bias.astype(np.float64) - weight.sum(axis=1) @ self.mean.astype(np.float64)
        return replace(
            self,
            mean=np.zeros(self.num_channels),
            std=np.ones(self.num_channels),
            input=replace(self.input, weight=weight, bias=bias),
        )

    def fold_input(self) -> Network:
        """Fold the normalization and, where that saves work, the input layer into the first recurrent layer.

        The input layer must be linear, and a frame must have no more values than the layer has outputs. The result
        then has `input.is_identity`.
        """
        network = self.fold_normalization()
        inner, first = network.input, network.recurrent_layers[0]
        size = inner.kernel_size * self.num_channels
        if inner.relu or size > inner.out_channels:
            return network
        outer = first.input_weight.astype(np.float64)
        folded = replace(
            first,
            input_weight=outer @ inner.weight.reshape(inner.out_channels, size),
            bias=first.bias + outer @ inner.bias,
        )
        eye = np.eye(size).reshape(size, inner.kernel_size, self.num_channels)
        identity = Conv1d(eye, np.zeros(size), inner.stride, relu=False)
        return replace(network, input=identity, recurrent_layers=(folded, *network.recurrent_layers[1:]))

    def normalize(self, windows: Array) -> Doubles:
        """Return (windows - mean) / std in float64."""
        normalized: Doubles = (windows.astype(np.float64) - self.mean.astype(np.float64)) / self.std.astype(np.float64)
        return normalized

    def states(self, windows: Array) -> list[Doubles]:
        """Windows [n, window, channels] -> the states h [n, steps, hidden] of each recurrent layer, in float64."""
        sequence, states = self.input.forward(self.normalize(windows)), []
        for layer in self.recurrent_layers:
            sequence = layer.forward(sequence)
            states.append(sequence)
        return states

    def logits(
        self, windows: Array, progress: Callable[[int], None] | None = None, *, head: str = "head"
    ) -> NDArray[np.float64]:
        """Run the float64 reference.

        Args:
            windows: [n, window, channels] in physical units.
            progress: Called with the number of finished windows.
            head: "head" or "coarse".

        Returns:
            Logits [n, labels].

        Raises:
            InputError: The shape is wrong, or a value is NaN or infinite.
        """
        check_windows(windows, self.window, self.num_channels)
        chosen = self.heads()[head]
        logits = np.empty((len(windows), len(chosen.weight)))
        with single_threaded_blas():
            for start in range(0, len(windows), _CHUNK):
                states = self.states(windows[start : start + _CHUNK])[-1]
                logits[start : start + _CHUNK] = chosen.forward(states[:, -1])
                if progress:
                    progress(min(start + _CHUNK, len(windows)))
        return logits


def _options(layer: Layer) -> dict[str, bool]:
    return {"reset_after": layer.reset_after, "relu": layer.relu} if isinstance(layer, GruLayer) else {}


def softmax(logits: Array) -> NDArray[np.float64]:
    """Logits [n, labels] -> probabilities [n, labels] in float64."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def check_windows(windows: Array, window: int, channels: int) -> None:
    """Raise InputError unless `windows` is [n, window, channels], floating and finite.

    LiteRT returns finite logits for NaN inputs, so every runner checks its windows first.

    Args:
        windows: The input of a runner.
        window: Expected samples per window; -1 to accept any number.
        channels: Expected channels; -1 to accept any number.
    """
    expected = (window, channels)
    shape = windows.shape[1:]
    if windows.ndim != 3 or any(size not in (-1, length) for size, length in zip(expected, shape, strict=True)):
        raise InputError(f"windows have shape {windows.shape}, the model expects [n, {window}, {channels}]")
    if not np.issubdtype(windows.dtype, np.floating):
        raise InputError(f"windows are {windows.dtype}, the model expects floating point values in physical units")
    finite = np.isfinite(windows).all(axis=(1, 2))
    if not finite.all():
        raise InputError(
            f"window {int(np.argmin(finite))} contains NaN or infinity ({int((~finite).sum())} such windows); "
            "repair or drop them: predictions for them are meaningless"
        )


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread inside the block.

    The matrices are small: a second thread gains nothing, and where another process uses that core the two wait for
    each other at every product (the float64 reference of 128 steps then takes 50 seconds instead of 1.5).
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
