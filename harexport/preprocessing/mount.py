"""How the phone is mounted: estimate the direction of gravity, and rotate samples into the frame of the model.

Geometry. A phone measures in its own axes x, y, z. At rest its accelerometer reads +1 g along the direction that
points up; this direction is called gravity here, as in the data set. A model of the frame "gravity along +x" expects
that direction along the x axis while the person stands or walks. One rotation matrix R per mounting takes every vector
of the phone (acceleration, angular velocity) into this frame: v_model = R v_phone. R is the shortest rotation that
takes the estimated gravity to +x. The rotation about the vertical axis (the heading) stays arbitrary, so the model must
not depend on it.

The rotation comes before the filter chain. All filters but the median are linear and the same on the three axes of a
sensor, so a rotation of their states has the same effect as a rotation of all earlier samples (see stream.Filters).

The arithmetic is plain double precision in a fixed order, so that the Kotlin version gives the same numbers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError

Floats = NDArray[np.float64]
Vector = tuple[float, float, float]

UNKNOWN, ESTIMATED, CHANGED = "unknown", "estimated", "changed"

GRAVITY_TOLERANCE = 0.2  # g: how far the length of gravity may be from 1 g (scale errors of phones are below 0.1)
_OPPOSITE = -0.999  # cosine; beyond it the shortest rotation is not unique

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
_MIN_WEIGHT = 0.1  # windows of less weight are not kept
_KEPT_WINDOWS = 64
_MIN_TOTAL_WEIGHT = 3.0  # before this much walking nothing is estimated
_OUTLIER = 0.1  # chord length on the unit sphere (5.7 degrees): farther windows lose weight in proportion
_ROUNDS = 3

_CHANGE_DEG = 25.0  # stairs tilt gravity by up to 16 degrees from level walking
_CHANGE_WINDOWS = 5  # consecutive gait windows that deviate


@dataclass(frozen=True)
class Mount:
    """One rotation of all sensor vectors, from the axes of the phone to the frame of the model.

    Attributes:
        matrix: The rotation matrix, three rows of three values.
    """

    matrix: tuple[Vector, Vector, Vector]

    @staticmethod
    def from_gravity(gravity: Sequence[float]) -> Mount:
        """Return the shortest rotation that takes `gravity` to +x (Rodrigues' formula).

        Args:
            gravity: The direction of gravity in the axes of the phone, of any length.

        Raises:
            InputError: If the vector has no direction.
        """
        x, y, z = _unit(gravity)
        if x < _OPPOSITE:  # half a turn about z
            return Mount(((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)))
        scale = 1.0 / (1.0 + x)
        # The axis is gravity x (1, 0, 0) = (0, z, -y); R = I + K + K K / (1 + cosine).
        return Mount(
            (
                (1.0 - (y * y + z * z) * scale, y, z),
                (-y, 1.0 - y * y * scale, -y * z * scale),
                (-z, -y * z * scale, 1.0 - z * z * scale),
            )
        )

    @property
    def inverse(self) -> Mount:
        """The rotation from the frame of the model back to the axes of the phone."""
        (a, b, c), (d, e, f), (g, h, i) = self.matrix
        return Mount(((a, d, g), (b, e, h), (c, f, i)))

    @property
    def tilt_deg(self) -> float:
        """Degrees between the phone's x axis and the vertical: 0 as worn in the data set, 180 upside down."""
        return math.degrees(math.acos(max(-1.0, min(1.0, self.matrix[0][0]))))

    def rotate(self, values: Sequence[float]) -> tuple[float, ...]:
        """Rotate one sample: x, y, z of one sensor after the other."""
        out: list[float] = []
        for k in range(0, len(values), 3):
            x, y, z = values[k], values[k + 1], values[k + 2]
            out += [a * x + b * y + c * z for a, b, c in self.matrix]
        return tuple(out)

    def rotate_signal(self, signal: NDArray[np.floating]) -> Floats:
        """Rotate samples [..., 3 * sensors], x, y, z of one sensor after the other."""
        vectors = signal.astype(np.float64).reshape(*signal.shape[:-1], -1, 3)
        rotated: Floats = (vectors @ np.array(self.matrix).T).reshape(signal.shape)
        return rotated

    def after(self, other: Mount) -> Mount:
        """Return the rotation that applies `other` first, then this one."""
        columns = list(zip(*other.matrix, strict=True))
        rows = [
            tuple(sum(a * b for a, b in zip(row, column, strict=True)) for column in columns) for row in self.matrix
        ]
        return Mount((rows[0], rows[1], rows[2]))  # type: ignore[arg-type]


AS_IS = Mount(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


@dataclass(frozen=True)
class MountEstimate:
    """An estimate of the mounting, with its quality.

    Attributes:
        gravity: Unit vector of gravity in the axes of the phone.
        spread_deg: Weighted root mean square angle between the windows' gravity and the estimate, in degrees.
        seconds: How much standing, or level walking by weight, the estimate is made of.
    """

    gravity: Vector
    spread_deg: float
    seconds: float

    @property
    def mount(self) -> Mount:
        """The rotation that takes the estimated gravity to +x."""
        return Mount.from_gravity(self.gravity)


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
    length = _norm(mean)
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
    steady. Gait windows are weighted by how much they look like level walking rather than stairs: people lean forward
    on stairs, and a belt tilts with them. The estimate is the weighted mean direction of gravity, in which windows far
    from the mean lose weight (Huber's weights, three rounds).

    Where at least five gait windows in a row deviate by more than 25 degrees from the estimate, with enough level
    walking among them for an estimate of their own, the phone was put elsewhere: the state is `changed`, and the
    estimate is made anew from these windows on.

    Args:
        rate_hz: Samples per second of the windows.
        hop_s: Seconds between the starts of two windows.
        keep: How many gait windows the estimate is made of at most; None for all of them (whole recordings).

    Attributes:
        state: `unknown`, `estimated`, or `changed` (only after the window at which a change was found).
        estimate: The present estimate; None while there is none.
        last_agreeing: The last gait window, counted from 0, that agreed with the estimate; -1 before any.
        first_deviating: The first window of the last run of deviating gait windows.
    """

    def __init__(self, rate_hz: float, hop_s: float, keep: int | None = _KEPT_WINDOWS) -> None:
        self._rate_hz, self._hop_s = rate_hz, hop_s
        self._recent: deque[tuple[Vector, float]] = deque(maxlen=keep)
        self._deviating: list[tuple[Vector, float]] = []
        self.state = UNKNOWN
        self.estimate: MountEstimate | None = None
        self._windows = self._constant = self._without_gravity = self._gait = 0
        self.last_agreeing = self.first_deviating = -1  # windows, from 0

    def push(self, acceleration: NDArray[np.floating], walking_probability: float = 1.0) -> MountEstimate | None:
        """Add one window, in the order of time, and return the present estimate, if there is one.

        Afterwards `state` is `unknown`, `estimated`, or `changed` (only for the window at which a change was found).

        Args:
            acceleration: Acceleration with gravity [samples, 3] in g, in the axes of the phone.
            walking_probability: A model's probability of level walking, which multiplies the window's weight.
        """
        features = gait_features(acceleration, self._rate_hz)
        self._windows += 1
        self._constant += int(bool((acceleration == acceleration[0]).all()))
        self._without_gravity += int(abs(features.gravity_g - 1.0) > GRAVITY_TOLERANCE)
        self.state = UNKNOWN if self.estimate is None else ESTIMATED
        if not features.is_gait:
            return self.estimate
        self._gait += 1
        window = (features.gravity, features.level_weight * walking_probability)
        if self._has_changed(window):
            self._recent.clear()
            self._recent.extend(entry for entry in self._deviating if entry[1] >= _MIN_WEIGHT)
            self._deviating.clear()
            self.estimate = self._estimated()
            self.state = CHANGED
        elif not self._deviating and window[1] >= _MIN_WEIGHT:
            self._recent.append(window)
            self.estimate = self._estimated()
            self.state = UNKNOWN if self.estimate is None else ESTIMATED
        return self.estimate

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
            return (
                f"the phone's x axis was {self.estimate.mount.tilt_deg:.0f} degrees from the vertical "
                f"({self.estimate.seconds:.0f} s of level walking, spread {self.estimate.spread_deg:.1f} degrees)"
            )
        if not self._gait:
            return "the mounting is unknown: no walking was found in the recording"
        return "the mounting is unknown: too little level walking was found in the recording"

    def _has_changed(self, window: tuple[Vector, float]) -> bool:
        """Whether `window` completes a run of deviating gait windows that suffices for an estimate of its own."""
        index = self._windows - 1
        if self.estimate is None or angle_deg(window[0], self.estimate.gravity) <= _CHANGE_DEG:
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

    def _estimated(self) -> MountEstimate | None:
        total = sum(weight for _, weight in self._recent)
        if total < _MIN_TOTAL_WEIGHT:
            return None
        gravity, spread_deg = robust_direction(list(self._recent))
        return MountEstimate(gravity, spread_deg, total * self._hop_s)


def robust_direction(weighted: Sequence[tuple[Vector, float]]) -> tuple[Vector, float]:
    """Return the weighted mean direction of unit vectors, robust against outliers, and their spread in degrees.

    Args:
        weighted: Unit vectors with their weights; the weights' sum is positive.
    """
    mean = _weighted_mean(weighted, [weight for _, weight in weighted])
    for _ in range(_ROUNDS):
        factors = []
        for (x, y, z), weight in weighted:
            chord = math.sqrt((x - mean[0]) ** 2 + (y - mean[1]) ** 2 + (z - mean[2]) ** 2)
            factors.append(weight * _OUTLIER / max(_OUTLIER, chord))
        mean = _weighted_mean(weighted, factors)
    total = sum(weight for _, weight in weighted)
    square = sum(weight * angle_deg(vector, mean) ** 2 for vector, weight in weighted)
    return mean, math.sqrt(square / total)


def _weighted_mean(weighted: Sequence[tuple[Vector, float]], factors: Sequence[float]) -> Vector:
    x = y = z = 0.0
    for (vector, _), factor in zip(weighted, factors, strict=True):
        x += factor * vector[0]
        y += factor * vector[1]
        z += factor * vector[2]
    return _unit((x, y, z))


@dataclass(frozen=True)
class MountSegment:
    """A part of a recording with one mounting: the windows `first` to `end` (excluded) and their estimate."""

    first: int
    end: int
    estimate: MountEstimate | None


def estimate_segments(windows: Iterable[NDArray[np.floating]], rate_hz: float, hop_s: float) -> list[MountSegment]:
    """Estimate the mounting of a whole recording, in parts where it changes.

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
    first, count, before = 0, 0, None
    for window in windows:
        count += 1
        last_agreeing = estimator.last_agreeing
        estimate = estimator.push(window)
        if estimator.state == CHANGED:
            parts.append(MountSegment(first, last_agreeing + 1, before))
            parts.append(MountSegment(last_agreeing + 1, estimator.first_deviating, None))
            first = estimator.first_deviating
        before = estimate
    estimator.check_signal()
    parts.append(MountSegment(first, count, estimator.estimate))
    return [part for part in parts if part.first < part.end]


class StandingMountEstimator:
    """Estimates the mounting from an interval in which the person stands still, as the user says.

    Args:
        rate_hz: Samples per second.
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._samples: list[Vector] = []

    def push(self, acceleration: Sequence[float]) -> None:
        """Add one sample of acceleration with gravity, x, y, z in g, in the axes of the phone."""
        self._samples.append((float(acceleration[0]), float(acceleration[1]), float(acceleration[2])))

    def estimate(self) -> MountEstimate:
        """Return the estimate from the samples so far.

        Raises:
            InputError: If they are too few, not finite, constant, without gravity, or of a person who moves.
        """
        return estimate_from_standing(np.array(self._samples).reshape(-1, 3), self._rate_hz)


MIN_STANDING_SECONDS = 1.0
_MAX_STANDING_STD = 0.05  # g, of each axis; 99 % of the standing windows of the training subjects are below 0.04
_MAX_STANDING_TURN_DEG = 5.0


def estimate_from_standing(acceleration: NDArray[np.floating], rate_hz: float) -> MountEstimate:
    """Estimate the mounting from an interval in which the person stands still.

    Args:
        acceleration: Acceleration with gravity [samples, 3] in g, in the axes of the phone.
        rate_hz: Samples per second.

    Raises:
        InputError: If the interval is too short, not finite, constant, without gravity, or of a person who moves.
    """
    samples = acceleration.astype(np.float64)
    seconds = len(samples) / rate_hz
    if seconds < MIN_STANDING_SECONDS:
        raise InputError(
            f"the standing interval holds {seconds:.2f} s of samples; at least {MIN_STANDING_SECONDS:g} s are needed"
        )
    if not np.isfinite(samples).all():
        raise InputError("the standing interval holds NaN or infinity; choose another interval")
    mean = samples.mean(axis=0)
    length = _norm(mean)
    if abs(length - 1.0) > GRAVITY_TOLERANCE:
        raise InputError(
            f"the mean acceleration of the standing interval is {length:.2f} g instead of 1 g (wrong unit, linear "
            "acceleration, or a falling or spinning phone). Give the accelerometer with gravity and its unit"
        )
    if (samples == samples[0]).all():
        raise InputError("the acceleration is constant in the standing interval: the sensor delivers no measurements")
    deviation = float(samples.std(axis=0).max())
    half = len(samples) // 2
    turn_deg = angle_deg(samples[:half].mean(axis=0), samples[half:].mean(axis=0))
    if deviation > _MAX_STANDING_STD or turn_deg > _MAX_STANDING_TURN_DEG:
        raise InputError(
            f"the person does not stand still in the standing interval (the acceleration varies by {deviation:.2f} g, "
            f"gravity turns by {turn_deg:.0f} degrees). Choose an interval of standing still"
        )
    unit = _unit(mean)
    angles = [angle_deg(sample, unit) for sample in samples]
    return MountEstimate(unit, math.sqrt(sum(angle * angle for angle in angles) / len(angles)), seconds)


def angle_deg(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float:
    """Return the angle between two vectors [3] in degrees, 0 where one of them has no length."""
    lengths = _norm(a) * _norm(b)
    if lengths == 0.0:
        return 0.0
    cosine = (float(a[0]) * float(b[0]) + float(a[1]) * float(b[1]) + float(a[2]) * float(b[2])) / lengths
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def _norm(vector: Sequence[float] | Floats) -> float:
    x, y, z = float(vector[0]), float(vector[1]), float(vector[2])
    return math.sqrt(x * x + y * y + z * z)


def _unit(vector: Sequence[float] | Floats) -> Vector:
    length = _norm(vector)
    if not 1e-6 < length < math.inf:
        raise InputError("gravity has no direction: the mean acceleration is zero or not finite")
    return float(vector[0]) / length, float(vector[1]) / length, float(vector[2]) / length
