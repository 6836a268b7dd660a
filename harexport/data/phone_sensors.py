"""What the sensors of a recording are, before a sample goes through the chain: units, rates, order in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harexport.contract import Contract
from harexport.data import phone_units
from harexport.data.phone import Track
from harexport.errors import InputError
from harexport.signals.resample import IMPLAUSIBLE, Values, mean_length
from harexport.signals.stream import ACC, divisor_of, sensors_of


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
class Source:
    """What was found out about each sensor before the first answer: unit, rate in Hz, and length of the mean."""

    units: dict[str, str]
    rates: dict[str, float]
    mean_of: dict[str, int]


def examine(tracks: dict[str, Track], contract: Contract, said: Units, where: str) -> Source:
    """Units, rates and mean lengths of the sensors that `contract` needs.

    Raises InputError where a sensor is missing, slow, in the wrong unit, or its unit cannot be told.
    """
    units: dict[str, str] = {}
    rates: dict[str, float] = {}
    acc_g = None
    slower = f", or choose a lower rate_hz in {said.file}" if said.file else ""
    fewer = f'; or, if there is none, write sensors = ["{ACC}"] into {said.file}' if said.file else ""
    for sensor in sensors_of(contract):
        if sensor not in tracks:
            raise InputError(
                f"{where}: no {sensor} in it, which the model needs; record it too, and give the CSV, folder or zip "
                f"that holds all sensors{fewer}"
            )
        track = tracks[sensor]
        readable = (np.abs(track.values) < IMPLAUSIBLE).all(axis=1)  # NaN compares as false
        times, values = track.time_ns[readable], track.values[readable]
        if not len(times):
            raise InputError(f"{track.source}: no sample of the {sensor} is a number")
        rates[sensor] = phone_units.sampling_rate(times)
        phone_units.check_rate(sensor, rates[sensor], contract.rate_hz, track.source, slower)
        if sensor == ACC:
            units[sensor] = phone_units.acceleration_unit(
                times, values, said.acc or track.unit, track.source, lambda unit: said.say("acc", unit)
            )
            acc_g = (times, values / divisor_of(ACC, units[ACC]))
        else:
            units[sensor] = phone_units.rotation_unit(
                values, said.gyro or track.unit, acc_g, track.source, lambda unit: said.say("gyro", unit)
            )
    lengths = {sensor: mean_length(rate, contract.rate_hz) for sensor, rate in rates.items()}
    return Source(units, rates, lengths)


def in_order(tracks: dict[str, Track]) -> Iterator[tuple[str, int, Values]]:
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
