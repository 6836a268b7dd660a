"""Predictions of windows: the model, smoothing over time, and flags of windows that are less reliable."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.recordings.sensors import SensorInfo
from harexport.model.contract import gravity_channels
from harexport.model.network import softmax
from harexport.predict.mounting import FixedMount, MountSource
from harexport.preprocessing.mount import AS_IS
from harexport.preprocessing.resampler import GAP_SECONDS, SECOND, Dropped, Restart, Values
from harexport.preprocessing.stream import Stream, Window, unit_divisor
from harexport.runtimes.model import Model

# With a weight of 0.4 one contrary window never changes the smoothed activity, and two certain ones do: a change of
# activity appears one hop (1.28 s) after its first window. The weight was not tuned.
_NEWEST_WEIGHT = 0.4
_LEAST_SAMPLES = 0.9  # of the samples that a sensor gives in a window at its usual rate
SETTLING, SPARSE, MOUNT_UNKNOWN = "settling", "sparse", "mount unknown"
_CAUSES = {
    "repeated": "have the time of the sample before",
    "late": "are earlier than the sample before",
    "unreadable": "are not numbers, or are too large",
}


@dataclass(frozen=True)
class WindowPrediction:
    """Prediction of one window.

    Attributes:
        start_s: Start in seconds since the first sample.
        end_s: End in seconds since the first sample.
        time_ns: End by the clock of the phone.
        activity: Label with the largest probability.
        probabilities: In the order of the contract's labels.
        smoothed: Label with the largest smoothed probability.
        doubt: SETTLING (the filters have just started), SPARSE (a sensor gave few samples), MOUNT_UNKNOWN (the
            orientation of the phone is unknown), or None.
        latency_ms: Time of preprocessing and model after the last sample of the window.
        upright: Component of gravity along the phone's x axis, which pointed up in UCI HAR.
        label: Label of the whole window in the recording, if any.
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
        """Return plain JSON values; `labels` are the contract's."""
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


class WindowClassifier:
    """Runs a model on windows by time, and smooths its probabilities.

    Args:
        model: The model.
        info: Rates of the sensors.
        smoothing: "exponential" or "none".
        zero_ns: Time of the first sample.
    """

    def __init__(self, model: Model, info: SensorInfo, smoothing: str, zero_ns: int) -> None:
        self._model, self._zero_ns = model, zero_ns
        self._weight = _NEWEST_WEIGHT if smoothing == "exponential" else 1.0
        self._smoothed: NDArray[np.float64] | None = None
        contract = model.contract
        self.gravity = gravity_channels(contract.channels)
        self._usual_least = _LEAST_SAMPLES * contract.window
        self._least = {
            sensor: self._usual_least * rate / contract.rate_hz
            for sensor, rate in info.rates.items()
            if rate < _LEAST_SAMPLES * contract.rate_hz
        }

    def restart(self) -> None:
        """Forget the smoothed probabilities."""
        self._smoothed = None

    def find_doubt(self, is_settled: bool, has_mount: bool, counts: Mapping[str, int]) -> str | None:
        """Return why a window is unreliable, if it is.

        Args:
            is_settled: Whether the filters have settled.
            has_mount: Whether the orientation of the phone is known.
            counts: Number of samples of each sensor in the window; with few of them most of it is interpolated.
        """
        if not is_settled:
            return SETTLING
        if not has_mount:
            return MOUNT_UNKNOWN
        is_sparse = any(count < self._least.get(sensor, self._usual_least) for sensor, count in counts.items())
        return SPARSE if is_sparse else None

    def predict(
        self, signals: NDArray[np.float64], start_ns: int, end_ns: int, doubt: str | None, start: float
    ) -> WindowPrediction:
        """Predict a window.

        Args:
            signals: [window, channels].
            start_ns: Time of its first sample.
            end_ns: Time of its last sample.
            doubt: Result of `find_doubt`; an unreliable window does not affect the next ones.
            start: Time (perf_counter) at which its last sample arrived.
        """
        probabilities = softmax(self._model.runner.logits(signals[None].astype(np.float32)))[0]
        before = probabilities if self._smoothed is None or doubt is not None else self._smoothed
        smoothed = self._weight * probabilities + (1.0 - self._weight) * before
        self._smoothed = smoothed if doubt is None else None
        labels = self._model.contract.labels
        upright = None
        if self.gravity is not None:
            gravity = signals[:, self.gravity].mean(axis=0)
            upright = float(gravity[0] / max(float(np.linalg.norm(gravity)), 1e-9))
        return WindowPrediction(
            start_s=(start_ns - self._zero_ns) / SECOND,
            end_s=(end_ns - self._zero_ns) / SECOND,
            time_ns=end_ns,
            activity=labels[int(probabilities.argmax())],
            probabilities=tuple(float(p) for p in probabilities),
            smoothed=labels[int(smoothed.argmax())],
            doubt=doubt,
            latency_ms=(time.perf_counter() - start) * 1e3,
            upright=upright,
        )


class Session:
    """Predictions of a live stream of samples.

    Args:
        model: The model.
        info: Units, rates and averaging of the sensors.
        smoothing: "exponential" or "none".
        zero_ns: Time of the first sample.
        mounting: Source of the mount; default: as worn.

    Attributes:
        messages: Messages about changes of the mount.
    """

    def __init__(
        self, model: Model, info: SensorInfo, smoothing: str, zero_ns: int, mounting: MountSource | None = None
    ) -> None:
        self._mounting = mounting or FixedMount()
        self._divisor = {sensor: unit_divisor(sensor, unit) for sensor, unit in info.units.items()}
        self.messages: list[str] = []
        self._classifier = WindowClassifier(model, info, smoothing, zero_ns)
        self._stream = Stream(model.contract, info.units, info.average_over, mount=self._mounting.mount or AS_IS)
        self._times: dict[str, deque[int]] = {sensor: deque([zero_ns - 1]) for sensor in self._stream.sensors}

    def dropped_notes(self) -> list[str]:
        """Describe the samples that were dropped so far."""
        return describe_dropped(self._stream.dropped)

    def push(self, sensor: str, time_ns: int, values: Values) -> list[WindowPrediction | Restart]:
        """Add one sample; return the predictions and restarts it causes."""
        start = time.perf_counter()
        divisor = self._divisor.get(sensor, 1.0)
        self._mounting.push_sample(sensor, time_ns, tuple(value / divisor for value in values))
        self._rotate_stream()
        if sensor in self._times and all(value == value for value in values):  # not NaN
            times = self._times[sensor]
            if time_ns > times[-1]:
                times.append(time_ns)
            elif time_ns < times[-1] - GAP_SECONDS * SECOND:  # the clock jumped back
                self._times[sensor] = deque([time_ns])
        return self._predict_all(self._stream.push(sensor, time_ns, values), start)

    def finish(self) -> list[WindowPrediction | Restart]:
        """End the recording; return the predictions it completes."""
        return self._predict_all(self._stream.flush(), time.perf_counter())

    def _predict_all(self, events: list[Window | Restart], start: float) -> list[WindowPrediction | Restart]:
        out: list[WindowPrediction | Restart] = []
        for event in events:
            if isinstance(event, Restart):
                self._classifier.restart()
                out.append(event)
            else:
                out.append(self._predict(event, start))
        return out

    def _predict(self, window: Window, start: float) -> WindowPrediction:
        signals = self._as_mounted(window)
        has_mount = self._mounting.mount is not None
        doubt = self._classifier.find_doubt(window.is_settled, has_mount, self._count_samples(window))
        prediction = self._classifier.predict(signals, window.start_ns, window.end_ns, doubt, start)
        self._update_mount(signals, list(prediction.probabilities))
        return prediction

    def _as_mounted(self, window: Window) -> NDArray[np.float64]:
        """Return the signals in the axes of the present mount: windows come out in those of the stream."""
        mount = self._mounting.mount or AS_IS
        if mount == self._stream.mount:
            return window.array()
        return mount.compose(self._stream.mount.inverse).rotate_signal(window.array())

    def _update_mount(self, signals: NDArray[np.float64], probabilities: list[float]) -> None:
        if self._classifier.gravity is None:
            return
        present = self._mounting.mount or AS_IS
        acceleration = present.inverse.rotate_signal(signals[:, self._classifier.gravity])
        if message := self._mounting.push_window(acceleration, probabilities):
            self.messages.append(message)
        self._rotate_stream()

    def _rotate_stream(self) -> None:
        """Let the stream continue with the present mount."""
        mount = self._mounting.mount or AS_IS
        if mount != self._stream.mount:
            self._stream.rotate_to(mount)

    def _count_samples(self, window: Window) -> dict[str, int]:
        """Count the samples of each sensor in a window, and forget earlier ones."""
        counts = {}
        for sensor, times in self._times.items():
            while times and times[0] < window.start_ns:
                times.popleft()
            counts[sensor] = sum(1 for at in times if at <= window.end_ns)
            times.appendleft(window.start_ns - 1)  # never empty
        return counts


def describe_dropped(dropped: Mapping[str, Dropped]) -> list[str]:
    """Describe dropped samples by sensor and cause."""
    return [
        f"samples of the {sensor} dropped because they {_CAUSES[kind]}: {count}"
        for sensor, counts in dropped.items()
        for kind, count in vars(counts).items()
        if count
    ]
