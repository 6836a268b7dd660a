"""The layers of a network: plain arrays and their float64 forward pass.

A layer maps a sequence [n, steps, channels] or a vector [n, features]. Shapes are without the batch axis: (steps,
channels) or (features,). Gates are in PyTorch's order: i, f, g, o for the LSTM, r, z, n for the GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import erf
from typing import Literal, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError

Array = NDArray[np.floating]
Doubles = NDArray[np.float64]
Shape = tuple[int, ...]

ACTIVATIONS = ("relu", "tanh", "sigmoid", "leaky_relu", "elu", "gelu")
_gelu_erf = np.vectorize(erf, otypes=[np.float64])


class Layer(Protocol):
    """A layer of a network."""

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the output. Raises InputError if the layer or its arrays do not fit the input's shape."""
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
        """Return the shape of the input."""
        _check_arrays(self, {"mean": shape[-1:], "std": shape[-1:]})
        if not self.std.all():
            raise InputError("std is 0 for a channel")
        return shape

    def forward(self, x: Doubles) -> Doubles:
        """Return the normalized values."""
        normalized: Doubles = (x - self.mean.astype(np.float64)) / self.std.astype(np.float64)
        return normalized


@dataclass(frozen=True)
class Conv1d:
    """A convolution over time, like torch.nn.Conv1d.

    Without padding and dilation, step t reads samples t * stride to t * stride + kernel_size - 1. With kernel_size =
    stride = 1 it is a dense layer on every sample; with kernel_size > stride the steps overlap.
    """

    weight: Array  # [out_channels, kernel_size, channels]
    bias: Array  # [out_channels]
    stride: int = 1
    padding: tuple[int, int] = (0, 0)  # zeros before and after the sequence
    dilation: int = 1
    relu: bool = False  # whether a ReLU follows

    @property
    def kernel_size(self) -> int:
        """Samples per step."""
        return int(self.weight.shape[1])

    @property
    def out_channels(self) -> int:
        """Values per step in the output."""
        return int(self.weight.shape[0])

    @property
    def is_plain(self) -> bool:
        """Whether it has neither padding nor dilation."""
        return not any(self.padding) and self.dilation == 1

    @property
    def is_identity(self) -> bool:
        """Whether the output is the samples themselves (see `folding.fold_linear`)."""
        flat = self.weight.reshape(self.out_channels, -1)
        is_eye = flat.shape[0] == flat.shape[1] and np.array_equal(flat, np.eye(self.out_channels))
        return bool(is_eye and not self.bias.any() and not self.relu and self.is_plain)

    def output_shape(self, shape: Shape) -> Shape:
        """Return (steps, out_channels)."""
        steps, channels = _check_sequence(self, shape)
        if self.weight.ndim != 3:
            raise InputError(f"weight has shape {self.weight.shape}, expected three axes")
        outputs, kernel_size, _ = self.weight.shape
        _check_arrays(self, {"weight": (outputs, kernel_size, channels), "bias": (outputs,)})
        if min(self.padding) < 0 or self.dilation < 1:
            raise InputError("the padding must be at least 0 and the dilation at least 1")
        span = self.dilation * (kernel_size - 1) + 1
        return _count_windows(self, steps + sum(self.padding), span, self.stride), outputs

    def forward(self, x: Doubles) -> Doubles:
        """Samples [n, steps, channels] -> one row per step [n, steps, out_channels]."""
        x = np.pad(x, ((0, 0), self.padding, (0, 0))) if any(self.padding) else x
        span = self.dilation * (self.kernel_size - 1) + 1
        steps = (x.shape[1] - span) // self.stride + 1
        starts = np.arange(steps) * self.stride
        # [n, steps, kernel_size, channels]
        frames = x[:, starts[:, None] + self.dilation * np.arange(self.kernel_size)]
        flat = self.weight.reshape(self.out_channels, -1).astype(np.float64)
        rows: Doubles = frames.reshape(len(x), steps, -1) @ flat.T + self.bias
        return np.maximum(rows, 0.0) if self.relu else rows


@dataclass(frozen=True)
class Linear:
    """A matrix product of the last axis, at every step or of a vector, like torch.nn.Linear."""

    weight: Array  # [outputs, inputs]
    bias: Array  # [outputs]
    relu: bool = False  # whether a ReLU follows

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the input with the outputs as last axis."""
        outputs = len(self.bias)
        _check_arrays(self, {"weight": (outputs, shape[-1]), "bias": (outputs,)})
        return *shape[:-1], outputs

    def forward(self, x: Doubles) -> Doubles:
        """Inputs [n, ..., inputs] -> [n, ..., outputs]."""
        rows: Doubles = x @ self.weight.T.astype(np.float64) + self.bias
        return np.maximum(rows, 0.0) if self.relu else rows


@dataclass(frozen=True)
class Activation:
    """An elementwise function, one of ACTIVATIONS."""

    kind: str
    alpha: float = 0.0  # slope of leaky_relu, scale of elu

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the input."""
        if self.kind not in ACTIVATIONS:
            raise InputError(f"unknown activation {self.kind!r}; choose one of {', '.join(ACTIVATIONS)}")
        return shape

    def forward(self, x: Doubles) -> Doubles:
        """Apply the function to every value."""
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

    kind: Literal["max", "mean"]
    kernel_size: int
    stride: int

    def output_shape(self, shape: Shape) -> Shape:
        """Return (windows, channels)."""
        steps, channels = _check_sequence(self, shape)
        return _count_windows(self, steps, self.kernel_size, self.stride), channels

    def forward(self, x: Doubles) -> Doubles:
        """Return one row per window."""
        starts = np.arange((x.shape[1] - self.kernel_size) // self.stride + 1) * self.stride
        frames = x[:, starts[:, None] + np.arange(self.kernel_size)]  # [n, steps, kernel_size, channels]
        return np.asarray(frames.max(axis=2) if self.kind == "max" else frames.mean(axis=2))


@dataclass(frozen=True)
class LayerActivations:
    """The values inside a recurrent layer, for all steps."""

    projected: Doubles  # W x + b, [n, steps, gates * hidden]
    recurrent: Doubles  # R h, [n, steps, gates * hidden]
    cells: Doubles  # the LSTM's c or the GRU's candidate n, [n, steps, hidden]
    states: Doubles  # h, [n, steps, hidden]


@dataclass(frozen=True)
class LstmLayer:
    """One LSTM layer in one direction, with a single bias."""

    input_weight: Array  # [4 * hidden, inputs]
    recurrent_weight: Array  # [4 * hidden, hidden]
    bias: Array  # [4 * hidden]

    @property
    def hidden(self) -> int:
        """Units of the layer."""
        return int(self.recurrent_weight.shape[1])

    def shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """The shape that each array must have for `inputs` values per step."""
        four = 4 * self.hidden
        return {"input_weight": (four, inputs), "recurrent_weight": (four, self.hidden), "bias": (four,)}

    @overload
    def forward(self, sequence: Doubles) -> Doubles: ...
    @overload
    def forward(
        self,
        sequence: Doubles,
        *,
        return_intermediates: Literal[True],
        quantize_cell: Callable[[Doubles], Doubles] | None = None,
    ) -> LayerActivations: ...
    def forward(
        self,
        sequence: Doubles,
        *,
        return_intermediates: bool = False,
        quantize_cell: Callable[[Doubles], Doubles] | None = None,
    ) -> Doubles | LayerActivations:
        """Run the layer from h = c = 0.

        Hochreiter & Schmidhuber 1997 with a forget gate (Gers et al. 2000), as torch.nn.LSTM documents it.

        Args:
            sequence: [n, steps, inputs].
            return_intermediates: Whether to return all values inside the layer.
            quantize_cell: Applied to the cell after each step, to simulate its rounding.

        Returns:
            The states h [n, steps, hidden], or LayerActivations.
        """
        recurrent_weight = self.recurrent_weight.T.astype(np.float64)
        projected = sequence @ self.input_weight.T.astype(np.float64) + self.bias  # [n, steps, 4 * hidden]
        h = c = np.zeros((len(sequence), self.hidden))
        states = np.empty((*projected.shape[:2], self.hidden))
        cells = np.empty_like(states if return_intermediates else states[:0])
        recurrent = np.empty_like(projected if return_intermediates else projected[:0])
        for t in range(sequence.shape[1]):
            product = h @ recurrent_weight  # [n, 4 * hidden]
            i, f, g, o = np.split(projected[:, t] + product, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            if quantize_cell is not None:
                c = quantize_cell(c)
            h = sigmoid(o) * np.tanh(c)
            states[:, t] = h
            if return_intermediates:
                recurrent[:, t], cells[:, t] = product, c
        return LayerActivations(projected, recurrent, cells, states) if return_intermediates else states


@dataclass(frozen=True)
class GruLayer:
    """One GRU layer.

    reset_after False: the reset gate multiplies the state before the recurrent product, as in Cho et al. 2014,
    TensorFlow 1's GRUCell and ONNX's linear_before_reset = 0. True: after it, as in torch.nn.GRU and cuDNN.
    """

    input_weight: Array  # [3 * hidden, inputs]
    recurrent_weight: Array  # [3 * hidden, hidden]
    bias: Array  # [3 * hidden]
    recurrent_bias: Array  # [hidden], added to the candidate's recurrent product; zero unless reset_after
    reset_after: bool = False
    relu: bool = False  # the candidate's activation: ReLU instead of tanh

    @property
    def hidden(self) -> int:
        """Units of the layer."""
        return int(self.recurrent_weight.shape[1])

    def shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """The shape that each array must have for `inputs` values per step."""
        three, one = 3 * self.hidden, (self.hidden,)
        shapes = {"input_weight": (three, inputs), "recurrent_weight": (three, self.hidden), "bias": (three,)}
        return {**shapes, "recurrent_bias": one}

    @overload
    def forward(self, sequence: Doubles) -> Doubles: ...
    @overload
    def forward(self, sequence: Doubles, *, return_intermediates: Literal[True]) -> LayerActivations: ...
    def forward(self, sequence: Doubles, *, return_intermediates: bool = False) -> Doubles | LayerActivations:
        """Run the layer from h = 0.

        h' = (1 - z) n + z h with n = act(W x + b + R (r h)), or act(W x + b + r (R h + b_R)) where reset_after.

        Args:
            sequence: [n, steps, inputs].
            return_intermediates: Whether to return all values inside the layer.

        Returns:
            The states h [n, steps, hidden], or LayerActivations.
        """
        hidden = self.hidden
        gates, candidate = np.split(self.recurrent_weight.T.astype(np.float64), [2 * hidden], axis=1)
        projected = sequence @ self.input_weight.T.astype(np.float64) + self.bias  # [n, steps, 3 * hidden]
        h = np.zeros((len(sequence), hidden))
        states = np.empty((*projected.shape[:2], hidden))
        cells = np.empty_like(states if return_intermediates else states[:0])
        recurrent = np.empty_like(projected if return_intermediates else projected[:0])
        for t in range(sequence.shape[1]):
            inputs, product = projected[:, t], h @ gates
            r, z = np.split(sigmoid(inputs[:, : 2 * hidden] + product), 2, axis=1)
            back = h @ candidate + self.recurrent_bias if self.reset_after else (r * h) @ candidate  # [n, hidden]
            n = inputs[:, 2 * hidden :] + (r * back if self.reset_after else back)
            n = np.maximum(n, 0.0) if self.relu else np.tanh(n)
            h = (1.0 - z) * n + z * h
            states[:, t] = h
            if return_intermediates:
                recurrent[:, t], cells[:, t] = np.concatenate([product, back], axis=1), n
        return LayerActivations(projected, recurrent, cells, states) if return_intermediates else states


Cell = LstmLayer | GruLayer


@dataclass(frozen=True)
class Recurrent:
    """An LSTM or GRU layer in one direction, with the initial state 0."""

    layer: Cell
    backward: bool = False  # runs from the last step to the first; the output has the order of the input
    sequence: bool = True  # whether all states are returned, or the last one of its direction

    def output_shape(self, shape: Shape) -> Shape:
        """Return (steps, hidden), or (hidden,) without `sequence`."""
        steps, channels = _check_sequence(self, shape)
        _check_arrays(self.layer, self.layer.shapes(channels))
        if isinstance(self.layer, GruLayer) and self.layer.recurrent_bias.any() and not self.layer.reset_after:
            raise InputError("recurrent_bias needs reset_after, where it is added before the reset gate")
        return (steps, self.layer.hidden) if self.sequence else (self.layer.hidden,)

    def states(self, x: Doubles) -> Doubles:
        """Return the state after each step, in the order of the input."""
        if self.backward:
            return self.layer.forward(x[:, ::-1])[:, ::-1]
        return self.layer.forward(x)

    def select(self, states: Doubles) -> Doubles:
        """Return those of the states that are the output."""
        return states if self.sequence else states[:, 0 if self.backward else -1]

    def forward(self, x: Doubles) -> Doubles:
        """Return all states, or the last one."""
        return self.select(self.states(x))


@dataclass(frozen=True)
class Step:
    """One step of a sequence; -1 is the last one."""

    index: int = -1

    def output_shape(self, shape: Shape) -> Shape:
        """Return (channels,)."""
        steps, channels = _check_sequence(self, shape)
        if not -steps <= self.index < steps:
            raise InputError(f"step {self.index} is outside of a sequence of {steps} steps")
        return (channels,)

    def forward(self, x: Doubles) -> Doubles:
        """Return the step [n, channels]."""
        return x[:, self.index]


@dataclass(frozen=True)
class Reduce:
    """Mean or maximum over time."""

    kind: Literal["max", "mean"]

    def output_shape(self, shape: Shape) -> Shape:
        """Return (channels,)."""
        return (_check_sequence(self, shape)[1],)

    def forward(self, x: Doubles) -> Doubles:
        """Return one value per channel [n, channels]."""
        return np.asarray(x.max(axis=1) if self.kind == "max" else x.mean(axis=1))


@dataclass(frozen=True)
class Flatten:
    """All values of a sequence as a vector, step by step."""

    def output_shape(self, shape: Shape) -> Shape:
        """Return (steps * channels,)."""
        return (int(np.prod(shape)),)

    def forward(self, x: Doubles) -> Doubles:
        """Return [n, steps * channels]."""
        return x.reshape(len(x), -1)


@dataclass(frozen=True)
class Branches:
    """Branches with the same input, whose outputs are added ("sum") or concatenated along the last axis ("concat")."""

    kind: Literal["sum", "concat"]
    branches: tuple[tuple[Layer, ...], ...]  # an empty branch is the input itself

    def output_shape(self, shape: Shape) -> Shape:
        """Return the common shape, or for "concat" the one with all channels."""
        shapes = [shape_after(branch, shape) for branch in self.branches]
        if len({part if self.kind == "sum" else part[:-1] for part in shapes}) != 1:
            raise InputError(f"branches with the outputs {', '.join(map(str, shapes))} cannot be joined")
        return shapes[0] if self.kind == "sum" else (*shapes[0][:-1], sum(part[-1] for part in shapes))

    def join(self, outputs: list[Doubles]) -> Doubles:
        """Return the sum or the concatenation of the outputs of the branches."""
        return np.asarray(np.sum(outputs, axis=0) if self.kind == "sum" else np.concatenate(outputs, axis=-1))

    def forward(self, x: Doubles) -> Doubles:
        """Run all branches."""
        return self.join([run_layers(branch, x) for branch in self.branches])


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


def walk(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """Yield all layers, including those in branches."""
    for layer in layers:
        yield layer
        if isinstance(layer, Branches):
            for branch in layer.branches:
                yield from walk(branch)


def sigmoid(x: Doubles) -> Doubles:
    """Return 1 / (1 + exp(-x)) elementwise."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # the same function, without overflow


def _check_sequence(layer: Layer, shape: Shape) -> Shape:
    if len(shape) != 2:
        raise InputError(f"{type(layer).__name__} needs a sequence, got a vector of {shape[0]} values")
    return shape


def _check_arrays(layer: object, expected: Mapping[str, Shape]) -> None:
    for name, shape in expected.items():
        if getattr(layer, name).shape != shape:
            raise InputError(f"{name} has shape {getattr(layer, name).shape}, expected {shape}")


def _count_windows(layer: Layer, steps: int, span: int, stride: int) -> int:
    if not 1 <= span <= steps or stride < 1:
        raise InputError(f"{type(layer).__name__} reads {span} steps every {stride}, but its input has {steps}")
    return (steps - span) // stride + 1
