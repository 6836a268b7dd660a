"""Input of the files in the old runtime: windows in order, then extreme windows, each followed by the first windows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harexport.data import Dataset
from harexport.errors import InputError
from harexport.exporters import checks
from harexport.formats.model_file import ModelFile, Tensor
from harexport.model.contract import CHANNELS, LOGITS_NAME, Contract
from harexport.runtimes.litert import LiteRtRunner

# Largest logit differences from LiteRT: float kernels add in a different order. Integer kernels round halves
# differently, and have no limit here.
MAX_DIFFERENCES = {"float32": 1e-4, "float16": 1e-4}
STATELESS = 1e-6  # largest logit difference that counts as no state
SYNTHETIC_WINDOWS = 200  # number of windows for files that do not take those of the test set
_EXTREME = {"NaN": np.nan, "infinity": np.inf, "1e30": 1e30}
_BATCHES = (1, 7, 3)  # alternating batch sizes of files with a dynamic batch


@dataclasses.dataclass(frozen=True)
class TestInput:
    """Windows [n, window, channels], with labels if they are test windows and None if they are synthetic."""

    signals: NDArray[np.float32]
    labels: NDArray[np.int64] | None


def select_windows(runner: LiteRtRunner, dataset: Dataset, contract: Contract | None, count: int) -> TestInput:
    """Return `count` evenly spaced test windows, or synthetic ones if the file has another input."""
    test = dataset.test
    if runner.window_shape == test.signals.shape[1:] and (contract is None or contract.channels == CHANNELS):
        chosen = np.linspace(0, len(test) - 1, min(count, len(test))).round().astype(int)
        return TestInput(np.ascontiguousarray(test.signals[chosen], np.float32), test.labels[chosen])
    if contract is None:
        raise InputError(f"{runner.name} takes windows {runner.window_shape} and has no contract")
    return TestInput(checks.synthetic_windows(contract, SYNTHETIC_WINDOWS), None)


class Feed:
    """Encodes the input of all calls, and decodes their output.

    The input is the windows, with the last one repeated to fill its batch. For float inputs, windows of NaN, of
    infinity and of large values follow, each with the first windows after it.
    """

    def __init__(self, windows: NDArray[np.float32], held: ModelFile, batch: int | None) -> None:
        self.sizes = _BATCHES if batch is None else (batch,)
        self._count, size = len(windows), batch or 1
        # with more windows per call, kernels add in a different order
        self._tolerance = STATELESS if batch else MAX_DIFFERENCES["float32"]
        self._reads = held.inputs[0]
        self._logits = next(tensor for tensor in held.outputs if tensor.name == LOGITS_NAME)
        parts = [windows, np.repeat(windows[-1:], -len(windows) % size, axis=0)]
        self._again: dict[str, slice] = {}
        for name, value in _EXTREME.items() if self._reads.dtype == "float32" else ():
            parts += [np.full_like(windows[:size], value), windows[:size]]
            end = sum(map(len, parts))
            self._again[name] = slice(end - size, end)
        self._all = np.concatenate(parts)

    @property
    def bytes(self) -> bytes:
        """Bytes of the input tensor, window after window."""
        if self._reads.dtype == "float32":
            return self._all.tobytes()
        scale, zero = _scale(self._reads)
        integers: NDArray[np.int8] = np.clip(np.rint(self._all / scale) + zero, -128, 127).astype(np.int8)
        return integers.tobytes()

    def logits(self, path: Path) -> tuple[NDArray[np.float32], dict[str, bool]]:
        """Return the logits of the windows, and whether the first ones are unchanged after each extreme window."""
        values: NDArray[np.float32] = np.fromfile(path, self._logits.dtype).astype(np.float32)
        if self._logits.dtype != "float32":
            scale, zero = _scale(self._logits)
            values = ((values - zero) * scale).astype(np.float32)
        rows = values.reshape(len(self._all), -1)
        unmoved = {
            name: bool(np.allclose(rows[where], rows[: where.stop - where.start], rtol=0, atol=self._tolerance))
            for name, where in self._again.items()
        }
        return rows[: self._count], unmoved

    def microseconds(self, path: Path) -> NDArray[np.float64]:
        """Return the latency per window of each call."""
        taken, done = np.fromfile(path, "<i8") / 1e3, 0
        sizes: list[int] = []
        while done < self._count:
            sizes.append(min(self.sizes[len(sizes) % len(self.sizes)], len(self._all) - done))
            done += sizes[-1]
        each: NDArray[np.float64] = taken[: len(sizes)] / sizes
        return each


def _scale(tensor: Tensor) -> tuple[float, int]:
    if tensor.quantization is None:
        raise InputError(f"{tensor.name} has integers without a scale; export the file again")
    return tensor.quantization.scales[0], tensor.quantization.zero_points[0]
