"""The float64 NumPy reference as a runner."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from harexport.model.layers import Array
from harexport.model.network import Network
from harexport.runtimes import Floats


class ReferenceRunner:
    """`Network.logits` with the interface of a runner; logits are float64."""

    def __init__(self, network: Network, name: str = "reference") -> None:
        self.name = name
        self.runtime = "NumPy float64"
        self.window_shape = (network.window, network.num_channels)
        self.batch: int | None = None
        self.metadata: dict[str, str] = {}
        self._network = network

    def logits(self, windows: Array, progress: Callable[[int], None] | None = None) -> NDArray[np.float64]:
        """Windows [n, window, channels] -> logits [n, labels]; see `Network.logits`. Raises InputError."""
        return self._network.logits(windows, progress)

    def run_batch(self, windows: Floats) -> NDArray[np.float64]:
        """Windows [n, window, channels] -> logits [n, labels]."""
        return self._network.logits(windows)
