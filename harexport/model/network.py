"""The model as plain arrays: the waist between trainers and emitters, free of any framework.

`Network.logits` computes in float64 and is the reference that torch, ONNX Runtime and LiteRT are
compared with. Arrays are kept in float32, as trained; nothing here imports torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.layers import Array, Conv1d, GruLayer, Head, Layer, LstmLayer, array_names, arrays_of, layer_of

_CHUNK = 512  # windows a pass: keeps the float64 temporaries of 128 steps within the caches and 100 MB


@dataclass(frozen=True)
class Network:
    """Normalisation, input layer, a stack of LSTM or of GRU layers, head. `window`: the samples it reads.

    mean and std [channels] normalise the physical input: (x - mean) / std. `coarse` is a second head on the
    same state, for labels that lump some of the contract's together.
    """

    window: int
    mean: Array
    std: Array
    input: Conv1d
    recurrent_layers: tuple[Layer, ...]
    head: Head
    coarse_head: Head | None = None

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
                raise InputError(f"network: {name} holds NaN or infinity; train again with a smaller learning rate")
        if (
            not self.recurrent_layers
            or self.input.kernel_size > self.window
            or self.input.stride < 1
            or (self.std <= 0).any()
        ):
            raise InputError(
                f"network: needs an LSTM or GRU layer, 1 <= frame <= window, hop >= 1 and std > 0; "
                f"got {len(self.recurrent_layers)} layers, frame {self.input.kernel_size}, window {self.window}, hop {self.input.stride}"
            )
        if any(layer.recurrent_bias.any() for layer in self.gru if not layer.reset_after):
            raise InputError("network: recurrent_bias has a meaning only where the reset gate comes after the product")
        if len({(type(layer), *_options(layer).items()) for layer in self.recurrent_layers}) > 1:
            raise InputError("network: the layers of a stack must be of one kind, LSTM or GRU of one convention")

    @property
    def kind(self) -> str:
        """What the stack is made of: "lstm" or "gru"; arrays and files are named after it."""
        return "gru" if self.recurrent_layers and isinstance(self.recurrent_layers[0], GruLayer) else "lstm"

    @property
    def lstm(self) -> tuple[LstmLayer, ...]:
        """The stack where it is one of LSTM layers, else nothing."""
        return tuple(layer for layer in self.recurrent_layers if isinstance(layer, LstmLayer))

    @property
    def gru(self) -> tuple[GruLayer, ...]:
        """The stack where it is one of GRU layers, else nothing."""
        return tuple(layer for layer in self.recurrent_layers if isinstance(layer, GruLayer))

    @property
    def num_steps(self) -> int:
        return (self.window - self.input.kernel_size) // self.input.stride + 1

    @property
    def num_channels(self) -> int:
        return int(self.input.weight.shape[2])

    @property
    def num_labels(self) -> int:
        return int(self.head.weight.shape[0])

    @property
    def parameters(self) -> int:
        """How many trained numbers there are: all arrays but the normalisation."""
        return sum(array.size for name, array in self.arrays().items() if name not in ("mean", "std"))

    def heads(self) -> dict[str, Head]:
        """The heads under the names of their arrays: "head" and, where there is one, "coarse"."""
        return {"head": self.head} | ({"coarse": self.coarse_head} if self.coarse_head else {})

    def arrays(self) -> dict[str, Array]:
        """Every array under its name, as `from_arrays` reads them."""
        named: dict[str, Array] = {"mean": self.mean, "std": self.std, **arrays_of(self.input, "input")}
        for k, layer in enumerate(self.recurrent_layers):
            named |= arrays_of(layer, f"{self.kind}.{k}")
        for name, head in self.heads().items():
            named |= arrays_of(head, name)
        return named

    def structure(self) -> dict[str, Any]:
        """What the arrays do not say, as plain JSON values, as `from_arrays` reads it."""
        plain: dict[str, Any] = {"window": self.window, "hop": self.input.stride, "relu": self.input.relu}
        return plain | ({"gru": _options(self.recurrent_layers[0])} if self.kind == "gru" else {})

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], structure: Mapping[str, Any], where: str = "network") -> Network:
        """Build a network from what `arrays()` and `structure()` answered.

        Raises InputError where a name is missing or a shape is off, KeyError, TypeError or ValueError where
        `structure` is of another form.
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
            raise InputError(f"{where}: the arrays {', '.join(unknown)} belong to no such network")
        try:
            return Network(
                window,
                arrays["mean"],
                arrays["std"],
                Conv1d(arrays["input.weight"], arrays["input.bias"], hop, relu),
                tuple(layer_of(kind, arrays, f"{name}.{k}", options) for k in range(layers)),
                *(Head(arrays[f"{head}.weight"], arrays[f"{head}.bias"]) for head in heads),
            )
        except KeyError as error:
            raise InputError(f"{where}: the array {error} is missing") from None
        except IndexError:
            raise InputError(f"{where}: an array has too few dimensions for this kind of network") from None

    def normalised(self) -> Network:
        """The same function with mean 0 and std 1: the normalisation moved into the input layer, in float64."""
        weight = self.input.weight.astype(np.float64) / self.std.astype(np.float64)
        bias = self.input.bias.astype(np.float64) - weight.sum(axis=1) @ self.mean.astype(np.float64)
        return replace(
            self,
            mean=np.zeros(self.num_channels),
            std=np.ones(self.num_channels),
            input=replace(self.input, weight=weight, bias=bias),
        )

    def folded(self) -> Network:
        """`normalised`, and where that saves work the input layer moved into the first layer's input weights.

        It can be where it is linear, and saves where a frame has no more values than the layer has units.
        Then `input.is_identity`.
        """
        network = self.normalised()
        inner, first = network.input, network.recurrent_layers[0]
        size = inner.kernel_size * self.num_channels
        if inner.relu or size > inner.out_channels:
            return network
        outer = first.input_weight.astype(np.float64)
        joined = replace(
            first,
            input_weight=outer @ inner.weight.reshape(inner.out_channels, size),
            bias=first.bias + outer @ inner.bias,
        )
        eye = np.eye(size).reshape(size, inner.kernel_size, self.num_channels)
        passing = Conv1d(eye, np.zeros(size), inner.stride, relu=False)
        return replace(network, input=passing, recurrent_layers=(joined, *network.recurrent_layers[1:]))

    def logits(
        self, windows: Array, progress: Callable[[int], None] | None = None, *, head: str = "head"
    ) -> NDArray[np.float64]:
        """The float64 reference: windows [n, window, channels] in physical units -> logits [n, labels] of a head.

        `progress` is told how many windows are done. Raises InputError for a wrong shape or non-finite values.
        """
        check_windows(windows, self.window, self.num_channels)
        chosen = self.heads()[head]
        answers = np.empty((len(windows), len(chosen.weight)))
        with one_thread():
            for start in range(0, len(windows), _CHUNK):
                x = windows[start : start + _CHUNK].astype(np.float64)
                answers[start : start + _CHUNK] = chosen.forward(self._last_state(x))
                if progress:
                    progress(min(start + _CHUNK, len(windows)))
        return answers

    def _last_state(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        sequence = self.input.forward((x - self.mean.astype(np.float64)) / self.std.astype(np.float64))
        for layer in self.recurrent_layers:
            sequence = layer.forward(sequence)
        last: NDArray[np.float64] = sequence[:, -1]
        return last


def _options(layer: Layer) -> dict[str, bool]:
    return {"reset_after": layer.reset_after, "relu": layer.relu} if isinstance(layer, GruLayer) else {}


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


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside of this, BLAS uses one thread.

    Our matrices are small: a second thread gains nothing, and where another process wants that core the two wait
    for each other at every product (the float64 reference of the seed model then takes 50 seconds instead of 1.5).
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
