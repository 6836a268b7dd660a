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
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError

Floats = NDArray[np.float64]
Vector = tuple[float, float, float]

GRAVITY_TOLERANCE = 0.2  # g: how far the length of gravity may be from 1 g (scale errors of phones are below 0.1)
_OPPOSITE = -0.999  # cosine; beyond it the shortest rotation is not unique
_OUTLIER = 0.1  # chord length on the unit sphere (5.7 degrees): farther directions lose weight in proportion
_ROUNDS = 3


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
        x, y, z = unit_vector(gravity)
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

    def compose(self, other: Mount) -> Mount:
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


class StandingMountEstimator:
    """Estimates the mounting from an interval of standing still that the user gives.

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
# g, of each axis: in intervals of 5 s, standing training subjects reach 0.084, and walking ones start at 0.14.
_MAX_STANDING_STD = 0.09
_MAX_STANDING_TURN_DEG = 6.0  # 5.6 in the same intervals


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
    length = vector_length(mean)
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
    unit = unit_vector(mean)
    angles = [angle_deg(sample, unit) for sample in samples]
    return MountEstimate(unit, math.sqrt(sum(angle * angle for angle in angles) / len(angles)), seconds)


def robust_direction(weighted: Sequence[tuple[Vector, float]]) -> tuple[Vector, float]:
    """Return the weighted mean direction of unit vectors, robust against outliers, and their spread in degrees.

    Args:
        weighted: Unit vectors with their weights; the weights' sum is positive.
    """
    vectors = np.array([vector for vector, _ in weighted])  # [n, 3]
    weights = np.array([weight for _, weight in weighted])
    mean = _weighted_mean(vectors, weights)
    for _ in range(_ROUNDS):
        chords = np.sqrt(((vectors - mean) ** 2).sum(axis=1))
        mean = _weighted_mean(vectors, weights * _OUTLIER / np.maximum(_OUTLIER, chords))
    angles = np.degrees(np.arccos(np.clip(vectors @ np.array(mean), -1.0, 1.0)))
    return mean, math.sqrt(float(weights @ angles**2) / float(weights.sum()))


def _weighted_mean(vectors: Floats, factors: Floats) -> Vector:
    # A running sum adds in the order of time, as the Kotlin version does.
    return unit_vector(np.cumsum(factors[:, None] * vectors, axis=0)[-1])


def angle_deg(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float:
    """Return the angle between two vectors [3] in degrees, 0 where one of them has no length."""
    lengths = vector_length(a) * vector_length(b)
    if lengths == 0.0:
        return 0.0
    cosine = (float(a[0]) * float(b[0]) + float(a[1]) * float(b[1]) + float(a[2]) * float(b[2])) / lengths
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def vector_length(vector: Sequence[float] | Floats) -> float:
    x, y, z = float(vector[0]), float(vector[1]), float(vector[2])
    return math.sqrt(x * x + y * y + z * z)


def unit_vector(vector: Sequence[float] | Floats) -> Vector:
    length = vector_length(vector)
    if not 1e-6 < length < math.inf:
        raise InputError("gravity has no direction: the mean acceleration is zero or not finite")
    return float(vector[0]) / length, float(vector[1]) / length, float(vector[2]) / length
