"""What the sensors of a recording are, before a sample goes through the chain: units, rates, order in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.reader import SensorTrack
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.resampler import GAP_SECONDS, MAX_PLAUSIBLE, SECOND, Values, averaging_length
from harexport.preprocessing.stream import ACC, GYRO, UNITS, required_sensors, unit_divisor


@dataclass(frozen=True)
class Units:
    """What the user says about units; None: tell it from the file. `file` is the settings file in which it is said;
    empty where it is said by options."""

    acc: str | None = None
    gyro: str | None = None
    file: str = ""

    def say(self, name: str, unit: str) -> str:
        """How to say that the sensor `name` (acc, gyro) is in `unit`."""
        return f'units.{name} = "{unit}" in {self.file}' if self.file else f"--{name}-unit {unit}"


@dataclass(frozen=True)
class SensorInfo:
    """What was found out about each sensor before the first answer: unit, rate in Hz, and length of the mean."""

    units: dict[str, str]
    rates: dict[str, float]
    average_over: dict[str, int]


def resolve_sensors(tracks: dict[str, SensorTrack], contract: Contract, said: Units, where: str) -> SensorInfo:
    """Units, rates and mean lengths of the sensors that `contract` needs.

    Raises InputError where a sensor is missing, slow, in the wrong unit, or its unit cannot be told.
    """
    units: dict[str, str] = {}
    rates: dict[str, float] = {}
    acc_g = None
    slower = f", or choose a lower rate_hz in {said.file}" if said.file else ""
    fewer = f'; or, if there is none, write sensors = ["{ACC}"] into {said.file}' if said.file else ""
    for sensor in required_sensors(contract):
        if sensor not in tracks:
            raise InputError(
                f"{where}: no {sensor} in it, which the model needs; record it too, and give the CSV, folder or zip "
                f"that holds all sensors{fewer}"
            )
        track = tracks[sensor]
        readable = (np.abs(track.values) < MAX_PLAUSIBLE).all(axis=1)  # NaN compares as false
        times, values = track.time_ns[readable], track.values[readable]
        if not len(times):
            raise InputError(f"{track.source}: no sample of the {sensor} is a number")
        rates[sensor] = estimate_rate(times)
        check_rate(sensor, rates[sensor], contract.rate_hz, track.source, slower)
        if sensor == ACC:
            units[sensor] = infer_acceleration_unit(
                times, values, said.acc or track.unit, track.source, lambda unit: said.say("acc", unit)
            )
            acc_g = (times, values / unit_divisor(ACC, units[ACC]))
        else:
            units[sensor] = infer_gyroscope_unit(
                values, said.gyro or track.unit, acc_g, track.source, lambda unit: said.say("gyro", unit)
            )
    lengths = {sensor: averaging_length(rate, contract.rate_hz) for sensor, rate in rates.items()}
    return SensorInfo(units, rates, lengths)


def merge_by_time(tracks: dict[str, SensorTrack]) -> Iterator[tuple[str, int, Values]]:
    """The samples of all sensors by time, as a phone would have delivered them."""
    merged = sorted(
        (int(time_ns), rank, k)
        for rank, one in enumerate(tracks.values())
        for k, time_ns in enumerate(np.maximum.accumulate(one.time_ns))
    )
    names = list(tracks)
    times = [one.time_ns.tolist() for one in tracks.values()]
    values = [one.values.tolist() for one in tracks.values()]
    for _, rank, k in merged:
        yield names[rank], times[rank][k], tuple(values[rank][k])


# A phone's accelerometer shows gravity as 1 g but for a few percent; means over a second vary more while one moves.
_REST_G = (0.75, 1.3)
_LINEAR_G = 0.35  # a second's mean of acceleration without gravity stays below this
_FULL_SCALE_RAD_S = 35.0  # the gyroscopes of phones end at 2000 degrees a second, which is 34.9 rad/s
_SPIKES = 5  # the largest numbers of a recording may be faults; the fifth largest hardly is one
_STEPS_G = 0.2  # standard deviation of the magnitude within a second, in g: somebody walks
_LEAST_RATE = 0.9  # of the model's rate: phones asked for 50 Hz deliver 48 to 53

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Say = Callable[[str], str]  # how a person says that it is this unit


def infer_acceleration_unit(
    time_ns: Times, values: Floats, said: str | None, where: str, say: Say = "--acc-unit {}".format
) -> str:
    """The unit of acceleration values [n, 3]: as `said`, if gravity agrees, else by the magnitude of gravity.

    Raises InputError where gravity is missing (linear acceleration), does not fit what was said, or fits no unit.
    """
    rest = _gravity(time_ns, values)
    fitting = [unit for unit, one_g in UNITS[ACC].items() if _REST_G[0] <= rest / one_g <= _REST_G[1]]
    if said is not None and said not in UNITS[ACC]:
        raise InputError(
            f"{where}: the unit {said!r} is unknown; choose one of {', '.join(UNITS[ACC])}: "
            f"say {' or '.join(map(say, UNITS[ACC]))}"
        )
    if said in fitting:
        return str(said)
    if said is None and len(fitting) == 1:
        return fitting[0]
    unit = f" {said}" if said else ""
    # 0.35 m/s2 says nothing when the unit may be g; without a word on the unit only the smaller limit is certain.
    if not fitting and rest < _LINEAR_G * (UNITS[ACC][said] if said else 1.0):
        raise InputError(
            f"{where}: gravity is missing: the acceleration averages {rest:.2f}{unit}, not 1 g (9.81 m/s2). This is "
            "linear acceleration; the model needs the total: record TotalAcceleration (Sensor Logger) or "
            "'Acceleration with g' (phyphox)"
        )
    if said is not None:
        hint = f"; in {fitting[0]} it would fit: say {say(fitting[0])}" if fitting else ""
        raise InputError(
            f"{where}: the acceleration is said to be in {said}, but averages {rest / UNITS[ACC][said]:.2f} g, and "
            f"gravity alone is 1 g{hint}"
        )
    raise InputError(
        f"{where}: is the acceleration in g or in m/s2? It averages {rest:.2f}, and gravity is 1 g or 9.81 m/s2. Say "
        f"{' or '.join(map(say, UNITS[ACC]))}, and check that gravity is included"
    )


def infer_gyroscope_unit(
    values: Floats,
    said: str | None,
    acc_g: tuple[Times, Floats] | None,
    where: str,
    say: Say = "--gyro-unit {}".format,
) -> str:
    """The unit of gyroscope values [n, 3]: as `said`, else by magnitude; `acc_g` is the acceleration in g, if any.

    More than a gyroscope can measure in rad/s is deg/s. Whoever walks turns a phone by more than 35 deg/s, so
    smaller numbers with steps in the acceleration are rad/s. Raises InputError where neither is certain.
    """
    largest = float(np.sort(np.abs(values), axis=None)[-_SPIKES:][0])
    if said is not None:
        unit_divisor(GYRO, said)
        if said == "rad/s" and largest > 2 * _FULL_SCALE_RAD_S:
            raise InputError(
                f"{where}: the gyroscope is said to be in rad/s, but reaches {largest:.0f}, and phones end at "
                f"{_FULL_SCALE_RAD_S:.0f} rad/s; in deg/s it would fit: say {say('deg/s')}"
            )
        return said
    if largest > _FULL_SCALE_RAD_S:
        return "deg/s"
    if acc_g is not None and _has_steps(*acc_g):
        return "rad/s"
    raise InputError(
        f"{where}: is the gyroscope in rad/s or in deg/s? It reaches {largest:.2f}, and nobody walks in it, "
        f"so both are possible. Say {' or '.join(map(say, UNITS[GYRO]))}"
    )


def estimate_rate(time_ns: Times) -> float:
    """Samples a second, leaving out gaps and what does not move forward; 0 where fewer than two samples are left."""
    steps = np.diff(np.maximum.accumulate(time_ns)) if len(time_ns) else np.zeros(0)
    steps = steps[(steps > 0) & (steps <= GAP_SECONDS * SECOND)]
    return float(len(steps) * SECOND / steps.sum()) if len(steps) else 0.0


def check_rate(sensor: str, rate_hz: float, wanted_hz: float, where: str, remedy: str = "") -> None:
    """Raises InputError where a sensor is slower than the model's rate: what is between its samples cannot be known.

    `remedy` ends its message: what else may be done.
    """
    if rate_hz < _LEAST_RATE * wanted_hz:
        found = f"{rate_hz:.1f} samples a second" if rate_hz else f"no two samples within {GAP_SECONDS} s"
        raise InputError(
            f"{where}: the {sensor} has {found}; the model needs {wanted_hz:.0f} or more. Set the logger to "
            f"{wanted_hz:.0f} Hz or faster and record again{remedy}"
        )


def _gravity(time_ns: Times, values: Floats) -> float:
    """The median over all seconds of the length of the mean acceleration.

    Means of vectors, not of lengths: while one walks, acceleration without gravity has length but no direction.
    """
    return float(np.median([np.linalg.norm(block.mean(axis=0)) for block in _seconds(time_ns, values)]))


def _has_steps(time_ns: Times, acc_g: Floats) -> bool:
    return any(np.linalg.norm(block, axis=1).std() > _STEPS_G for block in _seconds(time_ns, acc_g))


def _seconds(time_ns: Times, values: Floats) -> list[Floats]:
    """The values cut into blocks of a second; a remainder stands alone only where there is nothing else."""
    block = (time_ns - time_ns[0]) // SECOND
    blocks = np.split(values, np.flatnonzero(np.diff(block)) + 1)
    return blocks[:-1] or blocks
