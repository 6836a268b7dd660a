"""Perturbations of recorded windows: rotation, noise, lost samples, clock drift, gain errors.

They are applied after the filters of the contract. The filters are linear and equal for the three axes, except for the
median of three samples; so a rotation or a gain error has the same effect as before the filters. Noise passes through
the linear filters separately. Lost samples are interpolated after the filters, on a phone before them. Random numbers
have fixed seeds and do not depend on the other channels, so that every model gets the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Segments, Windows, find_segments
from harexport.model.contract import Contract, Lowpass
from harexport.preprocessing.filters import design_sos

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_T = TypeVar("_T")

TILTS_DEG = (10, 20, 30)
NOISES_MG = (5, 10, 20)
LOSSES = (0.02, 0.05)
DRIFTS = (-0.02, 0.02)
GAIN = 0.03
DRAWS = 8  # for perturbations with a direction: tilts, gain errors
ORIENTATIONS, ORIENTATION_SEED = 20, 15
NOISE_DRAWS = 3  # 2947 windows already average out most of the noise

# Noise of the gyroscope per mg of the accelerometer: 40 to 50 mdps in data sheets (per root hertz: Bosch BMI160
# 0.007 dps and 180 ug, TDK ICM-20602 0.004 dps and 100 ug, ST LSM6DSV 0.0028 dps and 60 ug; 0.3 to 0.9 mg in 25 Hz).
# The Galaxy S II of UCI HAR has 2 to 4 mg and 0.15 to 0.2 dps in its quietest windows. So 5 mg is another sensor of
# that age, 20 mg is a vibrating phone.
DPS_PER_MG = 0.05

_ACCELERATION, _ROTATION = "acceleration", "rotation"
# unit -> sensor, and one mg or one degree per second in this unit
_UNITS = {
    "g": (_ACCELERATION, 1e-3),
    "m/s2": (_ACCELERATION, 9.80665e-3),
    "rad/s": (_ROTATION, math.pi / 180),
    "deg/s": (_ROTATION, 1.0),
}
_MIN_GRAVITY_MG = 500  # least mean of a vector that includes gravity


@dataclass(frozen=True)
class Vector:
    """Three channels that are the axes of one vector.

    Attributes:
        name: Common part of the channel names.
        index: Positions of x, y and z.
        sensor: "acceleration", "rotation", or the unit if it is unknown.
        scale: One mg, or one degree per second, in the unit of the channels; 0 for an unknown unit.
    """

    name: str
    index: tuple[int, int, int]
    sensor: str
    scale: float


@dataclass(frozen=True)
class PerturbationInput:
    """Windows and what is needed to perturb them.

    Attributes:
        windows: Recorded windows.
        contract: Their contract.
        vectors: Vectors among the channels.
        up: Unit vectors [n, 3] opposite to gravity; None if no channel includes gravity.
        segments: Contiguous recordings that the windows were cut from.
    """

    windows: Windows
    contract: Contract
    vectors: tuple[Vector, ...]
    up: Doubles | None
    segments: Segments

    @staticmethod
    def from_windows(windows: Windows, contract: Contract) -> PerturbationInput:
        """Find vectors, gravity and segments of windows."""
        found = find_vectors(contract)
        return PerturbationInput(windows, contract, found, _find_up(windows, found), find_segments(windows))


@dataclass(frozen=True)
class Perturbation:
    """One test condition.

    Attributes:
        group: Kind: tilt, turn, orientation, noise, lost, clock or gain.
        name: Name in tables.
        level: Strength; None if it is not a number.
        draws: Number of random draws.
        make: Returns, for a draw from 0 to draws - 1, perturbed windows [m, window, channels] and their indices [m].
    """

    group: str
    name: str
    level: float | None
    draws: int
    make: Callable[[int], tuple[Floats, NDArray[np.intp]]]


def find_vectors(contract: Contract) -> tuple[Vector, ...]:
    """Find vectors: channels whose names end in _x, _y and _z, of one unit."""
    place = {name: k for k, name in enumerate(contract.channels)}
    found = []
    for stem in (name[:-2] for name in contract.channels if name.endswith("_x")):
        index = tuple(place[f"{stem}_{axis}"] for axis in "xyz" if f"{stem}_{axis}" in place)
        units = {contract.units[k] for k in index}
        if len(index) == 3 and len(units) == 1:
            (unit,) = units
            found.append(Vector(stem, (index[0], index[1], index[2]), *_UNITS.get(unit, (unit, 0.0))))
    return tuple(found)


def perturbations(source: PerturbationInput) -> list[Perturbation]:
    """Return all conditions that the channels allow, in the order of the report."""
    found: list[Perturbation] = []

    def add(group: str, name: str, level: float | None, draws: int, make: Callable[[int], Floats]) -> None:
        every = np.arange(len(source.windows))
        found.append(Perturbation(group, name, level, draws, lambda draw: (make(draw), every)))

    if source.vectors and source.up is not None:
        for degrees in TILTS_DEG:
            add("tilt", f"tilted by {degrees}°", degrees, DRAWS, partial(tilt, source, degrees))
    if source.vectors:
        for name, turn in side_rotations(source):
            add("turn", name, None, 1, _ignore_draw(partial(rotate, source.windows.signals, source.vectors, turn)))
        turns = random_rotations()
        add(
            "orientation",
            "any orientation",
            None,
            ORIENTATIONS,
            lambda draw: rotate(source.windows.signals, source.vectors, turns[draw]),
        )
    if any(vector.scale for vector in source.vectors):
        for mg in NOISES_MG:
            add("noise", f"noise of {mg} mg", mg, NOISE_DRAWS, partial(add_noise, source, mg))
    for share in LOSSES:
        add(
            "lost",
            f"{share * 100:g} % of the samples lost",
            share * 100,
            NOISE_DRAWS,
            partial(drop_samples, source, share),
        )
    for share in DRIFTS:
        name = f"clock {abs(share) * 100:g} % too {'fast' if share > 0 else 'slow'}"
        found.append(Perturbation("clock", name, share * 100, 1, _ignore_draw(partial(clock_drift, source, share))))
    if source.vectors:
        add("gain", f"gain off by {GAIN * 100:g} %", GAIN * 100, DRAWS, partial(scale_gain, source, GAIN))
    return found


def _ignore_draw(make: Callable[[], _T]) -> Callable[[int], _T]:
    """Adapt a perturbation without random numbers."""
    return lambda _: make()


def tilt(source: PerturbationInput, degrees: float, draw: int) -> Floats:
    """Rotate all vectors of a window by `degrees` about a horizontal axis, so that gravity tilts by this angle.

    The angle between the axis and the horizontal part of the phone's z axis (of its y axis if z is vertical) is drawn
    uniformly; it is the same for all windows.
    """
    assert source.up is not None
    angle = np.random.default_rng(draw).uniform(0, 2 * math.pi)
    up = source.up
    upright = np.abs(up[:, 2]) > 0.9
    start = np.where(upright[:, None], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    first = start - (start * up).sum(axis=1, keepdims=True) * up
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    axis = math.cos(angle) * first + math.sin(angle) * np.cross(up, first)
    return rotate(source.windows.signals, source.vectors, rotation_matrix(axis, degrees))


def side_rotations(source: PerturbationInput) -> Iterator[tuple[str, Doubles]]:
    """Yield rotations by 90, 180 and 270 degrees about each axis, with the side that is up afterwards."""
    mean = None if source.up is None else source.up.mean(axis=0)
    for k, letter in enumerate("xyz"):
        for degrees in (90, 180, 270):
            turn = np.rint(rotation_matrix(np.eye(3)[k], degrees))
            side = f" ({_name_side(turn @ mean)} up)" if mean is not None else ""
            yield f"turned {degrees}° about {letter}{side}", turn


def random_rotations() -> Doubles:
    """Return rotations [ORIENTATIONS, 3, 3] of a phone in any orientation: uniform on SO(3), of a fixed seed.

    A unit quaternion of four normal random numbers is uniform on SO(3).
    """
    quaternions = np.random.default_rng(ORIENTATION_SEED).normal(size=(ORIENTATIONS, 4))
    x, y, z, w = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.moveaxis(np.array(rows), -1, 0)


def rotation_matrix(axis: Doubles, degrees: float) -> Doubles:
    """Return matrices [..., 3, 3] of right-handed rotations about unit axes [..., 3] (Rodrigues' formula)."""
    angle = math.radians(degrees)
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*axis.shape[:-1], 3, 3)
    matrix: Doubles = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
    return matrix


def rotate(signals: Floats, found: tuple[Vector, ...], turn: Doubles) -> Floats:
    """Rotate every vector of signals [n, window, channels] by matrices [3, 3] or [n, 3, 3]."""
    result = np.array(signals)
    for vector in found:
        result[:, :, vector.index] = signals[:, :, vector.index].astype(np.float64) @ np.swapaxes(turn, -1, -2)
    return result


def add_noise(source: PerturbationInput, mg: float, draw: int) -> Floats:
    """Add white noise of `mg` rms to each axis of the accelerometer, and a proportional amount to the gyroscope.

    The noise passes the linear filters, with one window of lead-in; channels named body_* lose its low frequencies too.
    The median filter, which would reduce the noise, is not applied.
    """
    n, length, _ = source.windows.signals.shape
    filters, rate = source.contract.filters, source.contract.rate_hz
    result = source.windows.signals.astype(np.float64)
    for sensor, slow, rms in (
        (_ACCELERATION, filters.gravity, mg),
        (_ROTATION, filters.drift, mg * DPS_PER_MG),
    ):
        own = [vector for vector in source.vectors if vector.sensor == sensor]
        if not own:
            continue
        noise = _filter_lowpass(rms * _random(draw, sensor).normal(size=(n, 2 * length, 3)), filters.noise, rate)
        fast = noise - _filter_lowpass(noise, slow, rate)
        for vector in own:
            added = fast if vector.name.startswith("body_") else noise
            result[:, :, vector.index] += vector.scale * added[:, length:]
    return result.astype(np.float32)


def drop_samples(source: PerturbationInput, share: float, draw: int) -> Floats:
    """Drop samples of each sensor with this probability and interpolate linearly.

    The first and last sample of a window are kept.
    """
    signals = source.windows.signals
    n, length, channels = signals.shape
    sensors = [_UNITS.get(unit, (unit, 0.0))[0] for unit in source.contract.units]
    result = np.empty((n, length, channels), np.float32)
    at = np.arange(length)
    for sensor in set(sensors):
        kept = _random(draw, sensor).random((n, length)) >= share
        kept[:, [0, -1]] = True
        left = np.maximum.accumulate(np.where(kept, at, 0), axis=1)
        right = np.minimum.accumulate(np.where(kept, at, length - 1)[:, ::-1], axis=1)[:, ::-1]
        weight = ((at - left) / np.maximum(right - left, 1))[:, :, None]
        own = np.flatnonzero([name == sensor for name in sensors])
        x = signals[:, :, own].astype(np.float64)
        before, after = (np.take_along_axis(x, side[:, :, None], axis=1) for side in (left, right))
        result[:, :, own] = before + weight * (after - before)
    return result


def clock_drift(source: PerturbationInput, share: float) -> tuple[Floats, NDArray[np.intp]]:
    """Resample windows as from a phone whose clock is off by `share` (+0.02: 51 samples in the time of 50).

    A cubic spline through the segment of the window is evaluated around the window's center, shifted at the ends of the
    segment. Windows whose segment is too short are left out. On a phone the filters' cutoffs would shift by the same
    share.

    Returns:
        Windows [m, window, channels] and their indices [m].
    """
    from scipy.interpolate import CubicSpline

    segments, length = source.segments, source.windows.signals.shape[1]
    span = (length - 1) / (1 + share)
    last = segments.length[segments.segment_index] - 1
    kept = np.flatnonzero(last >= span)
    begin = np.clip(segments.offset[kept] + (length - 1 - span) / 2, 0, last[kept] - span)
    at = begin[:, None] + np.arange(length) / (1 + share)
    result = np.empty((len(kept), *source.windows.signals.shape[1:]), np.float32)
    of = segments.segment_index[kept]
    for segment in np.unique(of):
        samples = np.arange(segments.length[segment])
        signal = segments.signal[segments.start[segment] + samples].astype(np.float64)
        result[of == segment] = CubicSpline(samples, signal)(np.minimum(at[of == segment], samples[-1]))
    return result, kept


def scale_gain(source: PerturbationInput, share: float, draw: int) -> Floats:
    """Scale each axis of each sensor, in all its channels, by 1 + share or 1 - share at random."""
    factor = np.ones(len(source.contract.channels))
    for vector in source.vectors:
        factor[list(vector.index)] = 1 + share * _random(draw, vector.sensor).choice([-1.0, 1.0], 3)
    return (source.windows.signals * factor).astype(np.float32)


def _random(draw: int, sensor: str) -> np.random.Generator:
    """Return a generator with the same numbers for a sensor, independent of the other channels."""
    return np.random.default_rng([draw, *sensor.encode()])


def _find_up(windows: Windows, found: tuple[Vector, ...]) -> Doubles | None:
    """Return the mean direction of the acceleration that includes gravity, per window; None without gravity."""
    for vector in found:
        if vector.sensor != _ACCELERATION or not len(windows):
            continue
        mean = windows.signals[:, :, vector.index].mean(axis=1, dtype=np.float64)
        size = np.linalg.norm(mean, axis=1, keepdims=True)
        if np.median(size) > _MIN_GRAVITY_MG * vector.scale:
            result: Doubles = mean / np.maximum(size, 1e-12)
            return result
    return None


def _name_side(up: Doubles) -> str:
    largest = int(np.abs(up).argmax())
    return ("-" if up[largest] < 0 else "") + "xyz"[largest]


def _filter_lowpass(x: Doubles, lowpass: Lowpass, rate_hz: float) -> Doubles:
    """Filter x [n, samples, 3] from rest; return it unchanged if the rate is too low for the filter."""
    from scipy.signal import sosfilt

    if lowpass.cutoff_hz >= rate_hz / 2:
        return x
    result: Doubles = sosfilt(design_sos(lowpass, rate_hz), x, axis=1)
    return result
