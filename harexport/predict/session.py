"""Samples of a phone in, answers out: what its sensors are, then the chain, the model and the smoothing."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.sensors import SensorInfo, Units
from harexport.model.network import softmax
from harexport.predict.mounting import FixedMount, MountSource
from harexport.preprocessing.mount import AS_IS, Mount
from harexport.preprocessing.resampler import GAP_SECONDS, SECOND, Restart, Values
from harexport.preprocessing.stream import Stream, Window, unit_divisor
from harexport.runtimes.model import Model

__all__ = ["SensorInfo", "Session", "Units", "WindowPrediction"]

SMOOTHINGS = ("exponential", "none")
# One contrary answer, however certain, stays below a half; a second one is above it. So a lone slip is not shown,
# and a change of activity is shown one hop (1.28 s) after its first window. Not tuned on anything.
_NEWEST = 0.4
_SPARSE = 0.9  # of the samples that a window should be made of; fewer, and it is made of interpolation
SETTLING, SPARSE, MOUNT_UNKNOWN = "settling", "sparse", "mount unknown"  # the kinds of doubt
_LEFT_OUT = {
    "repeated": "they repeated the time of the one before",
    "late": "they came earlier than the one before",
    "unreadable": "they were not numbers",
}


@dataclass(frozen=True)
class WindowPrediction:
    """What a window was taken for. Times in seconds since the first sample; `time_ns` is the end by the phone's clock.

    `probabilities` are in the order of the contract's labels, `smoothed` the activity by smoothed probabilities.
    `doubt` says why the answer may be wrong: SETTLING (the filters have just started), SPARSE (a sensor is too slow),
    MOUNT_UNKNOWN (how the phone is worn is not known), or None. `latency_ms` is from the sample that completed the
    window to the answer. `upright` is the part of gravity along the phone's x axis, which pointed up on the phones that
    the data set was recorded with.
    """

    start_s: float
    end_s: float
    time_ns: int
    activity: str
    probabilities: tuple[float, ...]
    smoothed: str
    doubt: str | None
    latency_ms: float
    upright: float | None = None
    label: str | None = None

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """The answer as plain JSON values; `labels` are the contract's."""
        return {
            "time": round(self.end_s, 3),
            "time_ns": self.time_ns,
            "start": round(self.start_s, 3),
            "activity": self.activity,
            "probabilities": {name: round(p, 6) for name, p in zip(labels, self.probabilities, strict=True)},
            "smoothed": self.smoothed,
            "doubt": self.doubt,
            "latency_ms": round(self.latency_ms, 3),
            **({"label": self.label} if self.label is not None else {}),
        }


class Session:
    """Samples in, answers and restarts out: the chain, the model and the smoothing of one phone."""

    def __init__(
        self, model: Model, source: SensorInfo, smoothing: str, zero_ns: int, mounting: MountSource | None = None
    ) -> None:
        self._model, self._zero_ns = model, zero_ns
        self._mounting = mounting or FixedMount()
        self._divisor = {sensor: unit_divisor(sensor, unit) for sensor, unit in source.units.items()}
        self.messages: list[str] = []  # about changes of the mounting, for live streams
        self._stream = Stream(model.contract, source.units, source.average_over, mount=self._mounting.mount or AS_IS)
        self._newest = _NEWEST if smoothing == "exponential" else 1.0
        self._smoothed: NDArray[np.float64] | None = None
        self._times: dict[str, deque[int]] = {sensor: deque([zero_ns - 1]) for sensor in self._stream.sensors}
        names = [f"total_acc_{axis}" for axis in "xyz"]
        channels = model.contract.channels
        self._gravity = [channels.index(name) for name in names] if set(names) <= set(channels) else None

    def left_out(self) -> list[str]:
        """Sentences on the samples that were left out so far."""
        return [
            f"{sensor}: samples left out because {_LEFT_OUT[kind]}: {count}"
            for sensor, dropped in self._stream.dropped.items()
            for kind, count in vars(dropped).items()
            if count
        ]

    def push(self, sensor: str, time_ns: int, values: Values) -> list[WindowPrediction | Restart]:
        """One sample, in the unit that the source was found to be in."""
        began = time.perf_counter()
        if sensor in self._times and all(value == value for value in values):  # NaN is no sample
            divisor = self._divisor.get(sensor, 1.0)
            self._mounting.push_sample(sensor, time_ns, tuple(value / divisor for value in values))
            self._rotate_stream()
            times = self._times[sensor]
            if time_ns > times[-1]:
                times.append(time_ns)
            elif time_ns < times[-1] - GAP_SECONDS * SECOND:  # the clock ran back
                self._times[sensor] = deque([time_ns])
        mount = self._stream.mount
        return self._answered(self._stream.push(sensor, time_ns, values), mount, began)

    def finish(self) -> list[WindowPrediction | Restart]:
        """The recording has ended."""
        mount = self._stream.mount
        return self._answered(self._stream.flush(), mount, time.perf_counter())

    def _answered(self, events: list[Window | Restart], mount: Mount, began: float) -> list[WindowPrediction | Restart]:
        """Predict the windows, which are in the axes of `mount`."""
        out: list[WindowPrediction | Restart] = []
        for event in events:
            if isinstance(event, Restart):
                self._smoothed = None
                out.append(event)
            else:
                out.append(self._answer(event, mount, began))
        return out

    def _answer(self, window: Window, mount: Mount, began: float) -> WindowPrediction:
        present = self._mounting.mount or AS_IS
        signals = window.array()
        if present != mount:
            signals = present.after(mount.inverse).rotate_signal(signals)
        logits = self._model.runner.logits(signals[None].astype(np.float32))
        shares = softmax(logits)[0]
        doubt = SPARSE if self._is_sparse(window) else None
        if not window.is_settled:
            doubt = SETTLING
        elif self._mounting.mount is None:
            doubt = MOUNT_UNKNOWN
        self._update_mount(signals, shares.tolist())
        before = shares if self._smoothed is None or doubt is not None else self._smoothed
        smoothed = self._newest * shares + (1.0 - self._newest) * before
        self._smoothed = smoothed if doubt is None else None  # a doubtful answer has no say in the next one
        labels = self._model.contract.labels
        upright = None
        if self._gravity is not None:
            gravity = signals[:, self._gravity].mean(axis=0)
            upright = float(gravity[0] / max(float(np.linalg.norm(gravity)), 1e-9))
        return WindowPrediction(
            start_s=(window.start_ns - self._zero_ns) / SECOND,
            end_s=(window.end_ns - self._zero_ns) / SECOND,
            time_ns=window.end_ns,
            activity=labels[int(shares.argmax())],
            probabilities=tuple(float(share) for share in shares),
            smoothed=labels[int(smoothed.argmax())],
            doubt=doubt,
            latency_ms=(time.perf_counter() - began) * 1e3,
            upright=upright,
        )

    def _update_mount(self, signals: NDArray[np.float64], probabilities: list[float]) -> None:
        if self._gravity is None:
            return
        present = self._mounting.mount or AS_IS
        acceleration = present.inverse.rotate_signal(signals[:, self._gravity])
        if message := self._mounting.push_window(acceleration, probabilities):
            self.messages.append(message)
        self._rotate_stream()

    def _rotate_stream(self) -> None:
        """Let the stream continue with the present mount."""
        mount = self._mounting.mount or AS_IS
        if mount != self._stream.mount:
            self._stream.rotate_to(mount)

    def _is_sparse(self, window: Window) -> bool:
        """Whether a sensor gave too few samples for this window: then it is interpolation that was judged."""
        least = _SPARSE * self._model.contract.window
        counts = []
        for times in self._times.values():
            while times and times[0] < window.start_ns:
                times.popleft()
            counts.append(sum(1 for at in times if at <= window.end_ns))
            times.appendleft(window.start_ns - 1)  # never empty
        return min(counts) < least
