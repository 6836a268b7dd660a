"""Sensors of a recording: their units, signs and rates, and their samples merged by time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.csv_format import Units
from harexport.data.recordings.sampling import estimate_rate
from harexport.data.recordings.table import SensorTrack
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.resampler import GAP_SECONDS, MAX_PLAUSIBLE, SECOND, Values, averaging_length
from harexport.preprocessing.stream import ACC, GYRO, UNITS, required_sensors, unit_divisor

__all__ = ["SensorInfo", "Units", "merge_by_time", "resolve_sensors"]

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

# A phone's accelerometer shows gravity as 1 g within a few percent; means over a second vary more while walking.
_REST_G = (0.75, 1.3)
_LINEAR_G = 0.35  # the mean over a second of an acceleration without gravity is smaller
_COUNTS = 700.0  # larger averages are raw counts of a 16-bit sensor (2048 to 16384 per g), or milli-g
_FULL_SCALE_RAD_S = 35.0  # the gyroscopes of phones end at 2000 degrees per second, which is 34.9 rad/s
_SPIKES, _SPIKE_SHARE = 5, 0.001  # as many of the largest values may be faults
_ACTIVE_G = 0.1  # standard deviation of the magnitude within a second: the person walks
_QUIET_G = 0.03  # the phone rests, or the person stands
_ACTIVE_SECONDS, _QUIET_SECONDS = 4, 4  # fewer may be knocks
_WALKING_LIMIT = 9.0  # walking turns a phone by 0.3 to 4 rad/s, which are 17 to 230 deg/s (median of a second)
_QUIET_LIMIT = 0.3  # rad/s of a phone whose acceleration is constant: impossible for seconds
_LEAST_SHARE = 0.4  # of the model's rate: 20 Hz for 50 Hz; 0.1 points of accuracy (benchmarks/sampling_rates.json)
_FULL_SHARE = 0.89  # at a requested rate of 50 Hz, phones deliver 48 to 53; 45 Hz is as accurate


@dataclass(frozen=True)
class SensorInfo:
    """Properties of the sensors that a model needs, by sensor.

    Attributes:
        units: Unit of the samples.
        rates: Samples per second.
        average_over: Number of samples to average before resampling.
        notes: What was inferred, and how to change it.
    """

    units: dict[str, str]
    rates: dict[str, float]
    average_over: dict[str, int]
    notes: tuple[str, ...] = field(default=(), compare=False)


def resolve_sensors(
    tracks: Mapping[str, SensorTrack],
    contract: Contract,
    units: Units,
    where: str,
    missing: Mapping[str, str] | None = None,
) -> SensorInfo:
    """Determine units, rates and averaging of the sensors that a model needs.

    Args:
        tracks: Samples by sensor.
        contract: Contract of the model.
        units: Units stated by the user.
        where: Name of the recording, for messages.
        missing: Why a sensor is missing, by sensor.

    Raises:
        InputError: A sensor is missing, too slow, or its unit is unknown or contradicts its values.
    """
    found: dict[str, str] = {}
    rates: dict[str, float] = {}
    notes: list[str] = []
    acc_g = None
    needed = required_sensors(contract)
    for sensor in needed:
        if sensor not in tracks:
            raise InputError(_describe_missing(sensor, units, where, dict(missing or {})))
    _check_overlap({sensor: tracks[sensor] for sensor in needed}, where)
    for sensor in needed:
        track = tracks[sensor]
        readable = (np.abs(track.values) < MAX_PLAUSIBLE).all(axis=1)  # NaN compares as false
        times, values = track.time_ns[readable], track.values[readable]
        if not len(times):
            raise InputError(f"{track.source}: no sample of the {sensor} is a number up to {MAX_PLAUSIBLE:,.0f}")
        rates[sensor] = estimate_rate(times)
        slower = f", or use a lower rate_hz in {units.file}" if units.file else ""
        check_rate(sensor, rates[sensor], contract.rate_hz, track.source, slower)
        if rates[sensor] < _FULL_SHARE * contract.rate_hz:
            notes.append(
                f"the {sensor} has {rates[sensor]:.1f} Hz, the model was trained at {contract.rate_hz:g} Hz: values in "
                "between are interpolated, and fast movements are less certain"
            )
        name = "acc" if sensor == ACC else "gyro"
        stated = units.acc if sensor == ACC else units.gyro

        def hint(unit: str, name: str = name) -> str:
            return units.option_hint(name, unit)

        if sensor == ACC:
            found[sensor] = infer_acceleration_unit(times, values, stated or track.unit, track.source, hint)
            acc_g = (times, values / unit_divisor(ACC, found[ACC]))
        else:
            found[sensor] = infer_gyroscope_unit(times, values, stated or track.unit, acc_g, track.source, hint)
        if not stated and not track.unit:
            basis = "gravity" if sensor == ACC else "its magnitude"
            notes.append(f"the {sensor} is in {found[sensor]}, inferred from {basis}; to change it, {hint('UNIT')}")
    lengths = {sensor: averaging_length(rate, contract.rate_hz) for sensor, rate in rates.items()}
    return SensorInfo(found, rates, lengths, tuple(notes))


def _describe_missing(sensor: str, units: Units, where: str, missing: Mapping[str, str]) -> str:
    reason = f" ({missing[sensor]})" if sensor in missing else ""
    if sensor == GYRO:
        remedy = (
            f'or, if there is none, write sensors = ["{ACC}"] in {units.file}'
            if units.file
            else "or use a model of the accelerometer alone (--model), such as one of the recipe baseline-lstm-acc"
        )
    else:
        remedy = "or check the names of the columns"
    return (
        f"{where}: no {sensor} in it{reason}, which the model needs. Record it, too, and pass the CSV, folder or zip "
        f"that holds all sensors; {remedy}"
    )


def _check_overlap(tracks: dict[str, SensorTrack], where: str) -> None:
    spans = {sensor: (int(track.time_ns.min()), int(track.time_ns.max())) for sensor, track in tracks.items()}
    if len(spans) > 1 and max(first for first, _ in spans.values()) > min(last for _, last in spans.values()):
        listed = " and ".join(
            f"the {sensor} from {first / SECOND:.1f} to {last / SECOND:.1f} s"
            for sensor, (first, last) in spans.items()
        )
        raise InputError(
            f"{where}: the sensors do not overlap in time: {listed}. They use different clocks or are of different "
            "recordings"
        )


def merge_by_time(tracks: Mapping[str, SensorTrack]) -> Iterator[tuple[str, int, Values]]:
    """Yield the samples of all sensors by time, as a phone delivers them."""
    merged = sorted(
        (int(time_ns), rank, k)
        for rank, track in enumerate(tracks.values())
        for k, time_ns in enumerate(np.maximum.accumulate(track.time_ns))
    )
    names = list(tracks)
    times = [track.time_ns.tolist() for track in tracks.values()]
    values = [track.values.tolist() for track in tracks.values()]
    for _, rank, k in merged:
        yield names[rank], times[rank][k], tuple(values[rank][k])


def infer_acceleration_unit(
    time_ns: Times,
    values: Floats,
    stated: str | None,
    where: str,
    hint: Callable[[str], str] = "--acc-unit {}".format,
) -> str:
    """Return the unit of accelerations: the stated one if gravity agrees, else the one in which gravity is 1 g.

    Args:
        time_ns: int64 [n].
        values: float64 [n, 3].
        stated: Unit stated by the user or the file, if any.
        where: Name of the file, for messages.
        hint: Describes how to state a unit.

    Raises:
        InputError: Gravity is missing (linear acceleration), contradicts the stated unit, or fits no unit.
    """
    rest = _gravity(time_ns, values)
    fitting = [unit for unit, divisor in UNITS[ACC].items() if _REST_G[0] <= rest / divisor <= _REST_G[1]]
    if stated is not None:
        divisor = unit_divisor(ACC, stated, f"{where}: ", hint)
        if _REST_G[0] <= rest / divisor <= _REST_G[1]:
            return stated
    elif len(fitting) == 1:
        return fitting[0]
    # 0.35 m/s2 may be any unit; without a unit only the smaller limit is certain.
    if not fitting and rest < _LINEAR_G * (unit_divisor(ACC, stated) if stated else 1.0):
        unit = f" {stated}" if stated else ""
        raise InputError(
            f"{where}: gravity is missing: the acceleration averages {rest:.2f}{unit}, not 1 g (9.81 m/s2). This is "
            "linear acceleration; the model needs the total: record TotalAcceleration (Sensor Logger) or "
            "'Acceleration with g' (phyphox)"
        )
    if stated is not None:
        remedy = f"; in {fitting[0]} it would be right: {hint(fitting[0])}" if fitting else ""
        average_g = rest / unit_divisor(ACC, stated)
        raise InputError(
            f"{where}: the acceleration is stated to be in {stated}, but averages {average_g:.2f} "
            f"g, and gravity alone is 1 g{remedy}"
        )
    if rest > _COUNTS:
        counts = f"state the counts per g of the sensor: {hint(f'{2 ** round(np.log2(rest))}/g')}"
        is_milli_g = _REST_G[0] <= rest / 1000 <= _REST_G[1]
        raise InputError(
            f"{where}: the acceleration averages {rest:.0f}, which is neither g nor m/s2: milli-g or raw counts? To "
            + (f"choose, {hint('mg')}, or {counts}" if is_milli_g else f"choose, {counts}")
        )
    raise InputError(
        f"{where}: is the acceleration in g or in m/s2? It averages {rest:.2f}, and gravity is 1 g or 9.81 m/s2. Check "
        f"that gravity is included, and {' or '.join(map(hint, ('g', 'm/s2')))}"
    )


def infer_gyroscope_unit(
    time_ns: Times,
    values: Floats,
    stated: str | None,
    acc_g: tuple[Times, Floats] | None,
    where: str,
    hint: Callable[[str], str] = "--gyro-unit {}".format,
) -> str:
    """Return the unit of angular velocities: the stated one, else inferred from its magnitude.

    Values beyond the range of gyroscopes in rad/s are deg/s. In seconds of walking and in seconds of rest the
    median of the two units differs by more than the variation between people. A few knocks decide nothing.

    Args:
        time_ns: int64 [n].
        values: float64 [n, 3].
        stated: Unit stated by the user or the file, if any.
        acc_g: Times and acceleration in g, if there is one.
        where: Name of the file, for messages.
        hint: Describes how to state a unit.

    Raises:
        InputError: The unit is not certain, or the stated one is impossible.
    """
    magnitude = np.abs(values)
    rank = min(magnitude.size, max(_SPIKES, round(_SPIKE_SHARE * magnitude.size)))
    largest = float(np.partition(magnitude, -rank, axis=None)[-rank])
    if stated is not None:
        unit_divisor(GYRO, stated, f"{where}: ", hint)
        if stated == "rad/s" and largest > 2 * _FULL_SCALE_RAD_S:
            raise InputError(
                f"{where}: the gyroscope is stated to be in rad/s, but reaches {largest:.0f}, and phones end at "
                f"{_FULL_SCALE_RAD_S:.0f} rad/s; in deg/s it would be right: {hint('deg/s')}"
            )
        return stated
    if float(np.median(magnitude.max(axis=1))) > 500 and largest > 3000:
        raise InputError(
            f"{where}: the gyroscope reaches {largest:.0f}, which is neither rad/s nor deg/s: mdps or raw counts? "
            f"To state it, {hint('mdps')}, or the counts per degree per second of the sensor, such as 131/dps"
        )
    if largest > _FULL_SCALE_RAD_S:
        return "deg/s"
    if acc_g is not None:
        active, quiet = _levels(time_ns, values, *acc_g)
        if len(active) >= _ACTIVE_SECONDS:
            return "deg/s" if np.median(active) > _WALKING_LIMIT else "rad/s"
        if len(quiet) >= _QUIET_SECONDS and np.median(quiet) > _QUIET_LIMIT:
            return "deg/s"
    raise InputError(
        f"{where}: is the gyroscope in rad/s or in deg/s? It reaches {largest:.2f} without walking, so both are "
        f"possible. To state it, {' or '.join(map(hint, ('rad/s', 'deg/s')))}"
    )


def _levels(time_ns: Times, values: Floats, acc_time_ns: Times, acc_g: Floats) -> tuple[list[float], list[float]]:
    """Return the median angular velocity in each second of walking, and of rest."""
    start = min(time_ns[0], acc_time_ns[0])
    seconds = dict(_by_second(acc_time_ns, acc_g, start))
    active, quiet = [], []
    for second, block in _by_second(time_ns, values, start):
        if second not in seconds or len(block) < 5:
            continue
        spread = float(np.linalg.norm(seconds[second], axis=1).std())
        level = float(np.median(np.linalg.norm(block, axis=1)))  # robust against spikes
        if spread > _ACTIVE_G:
            active.append(level)
        elif spread < _QUIET_G:
            quiet.append(level)
    return active, quiet


def check_rate(sensor: str, rate_hz: float, model_hz: float, where: str, remedy: str = "") -> None:
    """Check that a sensor is not slower than 0.4 times the model's rate: 20 Hz for 50 Hz.

    Raises:
        InputError: It is; `remedy` ends the message.
    """
    least = _LEAST_SHARE * model_hz
    if rate_hz < 0.95 * least:
        found = f"{rate_hz:.1f} samples per second" if rate_hz else f"no two samples within {GAP_SECONDS} s"
        raise InputError(
            f"{where}: the {sensor} has {found}; the model needs at least {least:.0f}, and was trained at "
            f"{model_hz:.0f}. Set the logger to {model_hz:.0f} Hz and record again{remedy}"
        )


def _gravity(time_ns: Times, values: Floats) -> float:
    """Return the median over all seconds of the length of the mean acceleration.

    The mean of vectors, not of lengths: while walking, acceleration without gravity has length but no direction.
    """
    return float(np.median([np.linalg.norm(block.mean(axis=0)) for block in _seconds(time_ns, values)]))


def _by_second(time_ns: Times, values: Floats, start_ns: int) -> Iterator[tuple[int, Floats]]:
    index = (time_ns - start_ns) // SECOND
    cuts = np.flatnonzero(np.diff(index)) + 1
    yield from zip(index[np.concatenate([[0], cuts])].tolist(), np.split(values, cuts), strict=True)


def _seconds(time_ns: Times, values: Floats) -> list[Floats]:
    """Split values into seconds; a remainder is used only where there is nothing else."""
    blocks = [block for _, block in _by_second(time_ns, values, int(time_ns[0]))]
    return blocks[:-1] or blocks
