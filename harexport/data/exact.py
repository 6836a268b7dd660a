"""Windows in float64, before they are rounded to the float32 that models read: for exact comparisons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.data.windows import Dataset, Windows


@dataclass(frozen=True)
class ExactWindows:
    """signals float64 [n, window, channels] in physical units; labels int64 [n] from 0; subjects int64 [n]."""

    signals: NDArray[np.float64]
    labels: NDArray[np.int64]
    subjects: NDArray[np.int64]

    def rounded(self) -> Windows:
        return Windows(self.signals.astype(np.float32), self.labels, self.subjects)


@dataclass(frozen=True)
class ExactDataset:
    """As windows.Dataset, in float64."""

    train: ExactWindows
    test: ExactWindows
    source: str
    digest: str

    def rounded(self) -> Dataset:
        return Dataset(self.train.rounded(), self.test.rounded(), self.source, self.digest)
