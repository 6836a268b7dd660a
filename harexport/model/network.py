"""Framework-independent model: plain NumPy arrays with a float64 forward pass.

`Network.logits` is the reference that PyTorch, ONNX Runtime and LiteRT are compared with. Arrays are float32, as
trained.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model import arrays as named_arrays
from harexport.model import folding
from harexport.model.layers import (
    Array,
    Branches,
    Cell,
    Conv1d,
    Doubles,
    GruLayer,
    Layer,
    Linear,
    LstmLayer,
    Normalize,
    Recurrent,
    Shape,
    run_layers,
    shape_after,
    walk,
)

_CHUNK = 512  # windows per pass: the float64 temporaries of 128 steps stay below 200 MB


@dataclass(frozen=True)
class Network:
    """A sequence of layers that ends with logits, and optionally a second head for coarse labels.

    The input is physical: a network that normalizes begins with `Normalize`.

    A *stack* has the layers Normalize, Conv1d, LSTM layers or GRU layers of one convention, and Linear. All recipes in
    the short form are stacks. The parts of a stack are `mean`, `std`, `input`, `recurrent_layers` and `head`.
    """

    window: int  # samples
    num_channels: int
    layers: tuple[Layer, ...]
    coarse_head: Linear | None = None  # reads what the last layer reads

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            if not np.isfinite(array).all():
                raise InputError(f"network: {name} contains NaN or infinity; train again with a smaller learning rate")
        shapes: list[Shape] = [(self.window, self.num_channels)]
        for name, layer in zip(self._names(), self.layers, strict=True):
            shapes.append(_output_shape(name, layer, shapes[-1]))
        if self.coarse_head:
            _output_shape("coarse", self.coarse_head, shapes[-2])
        if not self.layers or len(shapes[-1]) != 1:
            raise InputError(f"the network ends with a sequence {shapes[-1]}; it must end with one logit per label")

    @staticmethod
    def stack(
        window: int,
        mean: Array,
        std: Array,
        input: Conv1d,
        recurrent_layers: tuple[Cell, ...],
        head: Linear,
        coarse_head: Linear | None = None,
    ) -> Network:
        """Build a stack (see the class) from its parts."""
        last = len(recurrent_layers) - 1
        recurrent = tuple(Recurrent(layer, sequence=k < last) for k, layer in enumerate(recurrent_layers))
        return Network(window, len(mean), (Normalize(mean, std), input, *recurrent, head), coarse_head)

    def replace(self, **parts: Any) -> Network:
        """Return a stack with some of its parts replaced; names and values are the arguments of `stack`."""
        names = ("window", "mean", "std", "input", "recurrent_layers", "head", "coarse_head")
        return Network.stack(**{name: getattr(self, name) for name in names} | parts)

    @property
    def is_stack(self) -> bool:
        """Whether the network is a stack (see the class)."""
        if len(self.layers) < 4:
            return False
        first, second, *recurrent, head = self.layers
        return (
            isinstance(first, Normalize)
            and isinstance(second, Conv1d)
            and second.is_plain
            and all(isinstance(layer, Recurrent) and not layer.backward for layer in recurrent)
            and [layer.sequence for layer in recurrent] == [True] * (len(recurrent) - 1) + [False]  # type: ignore[attr-defined]
            and len({cell_convention(layer.layer) for layer in recurrent}) == 1  # type: ignore[attr-defined]
            and isinstance(head, Linear)
            and not head.relu
        )

    @property
    def mean(self) -> Array:
        """Mean of each channel, of a stack."""
        return self._normalization.mean

    @property
    def std(self) -> Array:
        """Standard deviation of each channel, of a stack."""
        return self._normalization.std

    @property
    def _normalization(self) -> Normalize:
        assert isinstance(self.layers[0], Normalize)
        return self.layers[0]

    @property
    def input(self) -> Conv1d:
        """The convolution of a stack."""
        assert isinstance(self.layers[1], Conv1d)
        return self.layers[1]

    @property
    def recurrent_layers(self) -> tuple[Cell, ...]:
        """All LSTM and GRU layers."""
        return tuple(layer.layer for layer in walk(self.layers) if isinstance(layer, Recurrent))

    @property
    def lstm(self) -> tuple[LstmLayer, ...]:
        """All LSTM layers."""
        return tuple(layer for layer in self.recurrent_layers if isinstance(layer, LstmLayer))

    @property
    def gru(self) -> tuple[GruLayer, ...]:
        """All GRU layers."""
        return tuple(layer for layer in self.recurrent_layers if isinstance(layer, GruLayer))

    @property
    def head(self) -> Linear:
        """The last layer. Raises InputError if it is not linear."""
        last = self.layers[-1]
        if not isinstance(last, Linear):
            raise InputError("the network does not end with a linear layer")
        return last

    @property
    def kind(self) -> str:
        """The kind of the recurrent layers in descriptions: "gru", "lstm" or, without any, "cnn"."""
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

    @property
    def num_labels(self) -> int:
        """Labels of the first head."""
        return shape_after(self.layers, (self.window, self.num_channels))[0]

    @property
    def parameters(self) -> int:
        """Number of trained values: all arrays but the normalization."""
        arrays = self.arrays().items()
        return sum(array.size for name, array in arrays if name.rpartition(".")[2] not in ("mean", "std"))

    def heads(self) -> dict[str, Linear]:
        """Return the heads by the names of their arrays: "head" and, where there is one, "coarse"."""
        return {"head": self.head} | ({"coarse": self.coarse_head} if self.coarse_head else {})

    def _names(self) -> list[str]:
        """Return the first part of the names of each layer's arrays."""
        if not self.is_stack:
            return [f"layers.{k}" for k in range(len(self.layers))]
        return ["", "input", *(f"{self.kind}.{k}" for k in range(len(self.recurrent_layers))), "head"]

    def arrays(self) -> dict[str, Array]:
        """Return all arrays by name, as `from_arrays` reads them."""
        named: dict[str, Array] = {}
        for name, layer in zip(self._names(), self.layers, strict=True):
            named |= named_arrays.collect(layer, name)
        return named | (named_arrays.collect(self.coarse_head, "coarse") if self.coarse_head else {})

    def structure(self) -> dict[str, Any]:
        """Return what the arrays do not determine as plain JSON values, as `from_arrays` reads them."""
        if not self.is_stack:
            layers = [named_arrays.describe(layer) for layer in self.layers]
            return {"window": self.window, "channels": self.num_channels, "layers": layers}
        plain: dict[str, Any] = {"window": self.window, "hop": self.input.stride, "relu": self.input.relu}
        for layer in self.gru[:1]:
            plain["gru"] = {"reset_after": layer.reset_after, "relu": layer.relu}
        return plain

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], structure: Mapping[str, Any], where: str = "network") -> Network:
        """Build a network from the results of `arrays` and `structure`.

        Args:
            arrays: All arrays by name.
            structure: Window, and the layers of the network or, of a stack, hop, relu and the convention of a GRU.
            where: The source in error messages.

        Raises:
            InputError: An array is missing, unknown or of a wrong shape.
            KeyError, TypeError, ValueError: `structure` lacks a key or has a value of a wrong type.
        """
        unused = dict(arrays)
        window, layers = int(structure["window"]), structure.get("layers") or _describe_stack(arrays, structure)
        names = [f"layers.{k}" for k in range(len(layers))]
        if "layers" not in structure:
            kind, count = "gru" if "gru" in structure else "lstm", len(layers) - 3
            names = ["", "input", *(f"{kind}.{k}" for k in range(count)), "head"]
        try:
            built = tuple(named_arrays.build(layer, unused, name) for layer, name in zip(layers, names, strict=True))
            has_coarse = any(key.startswith("coarse.") for key in arrays)
            coarse = named_arrays.build({"layer_type": "Linear"}, unused, "coarse") if has_coarse else None
        except named_arrays.MissingArrayError as error:
            raise InputError(f"{where}: the array '{error}' is missing") from None
        if unused:
            raise InputError(f"{where}: unknown arrays {', '.join(sorted(unused))}")
        channels = int(structure["channels"]) if "channels" in structure else len(arrays["mean"])
        assert coarse is None or isinstance(coarse, Linear)
        return Network(window, channels, built, coarse)

    def fold_normalization(self) -> Network:
        """Return a stack with mean 0 and std 1: the normalization moves into the input layer, in float64."""
        folded = folding.fold_normalization(self._normalization, self.input)
        return self.replace(mean=np.zeros(self.num_channels), std=np.ones(self.num_channels), input=folded)

    def fold_input(self) -> Network:
        """Fold the normalization and, where that saves work, the input layer into the first recurrent layer.

        The input layer must be linear, and a frame must have no more values than the layer has outputs. The result
        then has `input.is_identity`.
        """
        network = self.fold_normalization()
        identity, first = folding.fold_linear(network.input, network.recurrent_layers[0])
        return network.replace(input=identity, recurrent_layers=(first, *network.recurrent_layers[1:]))

    def normalize(self, windows: Array) -> Doubles:
        """Return (windows - mean) / std in float64, of a stack."""
        return self._normalization.forward(windows.astype(np.float64))

    def states(self, windows: Array) -> list[Doubles]:
        """Windows [n, window, channels] -> the states h [n, steps, hidden] of each recurrent layer, in float64."""
        states: list[Doubles] = []
        _collect_states(self.layers, windows.astype(np.float64), states)
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
        last = self.layers[-1] if head == "head" else self.heads()[head]
        parts = []
        with single_threaded_blas():
            for start in range(0, len(windows), _CHUNK):
                part = windows[start : start + _CHUNK].astype(np.float64)
                parts.append(last.forward(run_layers(self.layers[:-1], part)))
                if progress:
                    progress(min(start + _CHUNK, len(windows)))
        return np.concatenate(parts) if parts else np.empty((0, self.num_labels))


def _output_shape(name: str, layer: Layer, shape: Shape) -> Shape:
    try:
        return layer.output_shape(shape)
    except IndexError:
        raise InputError(f"network: {name}: an array has too few dimensions for this kind of layer") from None
    except InputError as error:
        raise InputError(f"network: {name or 'normalization'}: {error}") from None


def _collect_states(layers: tuple[Layer, ...], x: Doubles, states: list[Doubles]) -> Doubles:
    """Run layers, and append the states of each recurrent layer."""
    for layer in layers:
        if isinstance(layer, Branches):
            x = layer.join([_collect_states(branch, x, states) for branch in layer.branches])
        elif isinstance(layer, Recurrent):
            states.append(layer.states(x))
            x = layer.select(states[-1])
        else:
            x = layer.forward(x)
    return x


def cell_convention(cell: Cell) -> tuple[Any, ...]:
    """Return the kind of a layer, and the convention of a GRU: equal for layers that can run side by side."""
    return (GruLayer, cell.reset_after, cell.relu) if isinstance(cell, GruLayer) else (LstmLayer,)


def _describe_stack(arrays: Mapping[str, Array], structure: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the layers of a stack as `named_arrays.describe` does."""
    options = {key: bool(structure["gru"][key]) for key in ("reset_after", "relu")} if "gru" in structure else {}
    kind, cell = ("gru", "GruLayer") if options else ("lstm", "LstmLayer")
    count = sum(1 for key in arrays if key.startswith(f"{kind}.") and key.endswith(".input_weight"))
    layer = {"layer_type": cell, **options}
    recurrent = [{"layer_type": "Recurrent", "layer": layer, "sequence": k < count - 1} for k in range(count)]
    conv = {"layer_type": "Conv1d", "stride": int(structure["hop"]), "relu": bool(structure["relu"])}
    return [{"layer_type": "Normalize"}, conv, *recurrent, {"layer_type": "Linear"}]


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
