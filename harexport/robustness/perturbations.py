"""What phones do to a window, done to recorded windows: tilts, turns, noise, lost samples, clock drift, gain errors.

All of it is made after the filters of the contract. These are linear and alike on the three axes but for the median of
three samples, so that turns, gain errors and (but for that median) tilts are what a phone's own chain would make of
such a signal; noise is run through the linear filters by itself; lost samples are bridged here after them, on a phone
before. Everything is drawn by fixed seeds and without regard to the other channels: every model sees the same noise.
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
Wide = NDArray[np.float64]
_Made = TypeVar("_Made")

GROUPS = ("tilt", "turn", "noise", "lost", "clock", "gain")

TILTS_DEG = (10, 20, 30)
NOISES_MG = (5, 10, 20)
LOSSES = (0.02, 0.05)
DRIFTS = (-0.02, 0.02)
GAIN = 0.03
DRAWS = 8  # of what has a direction: tilts, gain errors
NOISE_DRAWS = 3  # 2947 windows average over most of the noise already

# Sensors of phones have 40 to 50 thousandths of a degree per second for each thousandth of g (noise densities in data
# sheets: Bosch BMI160 0.007 dps and 180 ug, TDK ICM-20602 0.004 and 100, ST LSM6DSV 0.0028 and 60, each by the root of
# a hertz: 0.3 to 0.9 mg in 25 Hz); the Galaxy S II of UCI HAR shows 2 to 4 mg and 0.15 to 0.2 dps in its quietest
# windows. So 5 mg stands for another sensor as old as that one, 20 mg for a phone that something shakes.
DPS_PER_MG = 0.05

_ACCELERATION, _ROTATION = "acceleration", "rotation"
# unit -> its sensor, and how many of the unit a thousandth of g or a degree per second is
_UNITS = {
    "g": (_ACCELERATION, 1e-3),
    "m/s2": (_ACCELERATION, 9.80665e-3),
    "rad/s": (_ROTATION, math.pi / 180),
    "deg/s": (_ROTATION, 1.0),
}
_LEAST_GRAVITY_MG = 500  # of a vector's mean over a window, to be taken for gravity


@dataclass(frozen=True)
class Vector:
    """Three channels that are x, y and z of one vector.

    `sensor` they come from; `scale`: a thousandth of g, or a degree per second, in their unit (0: not known).
    """

    name: str
    index: tuple[int, int, int]
    sensor: str
    scale: float


@dataclass(frozen=True)
class PerturbationInput:
    """Windows [n, window, channels] with what is needed to perturb them.

    `up`: unit vectors [n, 3], against gravity, of each window; None where no channel holds gravity.
    """

    windows: Windows
    contract: Contract
    vectors: tuple[Vector, ...]
    up: Wide | None
    chain: Segments

    @staticmethod
    def of(windows: Windows, contract: Contract) -> PerturbationInput:
        found = find_vectors(contract)
        return PerturbationInput(windows, contract, found, _up(windows, found), find_segments(windows))


@dataclass(frozen=True)
class Perturbation:
    """One condition: a kind with others (GROUPS), its name in a table, and how strong it is (None: not a number).

    `make` gives, for a draw from 0 to `draws` - 1, perturbed windows [m, window, channels] and which windows of the
    scene they are [m].
    """

    group: str
    name: str
    level: float | None
    draws: int
    make: Callable[[int], tuple[Floats, NDArray[np.intp]]]


def find_vectors(contract: Contract) -> tuple[Vector, ...]:
    """The vectors among the channels: names that end in _x, _y and _z, of one unit."""
    place = {name: k for k, name in enumerate(contract.channels)}
    found = []
    for stem in (name[:-2] for name in contract.channels if name.endswith("_x")):
        index = tuple(place[f"{stem}_{axis}"] for axis in "xyz" if f"{stem}_{axis}" in place)
        units = {contract.units[k] for k in index}
        if len(index) == 3 and len(units) == 1:
            (unit,) = units
            found.append(Vector(stem, (index[0], index[1], index[2]), *_UNITS.get(unit, (unit, 0.0))))
    return tuple(found)


def perturbations(scene: PerturbationInput) -> list[Perturbation]:
    """All conditions that the scene's channels allow, in the order of reports."""
    found: list[Perturbation] = []

    def add(group: str, name: str, level: float | None, draws: int, make: Callable[[int], Floats]) -> None:
        every = np.arange(len(scene.windows))
        found.append(Perturbation(group, name, level, draws, lambda draw: (make(draw), every)))

    if scene.vectors and scene.up is not None:
        for degrees in TILTS_DEG:
            add("tilt", f"tilted by {degrees}°", degrees, DRAWS, partial(tilt, scene, degrees))
    if scene.vectors:
        for name, turn in side_rotations(scene):
            add("turn", name, None, 1, _once(partial(rotate, scene.windows.signals, scene.vectors, turn)))
    if any(vector.scale for vector in scene.vectors):
        for mg in NOISES_MG:
            add("noise", f"noise of {mg} mg", mg, NOISE_DRAWS, partial(add_noise, scene, mg))
    for share in LOSSES:
        add(
            "lost",
            f"{share * 100:g} % of the samples lost",
            share * 100,
            NOISE_DRAWS,
            partial(drop_samples, scene, share),
        )
    for share in DRIFTS:
        name = f"clock {abs(share) * 100:g} % too {'fast' if share > 0 else 'slow'}"
        found.append(Perturbation("clock", name, share * 100, 1, _once(partial(clock_drift, scene, share))))
    if scene.vectors:
        add("gain", f"gain off by {GAIN * 100:g} %", GAIN * 100, DRAWS, partial(scale_gain, scene, GAIN))
    return found


def _once(made: Callable[[], _Made]) -> Callable[[int], _Made]:
    """Of what needs no drawing."""
    return lambda _: made()


def tilt(scene: PerturbationInput, degrees: float, draw: int) -> Floats:
    """All vectors of a window turned together by `degrees` about a horizontal axis, so that gravity leans by as much.

    The axis is the same for all windows as far as they have the same side up: at an angle drawn uniformly from the
    horizontal part of the phone's z axis (of its y axis where z is the upright one).
    """
    assert scene.up is not None
    angle = np.random.default_rng(draw).uniform(0, 2 * math.pi)
    up = scene.up
    upright = np.abs(up[:, 2]) > 0.9
    start = np.where(upright[:, None], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    first = start - (start * up).sum(axis=1, keepdims=True) * up
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    axis = math.cos(angle) * first + math.sin(angle) * np.cross(up, first)
    return rotate(scene.windows.signals, scene.vectors, rotation_matrix(axis, degrees))


def side_rotations(scene: PerturbationInput) -> Iterator[tuple[str, Wide]]:
    """The phone put on otherwise: 90, 180 and 270 degrees about each axis, with the side that is up then."""
    mean = None if scene.up is None else scene.up.mean(axis=0)
    for k, letter in enumerate("xyz"):
        for degrees in (90, 180, 270):
            turn = np.rint(rotation_matrix(np.eye(3)[k], degrees))
            side = f" ({_side(turn @ mean)} up)" if mean is not None else ""
            yield f"turned {degrees}° about {letter}{side}", turn


def rotation_matrix(axis: Wide, degrees: float) -> Wide:
    """Rodrigues' formula: matrices [..., 3, 3] that turn column vectors about unit axes [..., 3], right-handed."""
    angle = math.radians(degrees)
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*axis.shape[:-1], 3, 3)
    matrix: Wide = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
    return matrix


def rotate(signals: Floats, found: tuple[Vector, ...], turn: Wide) -> Floats:
    """signals [n, window, channels] with every vector turned by matrices [3, 3] or [n, 3, 3]."""
    result = np.array(signals)
    for vector in found:
        result[:, :, vector.index] = signals[:, :, vector.index].astype(np.float64) @ np.swapaxes(turn, -1, -2)
    return result


def add_noise(scene: PerturbationInput, mg: float, draw: int) -> Floats:
    """White noise of `mg` rms on each axis of the accelerometer, in proportion of the gyroscope.

    It is what the sensor adds at every sample, and passes the linear filters with a window's length of lead; channels
    called body_* lose its slow part too. The median, which is left out, would take a part of it away.
    """
    n, length, _ = scene.windows.signals.shape
    filters, rate = scene.contract.filters, scene.contract.rate_hz
    result = scene.windows.signals.astype(np.float64)
    for sensor, slow, rms in (
        (_ACCELERATION, filters.gravity, mg),
        (_ROTATION, filters.drift, mg * DPS_PER_MG),
    ):
        own = [vector for vector in scene.vectors if vector.sensor == sensor]
        if not own:
            continue
        noise = _lowpassed(rms * _random(draw, sensor).normal(size=(n, 2 * length, 3)), filters.noise, rate)
        fast = noise - _lowpassed(noise, slow, rate)
        for vector in own:
            added = fast if vector.name.startswith("body_") else noise
            result[:, :, vector.index] += vector.scale * added[:, length:]
    return result.astype(np.float32)


def drop_samples(scene: PerturbationInput, share: float, draw: int) -> Floats:
    """Each sample but a window's first and last is lost with this probability, of each sensor by itself, and replaced
    by the straight line between its neighbours."""
    signals = scene.windows.signals
    n, length, channels = signals.shape
    sensors = [_UNITS.get(unit, (unit, 0.0))[0] for unit in scene.contract.units]
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


def clock_drift(scene: PerturbationInput, share: float) -> tuple[Floats, NDArray[np.intp]]:
    """Windows of a phone that samples this share too fast (+0.02: 51 samples in the time of 50), and which they are.

    Cut by a cubic spline from the stretch that the window lies in, about the window's middle, moved where the stretch
    ends; a window whose stretch is too short for it is left out. On a phone the filters' cutoffs would shift as much.
    """
    from scipy.interpolate import CubicSpline

    chain, length = scene.chain, scene.windows.signals.shape[1]
    span = (length - 1) / (1 + share)
    last = chain.length[chain.segment_index] - 1
    kept = np.flatnonzero(last >= span)
    begin = np.clip(chain.offset[kept] + (length - 1 - span) / 2, 0, last[kept] - span)
    at = begin[:, None] + np.arange(length) / (1 + share)
    result = np.empty((len(kept), *scene.windows.signals.shape[1:]), np.float32)
    of = chain.segment_index[kept]
    for stretch in np.unique(of):
        samples = np.arange(chain.length[stretch])
        signal = chain.signal[chain.start[stretch] + samples].astype(np.float64)
        result[of == stretch] = CubicSpline(samples, signal)(np.minimum(at[of == stretch], samples[-1]))
    return result, kept


def scale_gain(scene: PerturbationInput, share: float, draw: int) -> Floats:
    """Each axis of each sensor, in all its channels, is by this share too large or too small, as signs are drawn."""
    factor = np.ones(len(scene.contract.channels))
    for vector in scene.vectors:
        factor[list(vector.index)] = 1 + share * _random(draw, vector.sensor).choice([-1.0, 1.0], 3)
    return (scene.windows.signals * factor).astype(np.float32)


def _random(draw: int, sensor: str) -> np.random.Generator:
    """The same numbers for a sensor, whatever else a model reads."""
    return np.random.default_rng([draw, *sensor.encode()])


def _up(windows: Windows, found: tuple[Vector, ...]) -> Wide | None:
    """The mean of the accelerometer's vector that holds gravity, window by window; None where none does."""
    for vector in found:
        if vector.sensor != _ACCELERATION or not len(windows):
            continue
        mean = windows.signals[:, :, vector.index].mean(axis=1, dtype=np.float64)
        size = np.linalg.norm(mean, axis=1, keepdims=True)
        if np.median(size) > _LEAST_GRAVITY_MG * vector.scale:
            result: Wide = mean / np.maximum(size, 1e-12)
            return result
    return None


def _side(up: Wide) -> str:
    largest = int(np.abs(up).argmax())
    return ("-" if up[largest] < 0 else "") + "xyz"[largest]


def _lowpassed(x: Wide, lowpass: Lowpass, rate_hz: float) -> Wide:
    """x [n, samples, 3] through a filter of the contract from rest; as it is where the rate is too low for it."""
    from scipy.signal import sosfilt

    if lowpass.cutoff_hz >= rate_hz / 2:
        return x
    result: Wide = sosfilt(design_sos(lowpass, rate_hz), x, axis=1)
    return result
