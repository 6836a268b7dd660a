"""Synthetic signals of a person who walks or sits; no two samples are equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SECOND = 1_000_000_000
Floats = NDArray[np.float64]
Times = NDArray[np.int64]


def regular(seconds: float, rate_hz: float, phase_s: float = 0.0) -> Times:
    """Times in ns of a perfect clock."""
    return np.rint((phase_s + np.arange(round(seconds * rate_hz)) / rate_hz) * SECOND).astype(np.int64)


def walking(time_ns: Times) -> tuple[Floats, Floats]:
    """Acceleration [n, 3] in g, gravity mostly along x, and angular velocity [n, 3] in rad/s."""
    t = time_ns[:, None] / SECOND
    step = 2 * np.pi * 1.9 * t
    acc = np.array([0.95, -0.15, 0.2]) + np.concatenate(
        [0.30 * np.sin(step), 0.12 * np.sin(step / 2 + 1), 0.15 * np.sin(2 * step + 0.5)], axis=1
    )
    gyro = np.concatenate([0.9 * np.sin(step / 2), 1.3 * np.sin(step + 0.3), 0.5 * np.cos(step / 2)], axis=1)
    return acc, gyro


def resting(time_ns: Times) -> tuple[Floats, Floats]:
    """A person who sits still: gravity and a little noise."""
    rng = np.random.default_rng(0)
    n = len(time_ns)
    return np.array([0.6, 0.1, 0.79]) + rng.normal(0, 0.004, (n, 3)), rng.normal(0, 0.01, (n, 3))
