"""What a file is asked in the oldest runtime: windows in order, then hostile ones, the first windows after each."""

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

# What answers may differ by from LiteRT's: float kernels add up in another order; integer kernels round a sum that lies
# half way to another integer.
MOST_DIFFERENT = {"float32": 1e-4, "float16": 1e-4}
STATELESS = 1e-6  # what a window may owe to the one before
MADE_UP = 200  # windows for a file that does not read the test set's
_HOSTILE = {"NaN": np.nan, "infinity": np.inf, "1e30": 1e30}
_CYCLE = (1, 7, 3)  # windows at once, in turn, of files that leave it open


@dataclasses.dataclass(frozen=True)
class Asked:
    """Windows [n, window, channels], with the labels of those that are test windows (None for made-up ones)."""

    signals: NDArray[np.float32]
    labels: NDArray[np.int64] | None


def asked(runner: LiteRtRunner, dataset: Dataset, contract: Contract | None, count: int) -> Asked:
    """`count` test windows spread over the set, or made-up ones where the file reads something else."""
    test = dataset.test
    if runner.window_shape == test.signals.shape[1:] and (contract is None or contract.channels == CHANNELS):
        chosen = np.linspace(0, len(test) - 1, min(count, len(test))).round().astype(int)
        return Asked(np.ascontiguousarray(test.signals[chosen], np.float32), test.labels[chosen])
    if contract is None:
        raise InputError(f"{runner.name} reads {runner.window_shape} and has no contract: no windows for it")
    return Asked(checks.synthetic_windows(contract, MADE_UP), None)


class Feed:
    """What a file is given, in the order of its calls, and what its answers mean.

    The windows, the last one repeated where calls take more than one; then, for files that read floats, windows of
    NaN, of infinity and of huge numbers, each followed by the first windows once more.
    """

    def __init__(self, windows: NDArray[np.float32], held: ModelFile, batch: int | None) -> None:
        self.sizes = _CYCLE if batch is None else (batch,)
        self._count, size = len(windows), batch or 1
        # sums are added in another order when more windows come at once
        self._tolerance = STATELESS if batch else MOST_DIFFERENT["float32"]
        self._reads = held.inputs[0]
        self._logits = next(tensor for tensor in held.outputs if tensor.name == LOGITS_NAME)
        parts = [windows, np.repeat(windows[-1:], -len(windows) % size, axis=0)]
        self._again: dict[str, slice] = {}
        for name, value in _HOSTILE.items() if self._reads.dtype == "float32" else ():
            parts += [np.full_like(windows[:size], value), windows[:size]]
            end = sum(map(len, parts))
            self._again[name] = slice(end - size, end)
        self._all = np.concatenate(parts)

    @property
    def bytes(self) -> bytes:
        """The input tensor's bytes, window after window."""
        if self._reads.dtype == "float32":
            return self._all.tobytes()
        scale, zero = _scale(self._reads)
        integers: NDArray[np.int8] = np.clip(np.rint(self._all / scale) + zero, -128, 127).astype(np.int8)
        return integers.tobytes()

    def logits(self, path: Path) -> tuple[NDArray[np.float32], dict[str, bool]]:
        """The windows' logits, and whether the first windows had the same ones after each kind of hostile window."""
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
        """What each call of the windows took, a window."""
        taken, done = np.fromfile(path, "<i8") / 1e3, 0
        sizes: list[int] = []
        while done < self._count:
            sizes.append(min(self.sizes[len(sizes) % len(self.sizes)], len(self._all) - done))
            done += sizes[-1]
        each: NDArray[np.float64] = taken[: len(sizes)] / sizes
        return each


def _scale(tensor: Tensor) -> tuple[float, int]:
    if tensor.quantization is None:
        raise InputError(f"{tensor.name} holds integers without a scale: export the file again")
    return tensor.quantization.scales[0], tensor.quantization.zero_points[0]
