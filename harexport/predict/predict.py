"""Predictions of recordings, for `harexport predict`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.custom import dataset as custom
from harexport.data.dataset import contract_mismatches
from harexport.data.recordings.column_names import list_names, normalize_label
from harexport.data.recordings.csv_format import Units
from harexport.data.recordings.reader import PhoneRecording, ReadOptions, read_recordings
from harexport.data.recordings.sensors import SensorInfo, resolve_sensors
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.predict.mounting import (
    AS_WORN,
    AUTO,
    STANDING,
    MountOption,
    RecordingMount,
    estimate_standing,
    estimate_walking,
)
from harexport.predict.session import WindowClassifier, WindowPrediction, describe_dropped
from harexport.preprocessing.batch import ArrayWindow, Resampled, filter_windows, resample
from harexport.preprocessing.mount import AS_IS, Mount
from harexport.preprocessing.resampler import SECOND, Restart
from harexport.preprocessing.stream import ACC, GYRO, unit_divisor
from harexport.runtimes.model import Model, load_pretrained
from harexport.utils.console import progress

# Gravity is within 60 degrees of the x axis in at least a tenth of the windows of a phone worn as in UCI HAR.
_UPRIGHT, _UPRIGHT_SHARE = 0.5, 0.1
_UNCOVERED_S = 2.0  # at the start or end of a recording, without one of the sensors

Samples = Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]  # times [n] and values [n, 3] by sensor


@dataclass(frozen=True)
class Segment:
    """The same smoothed activity in consecutive reliable windows; times in seconds since the first sample."""

    activity: str
    start_s: float
    end_s: float
    windows: int


@dataclass(frozen=True)
class LabelAgreement:
    """Share of `windows` (reliable, with one label that the model knows) whose prediction equals the label."""

    windows: int
    single: float
    smoothed: float


NO_GYROSCOPE = "no gyroscope{}: the model that uses the accelerometer only was chosen; its accuracy is lower"


@dataclass(frozen=True)
class Prediction:
    """Predictions of a recording.

    Attributes:
        recording: Name of the recording.
        family: Kind of file.
        model: Name of the model.
        labels: Labels of the model.
        source: Units and rates of the sensors.
        seconds: Duration.
        windows: Predictions of all windows.
        segments: Consecutive windows of the same activity.
        restarts: (seconds since the first sample, reason) where the filters were restarted.
        notes: What was inferred, left out, or is doubtful.
        agreement: Agreement with the labels in the recording, if any.
        device: "phone", "watch" or "headphones".
        mounting: Orientation of the phone.
    """

    recording: str
    family: str
    model: str
    labels: tuple[str, ...]
    source: SensorInfo
    seconds: float
    windows: tuple[WindowPrediction, ...]
    segments: tuple[Segment, ...]
    restarts: tuple[tuple[float, str], ...]
    notes: tuple[str, ...]
    agreement: LabelAgreement | None
    device: str = "phone"
    mounting: RecordingMount = field(default_factory=lambda: RecordingMount(MountOption(AS_WORN)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "recording": self.recording,
            "family": self.family,
            "device": self.device,
            "model": self.model,
            "labels": list(self.labels),
            "units": self.source.units,
            "rates_hz": {sensor: round(rate, 2) for sensor, rate in self.source.rates.items()},
            "seconds": round(self.seconds, 3),
            "stretches": [
                {"activity": s.activity, "start": round(s.start_s, 3), "end": round(s.end_s, 3), "windows": s.windows}
                for s in self.segments
            ],
            "agreement": None if self.agreement is None else vars(self.agreement),
            "restarts": [{"time": round(at, 3), "reason": reason} for at, reason in self.restarts],
            "notes": list(self.notes),
            "mount": self.mounting.to_dict(),
            "windows": [window.to_dict(self.labels) for window in self.windows],
        }


def read_for_prediction(path: Path, units: Units, data: Path | None = None) -> tuple[list[PhoneRecording], Units]:
    """Read the recordings at a path, and the units to use.

    Args:
        path: CSV, folder or zip.
        units: Units stated by the user.
        data: Folder of a custom dataset, as whose recordings the path is read.

    Raises:
        InputError: There is no recording, or a file cannot be read.
    """
    if data is not None:
        return custom.read_like_dataset(data, path, units)
    return read_recordings(path, ReadOptions(units=units)), units


def predict(
    path: Path,
    model: Model | None,
    units: Units,
    smoothing: str,
    data: Path | None = None,
    mount: MountOption | None = None,
) -> Prediction:
    """Predict the only recording at a path. See `read_for_prediction` and `predict_recording`.

    Raises:
        InputError: There are several recordings or none, or the recording cannot be predicted.
    """
    recordings, units = read_for_prediction(path, units, data)
    if len(recordings) > 1:
        listed = ", ".join(recording.name for recording in recordings[:8])
        raise InputError(f"{path} holds {len(recordings)} recordings ({listed}); pass one of them")
    return predict_recording(recordings[0], model, units, smoothing, mount)


def predict_recording(
    recording: PhoneRecording, model: Model | None, units: Units, smoothing: str, mount: MountOption | None = None
) -> Prediction:
    """Predict a recording.

    Args:
        recording: The recording.
        model: The model; None for a pretrained one that fits the sensors.
        units: Units stated by the user.
        smoothing: "exponential" or "none".
        mount: How the orientation of the phone is determined; None for the default of the model.

    Raises:
        InputError: A sensor is missing, slow or of unknown unit, or the recording is shorter than a window.
    """
    reason = f" ({recording.missing[GYRO]})" if GYRO in recording.missing else ""
    choice = [] if model is not None or GYRO in recording.tracks else [NO_GYROSCOPE.format(reason)]
    model = model or load_pretrained(GYRO in recording.tracks)
    contract = model.contract
    _check_length(recording, contract)
    info = resolve_sensors(recording.tracks, contract, units, recording.where, recording.missing)
    samples = {sensor: (recording.tracks[sensor].time_ns, recording.tracks[sensor].values) for sensor in info.rates}
    zero_ns = min(int(times.min()) for times, _ in samples.values())
    end_ns = max(int(times.max()) for times, _ in samples.values())
    classifier = WindowClassifier(model, info, smoothing, zero_ns)
    resampled, dropped = resample(samples, contract, info.units, info.average_over)
    events = filter_windows(resampled, contract)
    found = [event for event in events if isinstance(event, ArrayWindow)]
    if not found:
        raise _too_short(recording, contract, end_ns - zero_ns)
    mounting = _find_mount(mount, model, info, samples, found, zero_ns)
    mounts: list[Mount | None] = [mounting.fixed] * len(found)
    if mounting.segments and mounting.option.kind == AUTO:
        mounts = list(mounting.mounts)
    outcome = _classify(events, mounts, samples, model, resampled, classifier)
    windows = [event for event in outcome if isinstance(event, WindowPrediction)]
    spans = {sensor: (int(times.min()), int(times.max())) for sensor, (times, _) in samples.items()}
    notes = [*recording.notes, *choice, *info.notes, *describe_coverage(spans), *describe_dropped(dropped)]
    notes += mounting.notes()
    if recording.has_labels:
        windows, unknown = _add_labels(windows, recording, contract.labels, zero_ns)
        if unknown:
            notes.append(f"labels that the model does not know were left out: {list_names(unknown)}")
    is_uci_har = contract.frame is None and not contract_mismatches(contract, Contract())
    if is_uci_har and (note := _describe_orientation(windows)):
        notes.append(note)
    return Prediction(
        recording=recording.name,
        family=recording.family,
        model=model.name,
        labels=contract.labels,
        source=info,
        seconds=(end_ns - zero_ns) / SECOND,
        windows=tuple(windows),
        segments=tuple(_find_segments(outcome, contract.hop / contract.rate_hz)),
        restarts=tuple(
            (max(0.0, (event.time_ns - zero_ns) / SECOND), event.reason)
            for event in events
            if isinstance(event, Restart)
        ),
        notes=tuple(notes),
        agreement=_compute_agreement(windows),
        device=recording.device,
        mounting=mounting,
    )


def _check_length(recording: PhoneRecording, contract: Contract) -> None:
    """Raise InputError where the whole recording is shorter than a window, before its units are inferred."""
    spans = [int(np.ptp(track.time_ns)) for track in recording.tracks.values()]
    if spans and 0 < max(spans) < (contract.window - 1) / contract.rate_hz * SECOND:
        raise _too_short(recording, contract, max(spans))


def _too_short(recording: PhoneRecording, contract: Contract, length_ns: int) -> InputError:
    needed = contract.window / contract.rate_hz
    return InputError(
        f"{recording.where}: {length_ns / SECOND:.1f} s of recording hold no {needed:.2f} s without a gap, the length "
        "of a window; record longer"
    )


def describe_coverage(spans: Mapping[str, tuple[int, int]]) -> list[str]:
    """Describe sensors that start seconds after the others, or end before them, from their first and last times."""
    first, last = min(start for start, _ in spans.values()), max(end for _, end in spans.values())
    return [
        f"the {sensor} has samples from {(start - first) / SECOND:.1f} to {(end - first) / SECOND:.1f} s only: the "
        "rest is left blank"
        for sensor, (start, end) in spans.items()
        if max(start - first, last - end) > _UNCOVERED_S * SECOND
    ]


def _find_mount(
    option: MountOption | None,
    model: Model,
    info: SensorInfo,
    samples: Samples,
    windows: list[ArrayWindow],
    zero_ns: int,
) -> RecordingMount:
    """Determine the orientation of the phone, before the predictions."""
    resolved = MountOption.resolve(option, model.contract)
    if resolved.kind == STANDING:
        times, values = samples[ACC]
        acceleration = values / unit_divisor(ACC, info.units.get(ACC, "g"))
        return estimate_standing(resolved, times, acceleration, info.rates[ACC], zero_ns)
    if resolved.kind == AS_WORN:
        return RecordingMount(resolved)
    return estimate_walking(windows, model, zero_ns)


def _classify(
    events: list[ArrayWindow | Restart],
    mounts: list[Mount | None],
    samples: Samples,
    model: Model,
    resampled: list[Resampled | Restart],
    classifier: WindowClassifier,
) -> list[WindowPrediction | Restart]:
    """Predict all windows, each in the axes of its mount (None: unknown)."""
    contract = model.contract
    rotated: dict[Mount, list[ArrayWindow]] = {}
    for used in {mount or AS_IS for mount in mounts}:
        turned = events if used == AS_IS else filter_windows(resampled, contract, used)
        rotated[used] = [event for event in turned if isinstance(event, ArrayWindow)]
    readable = {sensor: np.sort(times[~np.isnan(values).any(axis=1)]) for sensor, (times, values) in samples.items()}
    out: list[WindowPrediction | Restart] = []
    done = 0
    with progress("Predicting", len(mounts), "windows") as advance:
        for event in events:
            if isinstance(event, Restart):
                classifier.restart()
                out.append(event)
                continue
            start = time.perf_counter()
            mount = mounts[done]
            window = rotated[mount or AS_IS][done]
            counts = {
                sensor: int(times.searchsorted(window.end_ns, "right") - times.searchsorted(window.start_ns, "left"))
                for sensor, times in readable.items()
            }
            doubt = classifier.find_doubt(window.is_settled, mount is not None, counts)
            out.append(classifier.predict(window.signals, window.start_ns, window.end_ns, doubt, start))
            done += 1
            if done % 500 == 0:
                advance(done)
    return out


def _find_segments(events: list[WindowPrediction | Restart], hop_s: float) -> list[Segment]:
    """Join reliable windows of the same smoothed activity.

    A window covers one hop around its middle; the first and last one of a run also cover their beginning and end.
    """
    out: list[Segment] = []
    previous: WindowPrediction | None = None
    for event in events:
        if isinstance(event, Restart) or event.doubt is not None:
            if previous is not None:
                out[-1] = replace(out[-1], end_s=previous.end_s)
            previous = None
            continue
        middle = (event.start_s + event.end_s) / 2
        if previous is not None and previous.smoothed == event.smoothed:
            out[-1] = replace(out[-1], end_s=middle + hop_s / 2, windows=out[-1].windows + 1)
        else:
            start_s = event.start_s if previous is None else middle - hop_s / 2
            out.append(Segment(event.smoothed, start_s, middle + hop_s / 2, 1))
        previous = event
    if previous is not None:
        out[-1] = replace(out[-1], end_s=previous.end_s)
    return out


def _add_labels(
    windows: list[WindowPrediction], recording: PhoneRecording, known: tuple[str, ...], zero_ns: int
) -> tuple[list[WindowPrediction], list[str]]:
    """Return the windows with their labels, and the labels that the model does not know."""
    spellings = {normalize_label(name): name for name in known}
    out = []
    for window in windows:
        label = recording.label_between(zero_ns + round(window.start_s * SECOND), window.time_ns)
        out.append(replace(window, label=None if label is None else spellings.get(normalize_label(label))))
    used = {recording.label_names[code] for code in np.unique(recording.label_codes).tolist()}
    found = {normalize_label(name) for name in used if name is not None}
    return out, sorted(found - set(spellings))


def _compute_agreement(windows: list[WindowPrediction]) -> LabelAgreement | None:
    labeled = [window for window in windows if window.label is not None and window.doubt is None]
    if not labeled:
        return None
    single = sum(window.activity == window.label for window in labeled) / len(labeled)
    smoothed = sum(window.smoothed == window.label for window in labeled) / len(labeled)
    return LabelAgreement(len(labeled), single, smoothed)


def _describe_orientation(windows: list[WindowPrediction]) -> str | None:
    """Return a note where the phone was not worn as in UCI HAR: at the waist, with the x axis up."""
    uprights = [window.upright for window in windows if window.upright is not None]
    if not uprights or sum(upright > _UPRIGHT for upright in uprights) >= _UPRIGHT_SHARE * len(uprights):
        return None
    return (
        "gravity is hardly ever along the phone's x axis: the phone was worn differently from the phones in the "
        "training data (on the belt, on its side, x up), so the predictions mean little unless the person was lying"
    )
