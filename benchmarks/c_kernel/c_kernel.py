"""The C kernel as a model: compiled for one network, loaded through ctypes, asked like any runner.

The near limit of what this machine can do for a shape: float32, one thread, one window at a time, the same answers.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.layers import LstmLayer
from harexport.model.network import Array, Network, check_windows

_SOURCE = Path(__file__).with_name("kernel.c")
_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-Wall", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_LOG2_E = 1.4426950408889634
_ALIGNMENT = 64  # bytes of the longest vector


class Kernel:
    """One network's kernel. Raises InputError for other networks than LSTM stacks, and where gcc is missing or fails.

    The buffers are the library's own: for one thread, as with every runner. `lanes` floats fit one of its vectors.
    """

    def __init__(self, network: Network, compiler: str = "gcc", flags: tuple[str, ...] = ()) -> None:
        if not network.lstm or network.coarse_head:
            raise InputError("the limit is written for LSTM layers and one head; this network has others")
        self.window_shape = (network.window, network.num_channels)
        self._labels = network.num_labels
        network, dense = _folded(network)
        self._library = _compiled(network, dense, compiler, flags)
        self.lanes, columns, blocks = (int(self._library.limit_layout(k)) for k in range(3))
        self._weights = _aligned(packed(network, dense, self.lanes, columns, blocks))
        self._library.limit_load(ctypes.c_void_p(self._weights.ctypes.data))
        self._answer = self._library.limit_answer
        self._answer.argtypes, self._answer.restype = [ctypes.c_void_p, ctypes.c_void_p], None
        self._out = np.zeros((2, 1, self._labels), np.float32)
        self._address = self._out.ctypes.data

    def run_batch(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """One window [1, window, channels] float32, contiguous -> logits [1, labels]; checks nothing.

        What it returns is overwritten by the next call.
        """
        self._answer(window.__array_interface__["data"][0], self._address)
        return self._out[0]

    def timed(self, windows: Array) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """windows [n, window, channels], answered one by one in a loop inside C.

        Returns logits and probabilities [n, 2, labels], and the nanoseconds of each window. Raises InputError.
        """
        check_windows(windows, *self.window_shape)
        ready = np.ascontiguousarray(windows, dtype=np.float32)
        answers = np.empty((len(ready), 2, self._labels), np.float32)
        nanoseconds = np.empty(len(ready), np.int64)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (ready, answers, nanoseconds)]
        self._library.limit_answers(*pointers, len(ready))
        return answers, nanoseconds

    def logits(self, windows: Array) -> NDArray[np.float32]:
        """windows [n, window, channels] -> logits float32 [n, labels]. Raises InputError."""
        return np.ascontiguousarray(self.timed(windows)[0][:, 0])


def packed(network: Network, dense: bool, lanes: int, columns: int, blocks: int) -> NDArray[np.float32]:
    """The weights in the order in which kernel.c reads them, as vectors of `lanes` floats.

    `dense`: the input layer is there; `columns` vectors of outputs fill a tile of a projection, `blocks` vectors of
    units one of a step.
    """
    parts: list[Array] = []
    if dense:
        parts += _projection(
            network.input.weight.reshape(network.input.out_channels, -1), network.input.bias, lanes, columns
        )
    for layer in network.lstm:
        rows = _rows(layer.hidden, lanes, blocks)
        weight, recurrent, bias = (
            _scaled(values)[rows] for values in (layer.input_weight, layer.recurrent_weight, layer.bias[:, None])
        )
        size = 4 * blocks * lanes
        parts += _projection(weight, bias[:, 0], lanes, columns)
        parts += [recurrent[start : start + size].T for start in range(0, len(rows), size)]
    pad = -network.num_labels % lanes
    head, bias = np.pad(network.head.weight, ((0, pad), (0, 0))), np.pad(network.head.bias, (0, pad))
    for start in range(0, len(head), lanes):
        parts += [bias[start : start + lanes], head[start : start + lanes].T]
    return np.concatenate([np.ascontiguousarray(part).ravel() for part in parts]).astype(np.float32)


def _projection(weight: Array, bias: Array, lanes: int, columns: int) -> list[Array]:
    """Bias, then the weight [outputs, inputs] by tiles of `columns` vectors of outputs, in each input after input."""
    pad = -len(weight) % lanes
    weight, bias = np.pad(weight, ((0, pad), (0, 0))), np.pad(bias, (0, pad))
    return [bias, *(weight[k : k + columns * lanes].T for k in range(0, len(weight), columns * lanes))]


def _rows(hidden: int, lanes: int, blocks: int) -> NDArray[np.intp]:
    """The gates' rows as a step reads them: groups of `blocks` vectors of units, in each the gates i, f, g, o.

    Units that fill up the last vector read a row of zeros, the one that `_scaled` appends.
    """
    padded = hidden + -hidden % lanes
    unit = np.arange(padded)
    own = np.where(unit < hidden, np.arange(4)[:, None] * hidden + unit, 4 * hidden)
    groups = range(0, padded, blocks * lanes)
    return np.concatenate([own[:, start : start + blocks * lanes].ravel() for start in groups])


def _scaled(values: Array) -> Array:
    """Rows of the gates times -log2 e, the candidate's twice that, and a row of zeros."""
    factors = np.repeat([-_LOG2_E, -_LOG2_E, -2 * _LOG2_E, -_LOG2_E], len(values) // 4)[:, None]
    return np.concatenate([values * factors, np.zeros((1, values.shape[1]))])


def _folded(network: Network) -> tuple[Network, bool]:
    """The normalisation folded into the input layer, and whether that is left or was folded into the first LSTM layer.

    It can be where no ReLU follows it, and pays where a frame has no more values than the layer has units.
    """
    network = network.fold_input()
    layer, first = network.input, network.lstm[0]
    values = layer.kernel_size * network.num_channels
    if layer.relu or values > layer.out_channels:
        return network, True
    weight = first.input_weight.astype(np.float64)
    merged = LstmLayer(
        weight @ layer.weight.reshape(layer.out_channels, values),
        first.recurrent_weight,
        first.bias + weight @ layer.bias,
    )
    # a Network checks its shapes: an input layer that hands each frame through keeps them right
    through = replace(layer, weight=np.eye(values).reshape(values, layer.kernel_size, -1), bias=np.zeros(values))
    return replace(network, input=through, recurrent_layers=(merged, *network.recurrent_layers[1:])), False


def _aligned(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy that starts at a multiple of `_ALIGNMENT` bytes."""
    room = np.empty(len(values) + _ALIGNMENT // 4, np.float32)
    start = -room.ctypes.data % _ALIGNMENT // 4
    room[start : start + len(values)] = values
    return room[start : start + len(values)]


def _compiled(network: Network, dense: bool, compiler: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    if shutil.which(compiler) is None:
        raise InputError(f"there is no {compiler} on this machine: the limit needs a C compiler")
    hidden = [layer.hidden for layer in network.lstm]
    units = network.input.out_channels if dense else 0
    facts = {
        "WINDOW": network.window,
        "CHANNELS": network.num_channels,
        "FRAME": network.input.kernel_size,
        "HOP": network.input.stride,
        "UNITS": units,
        "RELU": int(network.input.relu),
        "LAYERS": len(hidden),
        "HIDDEN": "{" + ",".join(map(str, hidden)) + "}",
        "WIDEST": max(units, *hidden),
        "LABELS": network.num_labels,
    }
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernel.so"
        defined = [f"-D{name}={value}" for name, value in facts.items()]
        command = [compiler, *_FLAGS, *flags, *defined, str(_SOURCE), "-o", str(library)]
        child = subprocess.run(command, capture_output=True, text=True)
        if child.returncode != 0:
            raise InputError(f"{compiler} cannot compile {_SOURCE.name}: {child.stderr.strip()[-500:]}")
        return ctypes.CDLL(str(library))  # it stays loaded when its file is gone
