"""Windows made up for checks: the same ones every time, no data set needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harexport.contract import Contract


def windows(contract: Contract, count: int = 16, seed: int = 0) -> NDArray[np.float32]:
    """Smooth random motion in physical units: [count, window, channels] float32.

    Every channel is a sum of four sines between 0.3 and 8 Hz (walking is about 2). Even windows move like
    a walker (0.3 g, 0.8 rad/s), odd ones hardly, and channels named total_* carry gravity, of length 1 g,
    in a random direction. What is checked is arithmetic, so the scale matters and the activity does not.
    """
    random = np.random.default_rng(seed)
    channels = len(contract.channels)
    time = np.arange(contract.window) / contract.rate_hz
    frequency = random.uniform(0.3, 8.0, (count, 4, 1, channels))
    phase = random.uniform(0.0, 2 * np.pi, (count, 4, 1, channels))
    strength = random.uniform(0.1, 1.0, (count, 4, 1, channels))
    motion = (strength * np.sin(2 * np.pi * frequency * time[:, None] + phase)).sum(axis=1)
    motion *= np.where(np.arange(count) % 2 == 0, 1.0, 0.05)[:, None, None]
    motion *= [0.8 if unit == "rad/s" else 0.3 for unit in contract.units]
    total = [k for k, name in enumerate(contract.channels) if name.startswith("total_")]
    gravity = random.normal(size=(count, 1, len(total)))
    gravity /= np.linalg.norm(gravity, axis=2, keepdims=True) if total else 1.0
    motion[:, :, total] += gravity
    return np.asarray(motion, dtype=np.float32)
