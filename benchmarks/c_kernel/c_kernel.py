"""A C kernel compiled for one network and loaded through ctypes, with the methods of a runner.

It estimates the lowest latency of a network on this machine: float32, one thread, one window at a time.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.model.network import Array, Network, check_windows

_SOURCE = Path(__file__).with_name("kernel.c")
_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-Wall", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_LOG2_E = 1.4426950408889634
_ALIGNMENT = 64  # bytes of the longest vector


class Kernel:
    """Kernel of an LSTM network with one head, for one thread.

    Attributes:
        lanes: Floats per vector register.

    Raises:
        InputError: The network has other layers, or gcc is missing or fails.
    """

    def __init__(self, network: Network, compiler: str = "gcc", flags: tuple[str, ...] = ()) -> None:
        if not network.is_stack or not network.lstm or network.coarse_head:
            raise InputError("the C kernel supports LSTM layers and one head only")
        self.window_shape = (network.window, network.num_channels)
        self._labels = network.num_labels
        network = network.fold_input()
        dense = not network.input.is_identity
        self._library = _compiled(network, dense, compiler, flags)
        self.lanes, columns, blocks = (int(self._library.kernel_layout(k)) for k in range(3))
        self._weights = _aligned(packed(network, dense, self.lanes, columns, blocks))
        self._library.kernel_load(ctypes.c_void_p(self._weights.ctypes.data))
        self._run = self._library.run_window
        self._run.argtypes, self._run.restype = [ctypes.c_void_p, ctypes.c_void_p], None
        self._out = np.zeros((2, 1, self._labels), np.float32)
        self._address = self._out.ctypes.data

    def run_batch(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits [1, labels] of one contiguous float32 window [1, window, channels], without checks.

        The next call overwrites the result.
        """
        self._run(window.__array_interface__["data"][0], self._address)
        return self._out[0]

    def timed(self, windows: Array) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Run windows [n, window, channels] one by one, in a loop in C.

        Returns:
            Logits and probabilities [n, 2, labels], and the latency of each window in nanoseconds.
        """
        check_windows(windows, *self.window_shape)
        ready = np.ascontiguousarray(windows, dtype=np.float32)
        outputs = np.empty((len(ready), 2, self._labels), np.float32)
        nanoseconds = np.empty(len(ready), np.int64)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (ready, outputs, nanoseconds)]
        self._library.run_windows(*pointers, len(ready))
        return outputs, nanoseconds

    def logits(self, windows: Array) -> NDArray[np.float32]:
        """Return the logits [n, labels] of windows [n, window, channels]."""
        return np.ascontiguousarray(self.timed(windows)[0][:, 0])


def packed(network: Network, dense: bool, lanes: int, columns: int, blocks: int) -> NDArray[np.float32]:
    """Return the weights in the order in which kernel.c reads them.

    Args:
        network: Network.
        dense: Whether the input layer is not folded into the first LSTM layer.
        lanes: Floats per vector register.
        columns: Vectors of outputs per tile of a projection.
        blocks: Vectors of units per tile of a step.
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
    """Return the bias and the tiles of a weight [outputs, inputs], each input by input."""
    pad = -len(weight) % lanes
    weight, bias = np.pad(weight, ((0, pad), (0, 0))), np.pad(bias, (0, pad))
    return [bias, *(weight[k : k + columns * lanes].T for k in range(0, len(weight), columns * lanes))]


def _rows(hidden: int, lanes: int, blocks: int) -> NDArray[np.intp]:
    """Return the rows of the gates in the order of a step: groups of `blocks` vectors of units with gates i, f, g, o.

    Units that pad the last vector have a row of zeros, which `_scaled` appends.
    """
    padded = hidden + -hidden % lanes
    unit = np.arange(padded)
    own = np.where(unit < hidden, np.arange(4)[:, None] * hidden + unit, 4 * hidden)
    groups = range(0, padded, blocks * lanes)
    return np.concatenate([own[:, start : start + blocks * lanes].ravel() for start in groups])


def _scaled(values: Array) -> Array:
    """Return the rows of the gates times -log2 e (the candidate's times -2 log2 e), and a row of zeros."""
    factors = np.repeat([-_LOG2_E, -_LOG2_E, -2 * _LOG2_E, -_LOG2_E], len(values) // 4)[:, None]
    return np.concatenate([values * factors, np.zeros((1, values.shape[1]))])


def _aligned(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a copy that starts at a multiple of `_ALIGNMENT` bytes."""
    room = np.empty(len(values) + _ALIGNMENT // 4, np.float32)
    start = -room.ctypes.data % _ALIGNMENT // 4
    room[start : start + len(values)] = values
    return room[start : start + len(values)]


def _compiled(network: Network, dense: bool, compiler: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    if shutil.which(compiler) is None:
        raise InputError(f"{compiler} is not installed; the C kernel needs it")
    hidden = [layer.hidden for layer in network.lstm]
    units = network.input.out_channels if dense else 0
    definitions = {
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
        macros = [f"-D{name}={value}" for name, value in definitions.items()]
        command = [compiler, *_FLAGS, *flags, *macros, str(_SOURCE), "-o", str(library)]
        child = subprocess.run(command, capture_output=True, text=True)
        if child.returncode != 0:
            raise InputError(f"{compiler} cannot compile {_SOURCE.name}: {child.stderr.strip()[-500:]}")
        return ctypes.CDLL(str(library))  # stays loaded after its file is deleted
