"""Sampling of a sensor: rate, batched timestamps, repeated values, and sensors without a signal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.table import SensorTrack
from harexport.data.recordings.timestamps import Times
from harexport.preprocessing.resampler import GAP_SECONDS, SECOND

_BATCHED = 0.5  # of the samples share their time with the sample before
_LONGEST_BATCH_S = 2.0
_HELD = 0.8  # of the samples of an active second differ from the one before where none is repeated
_REGULAR = 0.45  # relative spread of the intervals between new values; random repetitions have 0.6 and more


def estimate_rate(time_ns: Times) -> float:
    """Return samples per second without gaps and times that do not increase; 0 for fewer than two samples."""
    steps = np.diff(np.maximum.accumulate(time_ns)) if len(time_ns) else np.zeros(0)
    steps = steps[(steps > 0) & (steps <= GAP_SECONDS * SECOND)]
    return float(len(steps) * SECOND / steps.sum()) if len(steps) else 0.0


def find_fault(track: SensorTrack) -> str | None:
    """Return why a sensor has no signal, if so: no value is a number, or all samples are the same."""
    values = track.values
    if len(values) and np.isnan(values).any(axis=1).all():
        return f"none of its values in {track.source} are numbers"
    if len(values) > 20 and bool((values == values[0]).all()):
        return f"all its values in {track.source} are {', '.join(f'{value:g}' for value in np.unique(values[0]))}"
    return None


def find_constant_axes(track: SensorTrack) -> list[tuple[str, float]]:
    """Return the axes that always have the same value, and that value."""
    values = track.values[np.isfinite(track.values).all(axis=1)]
    if len(values) <= 20:
        return []
    return [(axis, float(values[0, k])) for k, axis in enumerate("xyz") if bool((values[:, k] == values[0, k]).all())]


def repair_sampling(sensor: str, track: SensorTrack) -> tuple[SensorTrack, list[str]]:
    """Sort samples by time, drop repeated values of a slower sensor, and spread batched timestamps.

    Args:
        sensor: Name of the sensor, for the notes.
        track: Its samples.

    Returns:
        The repaired samples and notes on what was changed.
    """
    notes = []
    if late := int((np.diff(track.time_ns) < 0).sum()):
        order = np.argsort(track.time_ns, kind="stable")
        track = replace(track, time_ns=track.time_ns[order], values=track.values[order])
        notes.append(f"samples of the {sensor} were sorted by time: {late} were later than the next one")
    is_new = find_new_values(track)
    if is_new is not None:
        track = replace(track, time_ns=track.time_ns[is_new], values=track.values[is_new])
        notes.append(
            f"the {sensor} repeats its last value in {1 - is_new.mean():.0%} of the rows; without repetitions it has "
            f"{estimate_rate(track.time_ns):.1f} Hz"
        )
    spread = spread_batches(track.time_ns)
    if spread is not None:
        track = replace(track, time_ns=spread)
        notes.append(
            f"samples of the {sensor} share timestamps in batches; they were spread evenly over the time between "
            f"batches, at {estimate_rate(spread):.1f} Hz"
        )
    return track, notes


def find_new_values(track: SensorTrack) -> NDArray[np.bool_] | None:
    """Return which samples are new where a logger repeats the last value at a higher rate; None where it does not.

    Sensors with few digits repeat values at rest, too, but at random, and not while the phone moves.
    """
    times, values = track.time_ns, track.values
    if len(values) < 50 or not np.isfinite(values).all():
        return None
    is_new = np.concatenate([[True], (values[1:] != values[:-1]).any(axis=1)])
    if is_new.mean() > _HELD or is_new.sum() < 20:
        return None
    seconds = (times - times[0]) // SECOND
    starts = np.flatnonzero(np.diff(seconds, prepend=seconds[0] - 1))
    counts = np.add.reduceat(np.ones(len(times)), starts)
    shares = np.add.reduceat(is_new.astype(float), starts)[counts >= 10] / counts[counts >= 10]
    if len(shares) == 0 or np.percentile(shares, 90) > _HELD:
        return None
    intervals = np.diff(times[is_new]).astype(float)
    intervals = intervals[intervals <= SECOND]
    if len(intervals) < 10 or intervals.std() > _REGULAR * intervals.mean():
        return None
    return is_new


def spread_batches(time_ns: Times) -> Times | None:
    """Spread samples that share a timestamp over the time since the timestamp before; None where there are none."""
    if len(time_ns) < 20:
        return None
    starts = np.flatnonzero(np.diff(time_ns, prepend=time_ns[0] - 1))
    if len(starts) > (1 - _BATCHED) * len(time_ns) or len(starts) < 3 or (np.diff(time_ns) < 0).any():
        return None
    sizes = np.diff(np.append(starts, len(time_ns)))
    stamps = time_ns[starts]
    periods = np.diff(stamps)
    usual = int(np.median(periods / sizes[1:]))  # per sample
    if np.median(periods) > _LONGEST_BATCH_S * SECOND or usual <= 0:
        return None
    # A batch is delivered after its last sample. After a gap the batch has the usual step.
    steps = np.concatenate([[usual], np.minimum(periods / sizes[1:], 1.5 * usual)])
    back = np.repeat(sizes, sizes) - 1 - (np.arange(len(time_ns)) - np.repeat(starts, sizes))
    spread: Times = np.repeat(stamps, sizes) - np.rint(back * np.repeat(steps, sizes)).astype(np.int64)
    return spread
