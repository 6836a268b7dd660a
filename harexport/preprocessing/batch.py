"""Preprocessing of whole recordings with arrays; the windows are equal to those of stream.Stream, bit for bit.

The one difference to the stream: a sensor that is silent for longer than SENSOR_TIMEOUT_S causes one restart, with the
length of the gap, instead of one at every time-out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from harexport.model.contract import Contract
from harexport.preprocessing.filters import filter_sensors
from harexport.preprocessing.mount import AS_IS, Mount
from harexport.preprocessing.resampler import GAP_SECONDS, MAX_PLAUSIBLE, SECOND, Dropped, Restart
from harexport.preprocessing.stream import ACC, SETTLING_SECONDS, channel_sources, required_sensors, unit_divisor

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Resampled = tuple[Times, Floats]  # a part without gaps: times [n] and values [n, 3 * sensors]


@dataclass(frozen=True)
class ArrayWindow:
    """As stream.Window, with the signals as an array [window, channels]."""

    start_ns: int
    end_ns: int
    signals: Floats
    is_settled: bool

    def array(self) -> Floats:
        """Return the signals [window, channels]."""
        return self.signals


@dataclass(frozen=True)
class _Points:
    """Averaged samples of a sensor, in runs without gaps: run k is points[starts[k] : starts[k + 1]]."""

    time_ns: Times
    values: Floats  # [n, 3]
    starts: list[int]


def preprocess_samples(
    samples: Mapping[str, tuple[Times, Floats]],
    contract: Contract,
    units: Mapping[str, str],
    average_over: Mapping[str, int],
    gap_s: float = GAP_SECONDS,
    mount: Mount = AS_IS,
) -> tuple[list[ArrayWindow | Restart], dict[str, Dropped]]:
    """Convert the samples of a recording to windows and restarts.

    Args:
        samples: Times, int64 [n], and values, float64 [n, 3], by sensor. Times may jump back by `gap_s` at most.
        contract: Channels, rate, window and filters.
        units: Unit of each sensor's samples.
        average_over: See `resampler.Resampler`.
        gap_s: Longest gap to interpolate.
        mount: Rotation of the samples into the frame of the model.

    Returns:
        Windows and restarts by time, and the dropped samples by sensor.

    Raises:
        InputError: A unit, channel or filter does not exist.
    """
    resampled, dropped = resample(samples, contract, units, average_over, gap_s)
    return filter_windows(resampled, contract, mount), dropped


def resample(
    samples: Mapping[str, tuple[Times, Floats]],
    contract: Contract,
    units: Mapping[str, str],
    average_over: Mapping[str, int],
    gap_s: float = GAP_SECONDS,
) -> tuple[list[Resampled | Restart], dict[str, Dropped]]:
    """Convert the samples of a recording to the units and the rate of the contract. See `preprocess_samples`.

    Returns:
        Parts without gaps and restarts by time, and the dropped samples by sensor.

    Raises:
        InputError: A unit does not exist.
    """
    sensors = required_sensors(contract)
    dropped: dict[str, Dropped] = {}
    points = []
    for sensor in sensors:
        times, values = samples[sensor]
        divided = values / unit_divisor(sensor, units[sensor]) if sensor in units else values
        accepted, dropped[sensor] = _accept(times, divided)
        points.append(_average(times[accepted], divided[accepted], average_over.get(sensor, 1), round(gap_s * SECOND)))
    return _resample(sensors, points, contract.rate_hz), dropped


def filter_windows(
    resampled: list[Resampled | Restart], contract: Contract, mount: Mount = AS_IS
) -> list[ArrayWindow | Restart]:
    """Filter the parts of a recording, and cut them into windows.

    Args:
        resampled: Result of `resample`.
        contract: Channels, rate, window and filters.
        mount: Rotation of the samples into the frame of the model.

    Raises:
        InputError: A channel or filter does not exist.
    """
    sensors = required_sensors(contract)
    events: list[ArrayWindow | Restart] = []
    for item in resampled:
        if isinstance(item, Restart):
            events.append(item)
        else:
            grid, raw = item
            if mount != AS_IS:
                raw = np.concatenate(
                    [mount.rotate_signal(raw[:, k : k + 3]) for k in range(0, raw.shape[1], 3)], axis=1
                )
            events += _cut(grid, _filter(raw, contract, sensors), contract)
    return events


def _accept(times: Times, values: Floats) -> tuple[NDArray[np.int64], Dropped]:
    """Return the samples that the resampler accepts: numbers, with a time after all before."""
    readable = np.flatnonzero((np.abs(values) < MAX_PLAUSIBLE).all(axis=1))  # NaN compares as false
    t = times[readable]
    latest = np.maximum.accumulate(t) if len(t) else t
    later = np.ones(len(t), bool)
    later[1:] = t[1:] > latest[:-1]
    repeated = int((t[1:] == latest[:-1]).sum())
    return readable[later], Dropped(repeated, int((~later).sum()) - repeated, len(times) - len(readable))


def _average(times: Times, values: Floats, size: int, gap_ns: int) -> _Points:
    """Average `size` consecutive samples, not across gaps."""
    cuts = [0, *(np.flatnonzero(np.diff(times) > gap_ns) + 1).tolist(), len(times)]
    all_times, all_values, starts = [], [], [0]
    for first, end in pairwise(cuts):
        count = end - first - size + 1
        if count <= 0:
            continue
        total = values[first : first + count].copy()
        for k in range(1, size):  # in the order of the stream's sum
            total += values[first + k : first + k + count]
        begin, last = times[first : first + count], times[first + size - 1 : end]
        all_times.append(begin + (last - begin) // 2)
        all_values.append(total / size)
        starts.append(starts[-1] + count)
    if not all_times:
        return _Points(np.zeros(0, np.int64), np.zeros((0, 3)), [0])
    return _Points(np.concatenate(all_times), np.concatenate(all_values), starts)


def _resample(sensors: tuple[str, ...], points: list[_Points], rate_hz: float) -> list[Resampled | Restart]:
    """Interpolate all sensors on grids without gaps: times and values [n, 3 * sensors], with restarts between them."""
    out: list[Resampled | Restart] = []
    runs = [0] * len(points)

    def first(k: int) -> int:
        return int(points[k].time_ns[points[k].starts[runs[k]]])

    def last(k: int) -> int:
        return int(points[k].time_ns[points[k].starts[runs[k] + 1] - 1])

    def has_more(k: int) -> bool:
        return runs[k] + 1 < len(points[k].starts) - 1

    if any(len(sensor.starts) < 2 for sensor in points):
        return out
    while True:
        start = max(first(k) for k in range(len(points)))
        if ended := [k for k in range(len(points)) if last(k) < start]:
            if not all(has_more(k) for k in ended):
                return out
            runs[ended[0]] += 1
            continue
        counts = [_grid_count(start, last(k), rate_hz) for k in range(len(points))]
        count = min(counts)
        grid = start + np.rint(np.arange(count) * SECOND / rate_hz).astype(np.int64)
        raw = [
            _interpolate(
                one.time_ns[slice(*one.starts[run : run + 2])], one.values[slice(*one.starts[run : run + 2])], grid
            )
            for one, run in zip(points, runs, strict=True)
        ]
        out.append((grid, np.concatenate(raw, axis=1)))
        gaps = [k for k in range(len(points)) if counts[k] == count and has_more(k)]
        if not gaps:
            return out
        k = gaps[0]
        before = last(k)
        runs[k] += 1
        out.append(Restart(first(k), f"no {sensors[k]} for {(first(k) - before) / SECOND:.2f} s"))


def _grid_count(start_ns: int, last_ns: int, rate_hz: float) -> int:
    """Return the number of grid times from `start_ns` to `last_ns`."""
    count = int((last_ns - start_ns) * rate_hz / SECOND) + 2
    while start_ns + round((count - 1) * SECOND / rate_hz) > last_ns:
        count -= 1
    return count


def _interpolate(times: Times, values: Floats, grid: Times) -> Floats:
    """Interpolate linearly, with the operations of resampler.Resampler."""
    left = np.searchsorted(times, grid, "right") - 1
    right = np.minimum(left + 1, len(times) - 1)
    a, b = values[left], values[right]
    span = np.maximum(times[right] - times[left], 1)
    weight = ((times[right] - grid) / span)[:, None]
    return np.where((times[left] == grid)[:, None], a, b - (b - a) * weight)


def _filter(raw: Floats, contract: Contract, sensors: tuple[str, ...]) -> Floats:
    """Filter grid samples [n, 3 * sensors] to the contract's channels, from the steady state of the first samples."""
    total, body = filter_sensors(
        raw, [sensor == ACC for sensor in sensors], contract.filters, contract.rate_hz, "steady"
    )
    return np.stack([(body if is_body else total)[:, axis] for axis, is_body in channel_sources(contract)], axis=1)


def _cut(grid: Times, signals: Floats, contract: Contract) -> list[ArrayWindow]:
    window, settling = contract.window, SETTLING_SECONDS * contract.rate_hz
    return [
        ArrayWindow(
            int(grid[begin]), int(grid[begin + window - 1]), signals[begin : begin + window], bool(begin >= settling)
        )
        for begin in range(0, len(grid) - window + 1, contract.hop)
    ]
