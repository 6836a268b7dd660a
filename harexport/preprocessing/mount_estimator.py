"""Estimate how the phone is mounted from level walking, refined by standing, without any cooperation of the person."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.preprocessing.mount import (
    GRAVITY_TOLERANCE,
    Floats,
    MountEstimate,
    Vector,
    angle_deg,
    robust_direction,
    vector_length,
)

UNKNOWN, ESTIMATED, CHANGED = "unknown", "estimated", "changed"

_MIN_WEIGHT = 0.1  # windows of less weight are not kept
_KEPT_WINDOWS = 64
_MIN_TOTAL_WEIGHT = 3.0  # before this much walking nothing is estimated
_MAX_STANDING_DEG = 25.0  # between gravity while standing and while walking; at most 17 in the training recordings
_MIN_STANDING_PROBABILITY = 0.7
_MIN_STANDING_WEIGHT = 3.0  # sum of probabilities, before the estimate is refined
_CHANGE_DEG = 25.0  # stairs tilt gravity by up to 16 degrees from level walking
_CHANGE_WINDOWS = 5  # consecutive gait windows that deviate
_ROUNDING_DEG = 0.1  # more than the rounding errors of angles

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


class WalkingMountEstimator:
    """Estimates the mounting from level walking, window by window, without any cooperation of the person.

    A window counts as gait where its vertical acceleration is strong and periodic at the stride and its gravity is
    steady. Gait windows are weighted by their similarity to level walking as opposed to stairs: people lean forward on
    stairs, and a belt tilts with them. The estimate is the weighted mean direction of gravity, in which windows far
    from the mean lose weight (Huber's weights, three rounds).

    People lean a little while they walk, and belts slip: gravity while standing differs from gravity while walking by 5
    degrees in the mean, and by up to 17. Where a model predicts standing, the estimate is therefore refined: it
    becomes the mean gravity of the windows without movement that the model is sure of, within 25 degrees of walking.

    Where at least five gait windows in a row deviate by more than 25 degrees from the estimate, with enough level
    walking among them for an estimate of their own, the mounting has changed. The state is then `changed`, and the
    estimate restarts from these windows.

    Args:
        rate_hz: Samples per second of the windows.
        hop_s: Seconds between the starts of two windows.
        keep: How many gait windows the estimate is made of at most; None for all of them (whole recordings).

    Attributes:
        state: `unknown`, `estimated`, or `changed` (only after the window at which a change was found).
        replaced: The estimate before the last change; None before any.
        last_agreeing: The last gait window, counted from 0, that agreed with the estimate; -1 before any.
        first_deviating: The first window of the last run of deviating gait windows.
    """

    def __init__(self, rate_hz: float, hop_s: float, keep: int | None = _KEPT_WINDOWS) -> None:
        self._rate_hz, self._hop_s = rate_hz, hop_s
        self._recent: deque[tuple[Vector, float]] = deque(maxlen=keep)
        self._deviating: list[tuple[Vector, float]] = []
        self.state = UNKNOWN
        self.replaced: MountEstimate | None = None
        self._walking: MountEstimate | None = None
        self._is_current = True  # _walking is the estimate of _recent
        self._total = 0.0  # weight of _recent
        # All of _recent is within _radius_deg of _center, and so is every estimate from it.
        self._center, self._radius_deg = (1.0, 0.0, 0.0), 180.0
        self._standing: deque[tuple[Vector, float]] = deque(maxlen=keep)
        self._windows = self._constant = self._without_gravity = self._gait = 0
        self.last_agreeing = self.first_deviating = -1  # windows, from 0

    def push(
        self,
        acceleration: NDArray[np.floating],
        walking_probability: float = 1.0,
        standing_probability: float = 0.0,
    ) -> MountEstimate | None:
        """Add one window, in the order of time, and return the present estimate, if there is one.

        Args:
            acceleration: Acceleration with gravity [samples, 3] in g, in the axes of the phone.
            walking_probability: A model's probability of level walking, which multiplies the window's weight.
            standing_probability: A model's probability of standing, under the present estimate.
        """
        self.add(acceleration, walking_probability, standing_probability)
        return self.estimate

    def add(
        self,
        acceleration: NDArray[np.floating],
        walking_probability: float = 1.0,
        standing_probability: float = 0.0,
    ) -> None:
        """Add one window as `push` does, without computing the estimate."""
        features = gait_features(acceleration, self._rate_hz)
        self._windows += 1
        self._constant += int(bool((acceleration == acceleration[0]).all()))
        self._without_gravity += int(abs(features.gravity_g - 1.0) > GRAVITY_TOLERANCE)
        self.state = ESTIMATED if self._has_estimate else UNKNOWN
        if features.is_gait:
            self._push_gait(features.gravity, features.level_weight * walking_probability)
        elif (
            standing_probability >= _MIN_STANDING_PROBABILITY
            and self.walking is not None
            and _is_standing(features, standing_probability, self.walking)
        ):
            self._standing.append((features.gravity, standing_probability))

    @property
    def walking(self) -> MountEstimate | None:
        """The estimate from walking alone; None while there is none."""
        if not self._is_current:
            self._is_current = True
            self._walking = None
            if self._has_estimate:
                gravity, spread_deg = robust_direction(list(self._recent))
                self._walking = MountEstimate(gravity, spread_deg, self._total * self._hop_s)
        return self._walking

    @property
    def estimate(self) -> MountEstimate | None:
        """The present estimate, refined by standing where possible; None while there is none."""
        walking = self.walking
        return None if walking is None else _refine(walking, self._standing)

    @property
    def _has_estimate(self) -> bool:
        return self._total >= _MIN_TOTAL_WEIGHT

    def _push_gait(self, gravity: Vector, weight: float) -> None:
        self._gait += 1
        if self._has_changed((gravity, weight)):
            self.replaced = self.estimate
            self._recent.clear()
            self._standing.clear()
            self._total = 0.0
            self._center, self._radius_deg = gravity, 0.0
            for entry in self._deviating:
                if entry[1] >= _MIN_WEIGHT:
                    self._keep(*entry)
            self._deviating.clear()
            self.state = CHANGED
        elif not self._deviating and weight >= _MIN_WEIGHT:
            self._keep(gravity, weight)
            self.state = ESTIMATED if self._has_estimate else UNKNOWN

    def _keep(self, gravity: Vector, weight: float) -> None:
        """Make a window a part of the estimate."""
        if not self._recent:
            self._center, self._radius_deg = gravity, 0.0
        is_full = len(self._recent) == self._recent.maxlen
        self._recent.append((gravity, weight))
        self._total = sum(weight for _, weight in self._recent) if is_full else self._total + weight
        self._radius_deg = max(self._radius_deg, angle_deg(gravity, self._center))
        self._is_current = False

    def check_signal(self) -> None:
        """Raise InputError where the windows so far cannot come from a phone that is carried.

        Raises:
            InputError: If the acceleration is constant, or its mean is not about 1 g in most windows.
        """
        if self._windows and self._constant == self._windows:
            raise InputError(
                "the acceleration is constant: the sensor delivers no measurements. Record again, or use --mount as-is"
            )
        if self._without_gravity > self._windows / 2:
            raise InputError(
                "the mean acceleration is not about 1 g in most of the recording (wrong unit, linear acceleration, or "
                "a falling or spinning phone). Give the accelerometer with gravity and its unit, or use --mount as-is"
            )

    def describe(self) -> str:
        """Return one sentence about the estimate, or about what is missing for one."""
        if self.estimate is not None:
            return describe_estimate(self.estimate, "level walking")
        if not self._gait:
            return "the mounting is unknown: no walking was found in the recording"
        return "the mounting is unknown: too little level walking was found in the recording"

    def _has_changed(self, window: tuple[Vector, float]) -> bool:
        """Whether `window` completes a run of deviating gait windows that suffices for an estimate of its own."""
        index = self._windows - 1
        if not self._has_estimate or not self._is_far(window[0]):
            self._deviating.clear()
            self.last_agreeing = index
            return False
        if self._deviating and angle_deg(window[0], self._deviating[-1][0]) > _CHANGE_DEG:
            self._deviating.clear()
        if not self._deviating:
            self.first_deviating = index
        self._deviating.append(window)
        kept = sum(weight for _, weight in self._deviating if weight >= _MIN_WEIGHT)
        return len(self._deviating) >= _CHANGE_WINDOWS and kept >= _MIN_TOTAL_WEIGHT

    def _is_far(self, gravity: Vector) -> bool:
        """Whether gravity deviates from the estimate, which is computed only where its limits do not show it."""
        distance = angle_deg(gravity, self._center)
        if distance + self._radius_deg <= _CHANGE_DEG - _ROUNDING_DEG:
            return False
        return self.walking is not None and angle_deg(gravity, self.walking.gravity) > _CHANGE_DEG


def describe_estimate(estimate: MountEstimate, movement: str) -> str:
    """Return a sentence without its end; `movement` is what the estimate was made from."""
    return (
        f"the phone's x axis was {estimate.mount.tilt_deg:.0f} degrees from the vertical "
        f"({estimate.seconds:.0f} s of {movement}, spread {estimate.spread_deg:.1f} degrees)"
    )


@dataclass(frozen=True)
class MountSegment:
    """A part of a recording with one mounting: the windows `first` to `end` (excluded) and their estimate."""

    first: int
    end: int
    estimate: MountEstimate | None


def estimate_segments(windows: Iterable[NDArray[np.floating]], rate_hz: float, hop_s: float) -> list[MountSegment]:
    """Estimate the mounting of a whole recording from level walking, in parts where it changes.

    Windows between the last walking of one mounting and the first walking of the next belong to a part without an
    estimate, because nothing shows when the phone was moved. A person who never walks leaves one part without one.

    Args:
        windows: Windows [samples, 3] of acceleration with gravity in g, in the order of time.
        rate_hz: Samples per second.
        hop_s: Seconds between the starts of two windows.

    Raises:
        InputError: If the acceleration is constant or has no gravity.
    """
    estimator = WalkingMountEstimator(rate_hz, hop_s, keep=None)
    parts: list[MountSegment] = []
    first, count = 0, 0
    for window in windows:
        count += 1
        last_agreeing = estimator.last_agreeing
        estimator.add(window)
        if estimator.state == CHANGED:
            parts.append(MountSegment(first, last_agreeing + 1, estimator.replaced))
            parts.append(MountSegment(last_agreeing + 1, estimator.first_deviating, None))
            first = estimator.first_deviating
    estimator.check_signal()
    parts.append(MountSegment(first, count, estimator.estimate))
    return [part for part in parts if part.first < part.end]


def refine_by_standing(
    estimate: MountEstimate,
    windows: Iterable[NDArray[np.floating]],
    standing_probability: Iterable[float],
    rate_hz: float,
) -> MountEstimate:
    """Refine an estimate from walking by the windows of standing still (see `WalkingMountEstimator`).

    Args:
        estimate: The estimate from walking.
        windows: Windows [samples, 3] of acceleration with gravity in g, in the axes of the phone.
        standing_probability: A model's probability of standing for each window, under the present estimate.
        rate_hz: Samples per second.

    Returns:
        The refined estimate, or `estimate` where there is too little standing.
    """
    standing = []
    for window, probability in zip(windows, standing_probability, strict=True):
        if probability >= _MIN_STANDING_PROBABILITY:
            features = gait_features(window, rate_hz)
            if _is_standing(features, probability, estimate):
                standing.append((features.gravity, probability))
    return _refine(estimate, standing)


def _refine(walking: MountEstimate, standing: Collection[tuple[Vector, float]]) -> MountEstimate:
    """Return the estimate from standing where there is enough of it, otherwise the one from walking."""
    if sum(weight for _, weight in standing) < _MIN_STANDING_WEIGHT:
        return walking
    gravity, spread_deg = robust_direction(list(standing))
    return MountEstimate(gravity, spread_deg, walking.seconds)


def _is_standing(features: GaitFeatures, probability: float, walking: MountEstimate) -> bool:
    return (
        probability >= _MIN_STANDING_PROBABILITY
        and features.is_still
        and angle_deg(features.gravity, walking.gravity) <= _MAX_STANDING_DEG
    )
