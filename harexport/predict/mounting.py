"""The mount of a prediction: as worn, from a standing interval, or estimated from walking."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.sensors import SensorInfo
from harexport.errors import InputError
from harexport.model.contract import Contract, gravity_channels
from harexport.model.network import softmax
from harexport.preprocessing.batch import ArrayWindow
from harexport.preprocessing.mount import AS_IS, Mount, MountEstimate, StandingMountEstimator, estimate_from_standing
from harexport.preprocessing.mount_estimator import (
    MountSegment,
    WalkingMountEstimator,
    describe_estimate,
    estimate_segments,
    refine_by_standing,
)
from harexport.preprocessing.resampler import SECOND, Values
from harexport.preprocessing.stream import ACC, Window
from harexport.runtimes.model import Model

AUTO, STANDING, AS_WORN = "auto", "standing", "as-is"
OPTIONS = f"{AUTO}, {STANDING}:START-END or {AS_WORN}"
_AT_ONCE = 256  # windows that are copied at once: a day has 67,000
_REFINEMENTS = 2  # predictions of a whole recording, each with the mount that the one before has refined


@dataclass(frozen=True)
class MountOption:
    """How the mount is determined.

    Attributes:
        kind: "auto", "standing" or "as-is".
        start_s: Start of the standing interval, in seconds since the first sample.
        end_s: Its end.
    """

    kind: str
    start_s: float = 0.0
    end_s: float = 0.0

    @staticmethod
    def parse(text: str) -> MountOption:
        """Parse the value of --mount.

        Raises:
            InputError: It is none of the options, or its interval is empty.
        """
        if text in (AUTO, AS_WORN):
            return MountOption(text)
        found = re.fullmatch(rf"{STANDING}:(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)", text)
        if found is None:
            raise InputError(f"unknown mount {text!r}: choose {OPTIONS}, with START and END in seconds")
        start_s, end_s = float(found[1]), float(found[2])
        if not start_s < end_s < math.inf:
            raise InputError(f"the standing interval {start_s:g}-{end_s:g} is empty: START must be before END")
        return MountOption(STANDING, start_s, end_s)

    @staticmethod
    def resolve(option: MountOption | None, contract: Contract) -> MountOption:
        """Return the option that applies to a model; without one: auto for models with a frame, otherwise as-is.

        Raises:
            InputError: A mount is requested, but the model's contract has no frame.
        """
        if contract.frame is not None:
            return option or MountOption(AUTO)
        if option is not None and option.kind != AS_WORN:
            raise InputError(
                "the model has no mount stage: it expects the phone as worn for its training data. Use a model with a "
                f"frame, such as edge-any-mount, or --mount {AS_WORN}"
            )
        return MountOption(AS_WORN)


class MountSource(Protocol):
    """Supplies the mount of each window; None while it is unknown."""

    mount: Mount | None

    def push_sample(self, sensor: str, time_ns: int, values: Values) -> None:
        """Add one sample of a sensor, in g or rad/s, in the axes of the phone."""

    def push_window(self, acceleration: NDArray[np.float64], probabilities: Sequence[float]) -> str | None:
        """Add a window that was predicted with the present mount; return a message about a change.

        Args:
            acceleration: total_acc [samples, 3] in g, in the axes of the phone; empty if the model has none.
            probabilities: Probability of each label.
        """


class FixedMount:
    """One mount for all windows."""

    def __init__(self, mount: Mount = AS_IS) -> None:
        self.mount: Mount | None = mount

    def push_sample(self, sensor: str, time_ns: int, values: Values) -> None:
        """Do nothing."""

    def push_window(self, acceleration: NDArray[np.float64], probabilities: Sequence[float]) -> str | None:
        """Do nothing."""
        return None


class StandingMount(FixedMount):
    """The mount from an interval of standing still in a live stream; unknown before its end."""

    def __init__(self, option: MountOption, rate_hz: float, zero_ns: int) -> None:
        self.mount = None
        self._estimator: StandingMountEstimator | None = StandingMountEstimator(rate_hz)
        self._start_ns = zero_ns + round(option.start_s * SECOND)
        self._end_ns = zero_ns + round(option.end_s * SECOND)

    def push_sample(self, sensor: str, time_ns: int, values: Values) -> None:
        """Add one sample. Raises InputError at the end of an interval that is no standing."""
        if sensor != ACC or self._estimator is None or time_ns < self._start_ns:
            return
        if time_ns < self._end_ns:
            self._estimator.push(values)
        else:
            self.mount = self._estimator.estimate().mount
            self._estimator = None


class WalkingMount(FixedMount):
    """The mount estimated from the walking in a live stream, refined while it goes on."""

    def __init__(self, contract: Contract) -> None:
        self.mount = None
        self.estimator = WalkingMountEstimator(contract.rate_hz, contract.hop / contract.rate_hz)
        self._standing = _standing_index(contract)

    def push_window(self, acceleration: NDArray[np.float64], probabilities: Sequence[float]) -> str | None:
        """Update the estimate with this window."""
        known = self.mount is not None and self._standing is not None
        standing = probabilities[self._standing] if known and self._standing is not None else 0.0
        estimate = self.estimator.push(acceleration, standing_probability=standing)
        first, self.mount = self.mount is None, None if estimate is None else estimate.mount
        if self.estimator.state == "changed":
            return f"the phone was put elsewhere: {self.estimator.describe()}"
        return self.estimator.describe() if first and estimate is not None else None


def live_mount(option: MountOption | None, contract: Contract, source: SensorInfo, zero_ns: int) -> MountSource:
    """Return the source of the mount of a live stream.

    Args:
        option: The user's choice; None for the default of the model.
        contract: The model's contract.
        source: Rates of the sensors.
        zero_ns: Time of the first sample.
    """
    resolved = MountOption.resolve(option, contract)
    if resolved.kind == STANDING:
        return StandingMount(resolved, source.rates[ACC], zero_ns)
    return WalkingMount(contract) if resolved.kind == AUTO else FixedMount()


@dataclass(frozen=True)
class RecordingMount:
    """The mounting of a whole recording.

    Attributes:
        option: How it was determined.
        segments: Parts of the recording with one mounting each, in windows; empty as worn.
        times_s: Start and end of each part in seconds since the first sample.
        mounts: Mount of each window; empty for one mount (`fixed`) of all windows.
        fixed: The mount of all windows.
    """

    option: MountOption
    segments: tuple[MountSegment, ...] = ()
    times_s: tuple[tuple[float, float], ...] = ()
    mounts: tuple[Mount | None, ...] = ()
    fixed: Mount = AS_IS

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        parts = [
            {"start": round(start_s, 3), "end": round(end_s, 3), **_estimate_dict(segment.estimate)}
            for segment, (start_s, end_s) in zip(self.segments, self.times_s, strict=True)
        ]
        return {"option": self.option.kind, "parts": parts}

    def notes(self) -> list[str]:
        """Return sentences about how the phone was worn."""
        out = []
        for segment, (start_s, end_s) in zip(self.segments, self.times_s, strict=True):
            part = f"from {start_s:.0f} s to {end_s:.0f} s " if len(self.segments) > 1 else ""
            if (estimate := segment.estimate) is not None:
                movement = "standing" if self.option.kind == STANDING else "level walking"
                out.append(part + describe_estimate(estimate, movement))
            elif len(self.segments) > 1:
                out.append(f"{part}the mounting is unknown: the phone was put elsewhere in this time")
            else:
                out.append(
                    "how the phone was worn is unknown, because the recording holds too little level walking: its "
                    f"windows are left blank. Name a time of standing still with --mount {STANDING}:START-END, or use "
                    f"--mount {AS_WORN} for a phone worn as in the training data"
                )
        return out


def estimate_standing(
    option: MountOption, times_ns: NDArray[np.int64], acceleration: NDArray[np.float64], rate_hz: float, zero_ns: int
) -> RecordingMount:
    """Estimate the mounting from the standing interval of a recording.

    Args:
        option: With the interval.
        times_ns: Times of the accelerometer's samples [n].
        acceleration: The samples [n, 3] in g.
        rate_hz: Their rate.
        zero_ns: Time of the first sample.

    Raises:
        InputError: The interval is no standing.
    """
    since_s = (times_ns - zero_ns) / SECOND
    estimate = estimate_from_standing(acceleration[(since_s >= option.start_s) & (since_s < option.end_s)], rate_hz)
    segment = MountSegment(0, 0, estimate)
    return RecordingMount(option, (segment,), ((option.start_s, option.end_s),), (), estimate.mount)


def estimate_walking(windows: Sequence[Window | ArrayWindow], model: Model, zero_ns: int) -> RecordingMount:
    """Estimate the mounting from the walking in a recording, refined by the standing that the model finds.

    Args:
        windows: All windows of the recording, in the axes of the phone.
        model: A model with a frame.
        zero_ns: Time of the first sample.

    Raises:
        InputError: The acceleration is constant or has no gravity, or the model has no channels with gravity.
    """
    contract = model.contract
    gravity = gravity_channels(contract.channels)
    if gravity is None:
        raise InputError("the mounting cannot be estimated: the model has no channels total_acc_x, y, z")
    acceleration = np.array([window.array()[:, gravity] for window in windows])
    hop_s = contract.hop / contract.rate_hz
    segments = estimate_segments(acceleration, contract.rate_hz, hop_s)
    refined = tuple(_refine_by_standing(segment, windows, acceleration, model) for segment in segments)
    mounts: list[Mount | None] = []
    for segment in refined:
        mount = None if segment.estimate is None else segment.estimate.mount
        mounts += [mount] * (segment.end - segment.first)
    times = tuple(
        ((windows[part.first].start_ns - zero_ns) / SECOND, (windows[part.end - 1].end_ns - zero_ns) / SECOND)
        for part in refined
    )
    return RecordingMount(MountOption(AUTO), refined, times, tuple(mounts))


def _refine_by_standing(
    segment: MountSegment,
    windows: Sequence[Window | ArrayWindow],
    acceleration: NDArray[np.float64],
    model: Model,
) -> MountSegment:
    standing = _standing_index(model.contract)
    walking = estimate = segment.estimate
    if walking is None or estimate is None or standing is None:
        return segment
    for _ in range(_REFINEMENTS):
        probabilities: list[float] = []
        for first in range(segment.first, segment.end, _AT_ONCE):
            signals = np.array([window.array() for window in windows[first : min(first + _AT_ONCE, segment.end)]])
            rotated = estimate.mount.rotate_signal(signals).astype(np.float32)
            probabilities += softmax(model.runner.logits(rotated))[:, standing].tolist()
        part = acceleration[segment.first : segment.end]
        estimate = refine_by_standing(walking, part, probabilities, model.contract.rate_hz)
    return MountSegment(segment.first, segment.end, estimate)


def _standing_index(contract: Contract) -> int | None:
    return contract.labels.index("STANDING") if "STANDING" in contract.labels else None


def _estimate_dict(estimate: MountEstimate | None) -> dict[str, Any]:
    if estimate is None:
        return {"state": "unknown"}
    return {
        "state": "estimated",
        "gravity": [round(value, 6) for value in estimate.gravity],
        "tilt_deg": round(estimate.mount.tilt_deg, 2),
        "spread_deg": round(estimate.spread_deg, 2),
        "seconds": round(estimate.seconds, 2),
    }
