"""The layers of a network: plain arrays and their float64 forward pass.

Gates are in PyTorch's order: i, f, g, o for the LSTM, r, z, n for the GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Conv1d:
    """A strided convolution over time, like torch.nn.Conv1d without padding.

    Step t reads samples t * stride to t * stride + kernel_size - 1. With kernel_size = stride = 1 it is a dense layer
    on every sample; with kernel_size > stride the steps overlap.
    """

    weight: Array  # [out_channels, kernel_size, channels]
    bias: Array  # [out_channels]
    stride: int
    relu: bool  # whether a ReLU follows

    @property
    def kernel_size(self) -> int:
        """Samples per step."""
        return int(self.weight.shape[1])

    @property
    def out_channels(self) -> int:
        """Values per step in the output."""
        return int(self.weight.shape[0])

    @property
    def is_identity(self) -> bool:
        """Whether the output is the samples themselves (see `Network.fold_input`)."""
        flat = self.weight.reshape(self.out_channels, -1)
        is_eye = flat.shape[0] == flat.shape[1] and np.array_equal(flat, np.eye(self.out_channels))
        return bool(is_eye and not self.bias.any() and not self.relu)

    def forward(self, x: Doubles) -> Doubles:
        """Samples [n, window, channels] -> one row per step [n, steps, out_channels]."""
        steps = (x.shape[1] - self.kernel_size) // self.stride + 1
        starts = np.arange(steps) * self.stride
        frames = x[:, starts[:, None] + np.arange(self.kernel_size)]  # [n, steps, kernel_size, channels]
        flat = self.weight.reshape(self.out_channels, -1).astype(np.float64)
        rows: Doubles = frames.reshape(len(x), steps, -1) @ flat.T + self.bias
        return np.maximum(rows, 0.0) if self.relu else rows


@dataclass(frozen=True)
class LayerActivations:
    """The values inside a recurrent layer, for all steps."""

    projected: Doubles  # W x + b, [n, steps, gates * hidden]
    recurrent: Doubles  # R h, [n, steps, gates * hidden]
    cells: Doubles  # the LSTM's c or the GRU's candidate n, [n, steps, hidden]
    states: Doubles  # h, [n, steps, hidden]


@dataclass(frozen=True)
class LstmLayer:
    """One LSTM layer with a single bias."""

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


Layer = LstmLayer | GruLayer


@dataclass(frozen=True)
class Head:
    """A linear layer on the last step's state."""

    weight: Array  # [labels, hidden]
    bias: Array  # [labels]

    def forward(self, state: Doubles) -> Doubles:
        """The last step's states [n, hidden] -> logits [n, labels]."""
        logits: Doubles = state @ self.weight.T.astype(np.float64) + self.bias
        return logits


def named_arrays(part: object, name: str) -> dict[str, Array]:
    """Return the arrays of a layer or head as "<name>.<field>"."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}  # type: ignore[arg-type]
    return {f"{name}.{field}": value for field, value in values.items() if isinstance(value, np.ndarray)}


def array_names(kind: type[Layer], name: str) -> list[str]:
    """Return the names that `named_arrays` gives the arrays of a recurrent layer."""
    return [f"{name}.{field.name}" for field in fields(kind) if field.type == "Array"]


def build_layer(kind: type[Layer], arrays: Mapping[str, Array], name: str, options: Mapping[str, bool]) -> Layer:
    """Build the recurrent layer `name` from the arrays of a network. Raises KeyError where one is missing."""
    values: dict[str, Any] = {key.rsplit(".", 1)[1]: arrays[key] for key in array_names(kind, name)}
    return kind(**values | dict(options))


def sigmoid(x: Doubles) -> Doubles:
    """Return 1 / (1 + exp(-x)) elementwise."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # the same function, without overflow
