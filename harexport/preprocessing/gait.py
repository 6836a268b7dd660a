"""Gait in one window of acceleration, recognized without knowing the orientation of the phone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.preprocessing.mount import GRAVITY_TOLERANCE, Floats, Vector, angle_deg, vector_length

# Limits of a gait window, and the weights of the level-walking score. The score separates level walking from stairs;
# its weights are a logistic regression on the training subjects of UCI HAR (benchmarks/mounting_research.json).
_MIN_VERTICAL_G = 0.08  # standard deviation of the vertical acceleration
_MAX_TURN_DEG = 8.0  # between gravity in the first and the second half of the window
_MIN_STRIDE = 0.6  # autocorrelation of the vertical acceleration at the stride period
_STRIDE_SECONDS = (0.8, 1.5)
_SCORE_BIAS = -10.5
_SCORE_ROUGHNESS = 23.5
_SCORE_VERTICAL = -19.6
_SCORE_STRIDE = 13.2
_SCORE_PERIOD = -5.4  # per second of the stride period
_SCORE_RANGE = 6.0  # the weight rises from 0 to 1 while the score rises by this, with 0.5 at a score of 0
_MAX_STILL_G = 0.03  # standard deviation of the vertical acceleration of a person who stands still
_MAX_STILL_TURN_DEG = 3.0


@dataclass(frozen=True)
class GaitFeatures:
    """Features of one window that do not depend on the orientation of the phone.

    Attributes:
        gravity: Unit vector of the mean acceleration.
        gravity_g: Length of the mean acceleration in g.
        vertical_g: Standard deviation of the acceleration along gravity, in g.
        turn_deg: Angle between the mean accelerations of the two halves, in degrees.
        stride: Largest autocorrelation of the vertical acceleration at lags of one stride, from -1 to 1.
        period_s: Lag of that autocorrelation in seconds.
        roughness: Root mean square of the change of the vertical acceleration within 20 ms, over `vertical_g`.
    """

    gravity: Vector
    gravity_g: float
    vertical_g: float
    turn_deg: float
    stride: float
    period_s: float
    roughness: float

    @property
    def is_gait(self) -> bool:
        """Whether the person walks, on level ground or on stairs."""
        return (
            abs(self.gravity_g - 1.0) <= GRAVITY_TOLERANCE
            and self.vertical_g >= _MIN_VERTICAL_G
            and self.turn_deg <= _MAX_TURN_DEG
            and self.stride >= _MIN_STRIDE
        )

    @property
    def is_still(self) -> bool:
        """Whether the person does not move."""
        return (
            abs(self.gravity_g - 1.0) <= GRAVITY_TOLERANCE
            and self.vertical_g <= _MAX_STILL_G
            and self.turn_deg <= _MAX_STILL_TURN_DEG
        )

    @property
    def level_weight(self) -> float:
        """Weight from 0 (no gait, or stairs) to 1 (level walking)."""
        if not self.is_gait:
            return 0.0
        score = (
            _SCORE_BIAS
            + _SCORE_ROUGHNESS * self.roughness
            + _SCORE_VERTICAL * self.vertical_g
            + _SCORE_STRIDE * self.stride
            + _SCORE_PERIOD * self.period_s
        )
        share = max(0.0, min(1.0, 0.5 + score / _SCORE_RANGE))
        return share * share


def gait_features(acceleration: NDArray[np.floating], rate_hz: float) -> GaitFeatures:
    """Compute the features of one window.

    Args:
        acceleration: Acceleration with gravity [samples, 3] in g, in any axes, as the filter chain's total_acc.
        rate_hz: Samples per second.
    """
    samples = acceleration.astype(np.float64)
    mean = samples.mean(axis=0)
    length = vector_length(mean)
    if length < 1e-6:
        return GaitFeatures((1.0, 0.0, 0.0), length, 0.0, 0.0, 0.0, 0.0, 0.0)
    gravity = mean / length
    vertical = (samples - mean) @ gravity
    variance = float(vertical @ vertical) / len(vertical)
    half = len(samples) // 2
    turn_deg = angle_deg(samples[:half].mean(axis=0), samples[half:].mean(axis=0))
    stride, period_s, roughness = 0.0, 0.0, 0.0
    if variance > 0.0:
        step = np.diff(vertical)
        roughness = math.sqrt(float(step @ step) / len(step) / variance) * rate_hz / 50.0
        stride, period_s = _stride(vertical, rate_hz)
    vector = (float(gravity[0]), float(gravity[1]), float(gravity[2]))
    return GaitFeatures(vector, length, math.sqrt(variance), turn_deg, stride, period_s, roughness)


def _stride(vertical: Floats, rate_hz: float) -> tuple[float, float]:
    """Return the largest autocorrelation at lags of one stride, and its lag in seconds."""
    shortest, longest = (round(seconds * rate_hz) for seconds in _STRIDE_SECONDS)
    best, period_s = -1.0, 0.0
    for lag in range(shortest, min(longest, len(vertical) - 2) + 1):
        early, late = vertical[:-lag], vertical[lag:]
        energy = math.sqrt(float(early @ early) * float(late @ late))
        correlation = float(early @ late) / energy if energy > 0.0 else 0.0
        if correlation > best:
            best, period_s = correlation, lag / rate_hz
    return best, period_s
