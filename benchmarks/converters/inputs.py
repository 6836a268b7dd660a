"""Input of the conversions: trained arrays and calibration windows in one .npz file.

The scripts convert_*.py import this module in other environments than harexport's; it needs NumPy only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class ConversionInput:
    """Arrays named as in Network.arrays, and calibration windows [n, window, channels]."""

    arrays: dict[str, np.ndarray]
    window: int
    hop: int
    relu: bool
    calibration: np.ndarray

    @property
    def layers(self) -> int:
        return sum(name.startswith("lstm.") and name.endswith(".bias") for name in self.arrays)

    @property
    def channels(self) -> int:
        return len(self.arrays["mean"])

    @property
    def has_normalization(self) -> bool:
        return bool(self.arrays["mean"].any() or (self.arrays["std"] != 1).any())


def save(given: ConversionInput, path: Path) -> None:
    facts = json.dumps({"window": given.window, "hop": given.hop, "relu": given.relu})
    np.savez(path, facts=np.array(facts), calibration=given.calibration, **given.arrays)


def load(path: Path | str) -> ConversionInput:
    held = dict(np.load(path))
    facts = json.loads(str(held.pop("facts")))
    calibration = held.pop("calibration")
    return ConversionInput(held, facts["window"], facts["hop"], facts["relu"], calibration)
