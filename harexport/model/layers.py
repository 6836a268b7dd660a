"""The parts of a network: plain arrays, and what each of them computes in float64.

Gate orders are PyTorch's: i, f, g, o for the LSTM, r, z, n for the GRU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Conv1d:
    """A linear map of each step's frame: step t reads samples t*hop .. t*hop + frame - 1.

    weight [units, frame, channels], bias [units]; `relu` says whether a ReLU follows.
    frame = hop = 1 is a dense layer on every sample; frame > hop makes steps that overlap.
    """

    weight: Array
    bias: Array
    stride: int
    relu: bool

    @property
    def kernel_size(self) -> int:
        return int(self.weight.shape[1])

    @property
    def out_channels(self) -> int:
        return int(self.weight.shape[0])

    @property
    def is_identity(self) -> bool:
        """Whether the layer hands on the samples as they are (see `Network.folded`)."""
        flat = self.weight.reshape(self.out_channels, -1)
        same = (
            flat.shape[0] == flat.shape[1] and np.array_equal(flat, np.eye(self.out_channels)) and not self.bias.any()
        )
        return bool(same and not self.relu)

    def forward(self, x: Doubles) -> Doubles:
        """Samples [n, window, channels] -> one row a step [n, steps, units]."""
        steps = (x.shape[1] - self.kernel_size) // self.stride + 1
        starts = np.arange(steps) * self.stride
        frames = x[:, starts[:, None] + np.arange(self.kernel_size)]  # [n, steps, frame, channels]
        flat = self.weight.reshape(self.out_channels, -1).astype(np.float64)
        rows: Doubles = frames.reshape(len(x), steps, -1) @ flat.T + self.bias
        return np.maximum(rows, 0.0) if self.relu else rows


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

    def shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """The shape that each array must have when the layer below hands up `inputs` values."""
        four = 4 * self.hidden
        return {"input_weight": (four, inputs), "recurrent_weight": (four, self.hidden), "bias": (four,)}

    def forward(self, sequence: Doubles) -> Doubles:
        """Hochreiter & Schmidhuber 1997 with a forget gate (Gers et al. 2000), as torch.nn.LSTM documents it.

        sequence [n, steps, inputs] -> states h [n, steps, hidden]; h and c start at zero.
        """
        recurrent = self.recurrent_weight.T.astype(np.float64)
        projected = sequence @ self.input_weight.T.astype(np.float64) + self.bias
        h = c = np.zeros((len(sequence), self.hidden))
        states = np.empty((len(sequence), sequence.shape[1], self.hidden))
        for t in range(sequence.shape[1]):
            i, f, g, o = np.split(projected[:, t] + h @ recurrent, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            states[:, t] = h
        return states


@dataclass(frozen=True)
class GruLayer:
    """One GRU layer in PyTorch's gate order (r, z, n).

    input_weight [3 * hidden, inputs], recurrent_weight [3 * hidden, hidden], bias [3 * hidden],
    recurrent_bias [hidden]: what is added to the candidate's recurrent product; it differs from bias only
    where the reset gate comes after that product, and is zero where it comes before.

    reset_after False: the reset gate is applied to the state before the product, as in Cho et al. 2014,
    TensorFlow 1's GRUCell and ONNX's linear_before_reset = 0. True: after it, as in torch.nn.GRU and cuDNN.
    relu: the candidate's activation is ReLU instead of tanh.
    """

    input_weight: Array
    recurrent_weight: Array
    bias: Array
    recurrent_bias: Array
    reset_after: bool = False
    relu: bool = False

    @property
    def hidden(self) -> int:
        return int(self.recurrent_weight.shape[1])

    def shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """The shape that each array must have when the layer below hands up `inputs` values."""
        three, one = 3 * self.hidden, (self.hidden,)
        shapes = {"input_weight": (three, inputs), "recurrent_weight": (three, self.hidden), "bias": (three,)}
        return {**shapes, "recurrent_bias": one}

    def forward(self, sequence: Doubles) -> Doubles:
        """sequence [n, steps, inputs] -> states h [n, steps, hidden]; h starts at zero.

        h' = (1 - z) n + z h, with n = act(W x + b + R (r h)) or, reset_after, act(W x + b + r (R h + b_R)).
        """
        gates, candidate = np.split(self.recurrent_weight.T.astype(np.float64), [2 * self.hidden], axis=1)
        projected = sequence @ self.input_weight.T.astype(np.float64) + self.bias
        h = np.zeros((len(sequence), self.hidden))
        states = np.empty((len(sequence), sequence.shape[1], self.hidden))
        for t in range(sequence.shape[1]):
            now = projected[:, t]
            r, z = np.split(sigmoid(now[:, : 2 * self.hidden] + h @ gates), 2, axis=1)
            back = r * (h @ candidate + self.recurrent_bias) if self.reset_after else (r * h) @ candidate
            n = now[:, 2 * self.hidden :] + back
            h = (1.0 - z) * (np.maximum(n, 0.0) if self.relu else np.tanh(n)) + z * h
            states[:, t] = h
        return states


Layer = LstmLayer | GruLayer


@dataclass(frozen=True)
class Head:
    """A linear layer on the last step's state: weight [labels, hidden], bias [labels]."""

    weight: Array
    bias: Array

    def forward(self, state: Doubles) -> Doubles:
        """The last step's states [n, hidden] -> logits [n, labels]."""
        logits: Doubles = state @ self.weight.T.astype(np.float64) + self.bias
        return logits


def arrays_of(part: object, name: str) -> dict[str, Array]:
    """The arrays of one of these parts, as "<name>.<field>"."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}  # type: ignore[arg-type]
    return {f"{name}.{field}": value for field, value in values.items() if isinstance(value, np.ndarray)}


def array_names(kind: type[Layer], name: str) -> list[str]:
    """The names that `arrays_of` gives the arrays of a layer of this kind."""
    return [f"{name}.{field.name}" for field in fields(kind) if field.type == "Array"]


def layer_of(kind: type[Layer], arrays: Mapping[str, Array], name: str, options: Mapping[str, bool]) -> Layer:
    """The layer `name` from the arrays of a network. Raises KeyError where one is missing."""
    values: dict[str, Any] = {key.rsplit(".", 1)[1]: arrays[key] for key in array_names(kind, name)}
    return kind(**values | dict(options))


def sigmoid(x: Doubles) -> Doubles:
    """1 / (1 + exp(-x)), value by value."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # the same function; cannot overflow
