"""A network as a sequence of layers, for imported models.

A layer maps a sequence [n, steps, channels] or a vector [n, features] in float64. Shapes are without the batch axis:
(steps, channels) or (features,). `Sequential` has the interface of `Network` that exporters and runtimes use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from math import erf
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.layers import Array, Doubles, GruLayer, Head, LstmLayer, sigmoid
from harexport.model.network import check_windows, single_threaded_blas

Shape = tuple[int, ...]
ACTIVATIONS = ("relu", "tanh", "sigmoid", "leaky_relu", "elu", "gelu")
_CHUNK = 256  # windows per forward pass
_gelu_erf = np.vectorize(erf, otypes=[np.float64])


class Layer(Protocol):
    """A layer of a Sequential."""

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the output. Raises InputError if the layer does not accept the input's shape."""
        ...

    def forward(self, x: Doubles) -> Doubles:
        """Return the output for a batch of inputs."""
        ...


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / std per channel."""

    mean: Array  # [channels]
    std: Array  # [channels]

    def output_shape(self, shape: Shape) -> Shape:
        return _check_channels(self, shape, len(self.mean))

    def forward(self, x: Doubles) -> Doubles:
        normalized: Doubles = (x - self.mean.astype(np.float64)) / self.std.astype(np.float64)
        return normalized


@dataclass(frozen=True)
class Convolution:
    """A convolution over time, like torch.nn.Conv1d."""

    weight: Array  # [out_channels, kernel_size, channels]
    bias: Array  # [out_channels]
    stride: int = 1
    padding: tuple[int, int] = (0, 0)  # zeros before and after the sequence
    dilation: int = 1

    @property
    def kernel_size(self) -> int:
        return int(self.weight.shape[1])

    def output_shape(self, shape: Shape) -> Shape:
        steps, _ = _check_channels(self, _check_sequence(self, shape), int(self.weight.shape[2]))
        count = _window_count(self, steps + sum(self.padding), self.dilation * (self.kernel_size - 1) + 1, self.stride)
        return count, len(self.bias)

    def forward(self, x: Doubles) -> Doubles:
        x = np.pad(x, ((0, 0), self.padding, (0, 0)))
        span = self.dilation * (self.kernel_size - 1) + 1
        starts = np.arange((x.shape[1] - span) // self.stride + 1) * self.stride
        frames = x[:, starts[:, None] + self.dilation * np.arange(self.kernel_size)]  # [n, steps, kernel, channels]
        flat = self.weight.reshape(len(self.bias), -1).astype(np.float64)
        rows: Doubles = frames.reshape(len(x), len(starts), -1) @ flat.T + self.bias
        return rows


@dataclass(frozen=True)
class Linear:
    """A matrix product of the last axis, at every step or of a vector, like torch.nn.Linear."""

    weight: Array  # [outputs, inputs]
    bias: Array  # [outputs]

    def output_shape(self, shape: Shape) -> Shape:
        return *_check_channels(self, shape, int(self.weight.shape[1]))[:-1], len(self.bias)

    def forward(self, x: Doubles) -> Doubles:
        rows: Doubles = x @ self.weight.T.astype(np.float64) + self.bias
        return rows


@dataclass(frozen=True)
class Activation:
    """An elementwise function, one of ACTIVATIONS."""

    kind: str
    alpha: float = 0.0  # slope of leaky_relu, scale of elu

    def output_shape(self, shape: Shape) -> Shape:
        if self.kind not in ACTIVATIONS:
            raise InputError(f"unknown activation {self.kind!r}; choose one of {', '.join(ACTIVATIONS)}")
        return shape

    def forward(self, x: Doubles) -> Doubles:
        if self.kind == "relu":
            result = np.maximum(x, 0.0)
        elif self.kind == "tanh":
            result = np.tanh(x)
        elif self.kind == "sigmoid":
            result = sigmoid(x)
        elif self.kind == "leaky_relu":
            result = np.where(x > 0, x, self.alpha * x)
        elif self.kind == "elu":
            result = np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0.0)))
        else:
            result = 0.5 * x * (1 + _gelu_erf(x / np.sqrt(2)))
        return np.asarray(result, np.float64)


@dataclass(frozen=True)
class Pool:
    """Maximum or mean over windows of steps, without padding, like torch.nn.MaxPool1d and AvgPool1d."""

    kind: str  # "max" or "mean"
    kernel_size: int
    stride: int

    def output_shape(self, shape: Shape) -> Shape:
        steps, channels = _check_sequence(self, shape)
        return _window_count(self, steps, self.kernel_size, self.stride), channels

    def forward(self, x: Doubles) -> Doubles:
        starts = np.arange((x.shape[1] - self.kernel_size) // self.stride + 1) * self.stride
        frames = x[:, starts[:, None] + np.arange(self.kernel_size)]  # [n, steps, kernel, channels]
        return np.asarray(frames.max(axis=2) if self.kind == "max" else frames.mean(axis=2))


@dataclass(frozen=True)
class Recurrent:
    """An LSTM or GRU in one direction, with the initial state 0."""

    layer: LstmLayer | GruLayer
    backward: bool = False  # runs from the last step to the first; the output has the order of the input
    sequence: bool = True  # whether all states are returned, or the last one of its direction

    def output_shape(self, shape: Shape) -> Shape:
        steps, _ = _check_channels(self, _check_sequence(self, shape), int(self.layer.input_weight.shape[1]))
        return (steps, self.layer.hidden) if self.sequence else (self.layer.hidden,)

    def forward(self, x: Doubles) -> Doubles:
        states = self.layer.forward(x[:, ::-1] if self.backward else x)
        if not self.sequence:
            return states[:, -1]
        return states[:, ::-1] if self.backward else states


@dataclass(frozen=True)
class Step:
    """One step of a sequence; -1 is the last one."""

    index: int = -1

    def output_shape(self, shape: Shape) -> Shape:
        steps, channels = _check_sequence(self, shape)
        if not -steps <= self.index < steps:
            raise InputError(f"step {self.index} is outside of a sequence of {steps} steps")
        return (channels,)

    def forward(self, x: Doubles) -> Doubles:
        return x[:, self.index]


@dataclass(frozen=True)
class Reduce:
    """Mean or maximum over time."""

    kind: str  # "max" or "mean"

    def output_shape(self, shape: Shape) -> Shape:
        return (_check_sequence(self, shape)[1],)

    def forward(self, x: Doubles) -> Doubles:
        return np.asarray(x.max(axis=1) if self.kind == "max" else x.mean(axis=1))


@dataclass(frozen=True)
class Flatten:
    """All values of a sequence as a vector, step by step."""

    def output_shape(self, shape: Shape) -> Shape:
        return (int(np.prod(shape)),)

    def forward(self, x: Doubles) -> Doubles:
        return x.reshape(len(x), -1)


@dataclass(frozen=True)
class Branches:
    """Branches with the same input, whose outputs are added ("sum") or concatenated along the last axis ("concat")."""

    kind: str
    branches: tuple[tuple[Layer, ...], ...]  # an empty branch is the input itself

    def output_shape(self, shape: Shape) -> Shape:
        shapes = [shape_after(branch, shape) for branch in self.branches]
        if len({part if self.kind == "sum" else part[:-1] for part in shapes}) != 1:
            raise InputError(f"branches with the outputs {', '.join(map(str, shapes))} cannot be joined")
        return shapes[0] if self.kind == "sum" else (*shapes[0][:-1], sum(part[-1] for part in shapes))

    def forward(self, x: Doubles) -> Doubles:
        outputs = [run_layers(branch, x) for branch in self.branches]
        return np.asarray(np.sum(outputs, axis=0) if self.kind == "sum" else np.concatenate(outputs, axis=-1))


def shape_after(layers: tuple[Layer, ...], shape: Shape) -> Shape:
    """Return the shape of the output of layers. Raises InputError if a layer does not accept its input."""
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape


def run_layers(layers: tuple[Layer, ...], x: Doubles) -> Doubles:
    """Return the output of layers for a batch of inputs."""
    for layer in layers:
        x = layer.forward(x)
    return x


@dataclass(frozen=True)
class Sequential:
    """A network of layers that ends with logits.

    Raises InputError if the layers do not fit each other.
    """

    window: int
    num_channels: int
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        shape = shape_after(self.layers, (self.window, self.num_channels))
        if len(shape) != 1:
            raise InputError(f"the network ends with a sequence {shape}; it must end with one logit per label")

    @property
    def num_labels(self) -> int:
        """Number of logits."""
        return shape_after(self.layers, (self.window, self.num_channels))[0]

    @property
    def lstm(self) -> tuple[LstmLayer, ...]:
        """All LSTM layers."""
        recurrent = (layer.layer for layer in walk(self.layers) if isinstance(layer, Recurrent))
        return tuple(layer for layer in recurrent if isinstance(layer, LstmLayer))

    @property
    def gru(self) -> tuple[GruLayer, ...]:
        """All GRU layers."""
        recurrent = (layer.layer for layer in walk(self.layers) if isinstance(layer, Recurrent))
        return tuple(layer for layer in recurrent if isinstance(layer, GruLayer))

    @property
    def kind(self) -> str:
        """Kind of the network in descriptions: "lstm", "gru" or "cnn"."""
        return "gru" if self.gru else "lstm" if self.lstm else "cnn"

    @property
    def num_steps(self) -> int:
        """Steps of the first recurrent layer; 0 without recurrent layers."""
        shape: Shape = (self.window, self.num_channels)
        for layer in self.layers:
            if any(isinstance(part, Recurrent) for part in walk((layer,))):
                return shape[0]
            shape = layer.output_shape(shape)
        return 0

    def arrays(self) -> dict[str, Array]:
        """Return all arrays by name."""
        return {name: value for name, value in _named_values(self.layers, "") if isinstance(value, np.ndarray)}

    @property
    def parameters(self) -> int:
        """Number of trained values: all arrays but the normalization."""
        return sum(array.size for name, array in self.arrays().items() if not name.endswith((".mean", ".std")))

    def heads(self) -> dict[str, Head]:
        """Return the last linear layer as the head."""
        last = self.layers[-1]
        if not isinstance(last, Linear):
            raise InputError("the network does not end with a linear layer")
        return {"head": Head(last.weight, last.bias)}

    def logits(
        self, windows: Array, progress: Callable[[int], None] | None = None, *, head: str = "head"
    ) -> NDArray[np.float64]:
        """Run the float64 reference; arguments as for `Network.logits`."""
        check_windows(windows, self.window, self.num_channels)
        logits = np.empty((len(windows), self.num_labels))
        with single_threaded_blas():
            for start in range(0, len(windows), _CHUNK):
                part = windows[start : start + _CHUNK].astype(np.float64)
                logits[start : start + _CHUNK] = run_layers(self.layers, part)
                if progress:
                    progress(min(start + _CHUNK, len(windows)))
        return logits


def simplify(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Fold normalizations and last steps into other layers, without changing the function."""
    result: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Branches):
            layer = replace(layer, branches=tuple(simplify(branch) for branch in layer.branches))
        last = result[-1] if result else None
        if isinstance(last, Normalize) and (folded := _fold_normalization(last, layer)) is not None:
            result[-1] = folded
        elif isinstance(layer, Step) and layer.index == -1 and isinstance(last, Recurrent) and not last.backward:
            result[-1] = replace(last, sequence=False)
        else:
            result.append(layer)
    return tuple(result)


def _fold_normalization(first: Normalize, layer: Layer) -> Layer | None:
    mean, std = first.mean.astype(np.float64), first.std.astype(np.float64)
    if isinstance(layer, Linear) or (isinstance(layer, Convolution) and not any(layer.padding)):
        weight = layer.weight.astype(np.float64) / std
        shift = (weight.reshape(len(weight), -1, len(mean)) @ mean).sum(axis=1)
        return replace(layer, weight=weight, bias=layer.bias.astype(np.float64) - shift)
    if isinstance(layer, Recurrent):
        weight = layer.layer.input_weight.astype(np.float64) / std
        inner = replace(layer.layer, input_weight=weight, bias=layer.layer.bias.astype(np.float64) - weight @ mean)
        return replace(layer, layer=inner)
    return None


def walk(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """Yield all layers, including those in branches."""
    for layer in layers:
        yield layer
        if isinstance(layer, Branches):
            for branch in layer.branches:
                yield from walk(branch)


def _named_values(layers: tuple[Layer, ...], prefix: str) -> Iterator[tuple[str, Any]]:
    for k, layer in enumerate(layers):
        yield from _fields_of(layer, f"{prefix}{k}")


def _fields_of(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        part = getattr(value, field.name)
        if isinstance(part, tuple) and field.name == "branches":
            for k, branch in enumerate(part):
                yield from _named_values(branch, f"{name}.{k}.")
        elif is_dataclass(part):
            yield from _fields_of(part, name)
        else:
            yield f"{name}.{field.name}", part


def _check_sequence(layer: Layer, shape: Shape) -> Shape:
    if len(shape) != 2:
        raise InputError(f"{type(layer).__name__} needs a sequence, got {shape}")
    return shape


def _check_channels(layer: Layer, shape: Shape, channels: int) -> Shape:
    if shape[-1] != channels:
        raise InputError(f"{type(layer).__name__} needs {channels} values per step, got {shape[-1]}")
    return shape


def _window_count(layer: Layer, steps: int, span: int, stride: int) -> int:
    if steps < span:
        raise InputError(f"{type(layer).__name__} needs at least {span} steps, got {steps}")
    return (steps - span) // stride + 1
