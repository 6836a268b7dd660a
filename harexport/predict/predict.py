"""`harexport predict FILE`: what somebody did, told from a phone's recording."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harexport.data.custom import dataset
from harexport.data.dataset import contract_mismatches
from harexport.data.recordings import reader
from harexport.data.recordings.csv_format import normalize_label
from harexport.data.recordings.reader import SensorTrack
from harexport.data.recordings.sensors import SensorInfo, Units, merge_by_time, resolve_sensors
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.predict.mounting import (
    AS_WORN,
    STANDING,
    MountOption,
    RecordingMount,
    estimate_standing,
    estimate_walking,
)
from harexport.predict.session import Session, WindowPrediction
from harexport.preprocessing.resampler import SECOND, Restart
from harexport.preprocessing.stream import ACC, Stream, Window, unit_divisor
from harexport.runtimes.model import Model
from harexport.utils.console import progress

_UPRIGHT, _SELDOM = 0.5, 0.1  # gravity within 60 degrees of the x axis, in at least a tenth of the windows


@dataclass(frozen=True)
class Segment:
    """The same smoothed activity in consecutive windows without doubt; seconds since the first sample."""

    activity: str
    start_s: float
    end_s: float
    windows: int


@dataclass(frozen=True)
class LabelAgreement:
    """Of `windows` without doubt that lie wholly in one label the model knows: the share answered so."""

    windows: int
    single: float
    smoothed: float


@dataclass(frozen=True)
class Prediction:
    """Everything that was told from a recording. `restarts` are (seconds since the first sample, reason)."""

    recording: str
    family: str
    model: str
    labels: tuple[str, ...]
    source: SensorInfo
    seconds: float
    answers: tuple[WindowPrediction, ...]
    stretches: tuple[Segment, ...]
    restarts: tuple[tuple[float, str], ...]
    notes: tuple[str, ...]
    agreement: LabelAgreement | None
    mounting: RecordingMount = RecordingMount(MountOption(AS_WORN))

    def to_dict(self) -> dict[str, Any]:
        """The prediction as plain JSON values."""
        return {
            "recording": self.recording,
            "family": self.family,
            "model": self.model,
            "labels": list(self.labels),
            "units": self.source.units,
            "rates_hz": {sensor: round(rate, 2) for sensor, rate in self.source.rates.items()},
            "seconds": round(self.seconds, 3),
            "stretches": [
                {"activity": s.activity, "start": round(s.start_s, 3), "end": round(s.end_s, 3), "windows": s.windows}
                for s in self.stretches
            ],
            "agreement": None if self.agreement is None else vars(self.agreement),
            "restarts": [{"time": round(at, 3), "reason": reason} for at, reason in self.restarts],
            "notes": list(self.notes),
            "mount": self.mounting.to_dict(),
            "windows": [answer.to_dict(self.labels) for answer in self.answers],
        }


def predict(
    path: Path,
    model: Model,
    said: Units,
    smoothing: str,
    data: Path | None = None,
    mount: MountOption | None = None,
) -> Prediction:
    """The recording at `path` (see data/phone.py) through the chain and the model, window by window.

    `data`: a folder of one's own recordings, as one of which it is read (see data/own.py). Raises InputError for what
    cannot be read or answered, and where no stretch of it is as long as a window.
    """
    recording, said = (
        (reader.read_recording(path), said) if data is None else dataset.read_like_dataset(data, path, said)
    )
    source = resolve_sensors(recording.tracks, model.contract, said, str(path))
    tracks = {sensor: recording.tracks[sensor] for sensor in source.rates}
    zero_ns = min(int(one.time_ns.min()) for one in tracks.values())
    end_ns = max(int(one.time_ns.max()) for one in tracks.values())
    mounting = _mounting(mount, model, source, tracks, zero_ns)
    session = Session(model, source, smoothing, zero_ns, mounting.source)
    events: list[WindowPrediction | Restart] = []
    total = sum(len(one.time_ns) for one in tracks.values())
    with progress("Filtering and answering", total, "samples") as advance:
        for done, (sensor, time_ns, values) in enumerate(merge_by_time(tracks), 1):
            events += session.push(sensor, time_ns, values)
            if done % 20_000 == 0:
                advance(done)
    events += session.finish()
    answers = [event for event in events if isinstance(event, WindowPrediction)]
    if not answers:
        needed = model.contract.window / model.contract.rate_hz
        raise InputError(
            f"{path}: {(end_ns - zero_ns) / SECOND:.1f} s of recording hold no {needed:.2f} s without a gap, which one "
            "answer takes; record longer"
        )
    notes = list(recording.notes) + session.left_out() + mounting.notes()
    stretches = _stretches(events, model.contract.hop / model.contract.rate_hz)
    if recording.labels:
        answers, unknown = _labelled(answers, recording.labels, model.contract.labels, zero_ns)
        if unknown:
            notes.append(f"labels that the model does not know were left out: {', '.join(unknown)}")
    of_uci_har = model.contract.frame is None and not contract_mismatches(model.contract, Contract())
    if of_uci_har and (note := _worn_otherwise(answers)):
        notes.append(note)
    return Prediction(
        recording=path.name,
        family=recording.family,
        model=model.name,
        labels=model.contract.labels,
        source=source,
        seconds=(end_ns - zero_ns) / SECOND,
        answers=tuple(answers),
        stretches=tuple(stretches),
        restarts=tuple((max(0.0, (e.time_ns - zero_ns) / SECOND), e.reason) for e in events if isinstance(e, Restart)),
        notes=tuple(notes),
        mounting=mounting,
        agreement=_agreement(answers),
    )


def _mounting(
    option: MountOption | None, model: Model, source: SensorInfo, tracks: dict[str, SensorTrack], zero_ns: int
) -> RecordingMount:
    """Determine how the phone was worn: the recording is read once for this, before the predictions."""
    resolved = MountOption.resolve(option, model.contract)
    if resolved.kind == STANDING:
        acc, divisor = tracks[ACC], unit_divisor(ACC, source.units.get(ACC, "g"))
        return estimate_standing(resolved, acc.time_ns, acc.values / divisor, source.rates[ACC], zero_ns)
    if resolved.kind == AS_WORN:
        return RecordingMount(resolved)
    stream = Stream(model.contract, source.units, source.average_over)
    events = [event for sample in merge_by_time(tracks) for event in stream.push(*sample)] + stream.flush()
    windows = [event for event in events if isinstance(event, Window)]
    return estimate_walking(windows, model, zero_ns) if windows else RecordingMount(resolved)


def _stretches(events: list[WindowPrediction | Restart], hop_s: float) -> list[Segment]:
    """Runs of one smoothed activity without doubt.

    A window stands for one hop around its middle, the first and last of a run for their beginning and end too.
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


def _labelled(
    answers: list[WindowPrediction], labels: tuple[tuple[int, str | None], ...], known: tuple[str, ...], zero_ns: int
) -> tuple[list[WindowPrediction], list[str]]:
    """The answers with the label that their whole window carries; and the labels that the model does not know."""
    times = [time_ns for time_ns, _ in labels]
    names = [None if name is None else normalize_label(name) for _, name in labels]
    called = {normalize_label(name): name for name in known}
    out = []
    for answer in answers:
        start_ns = zero_ns + round(answer.start_s * SECOND)
        inside = set(names[bisect_left(times, start_ns) : bisect_right(times, answer.time_ns)])
        label = inside.pop() if len(inside) == 1 else None
        out.append(replace(answer, label=None if label is None else called.get(label)))
    return out, sorted({name for name in names if name is not None and name not in called})


def _agreement(answers: list[WindowPrediction]) -> LabelAgreement | None:
    judged = [answer for answer in answers if answer.label is not None and answer.doubt is None]
    if not judged:
        return None
    single = sum(answer.activity == answer.label for answer in judged) / len(judged)
    smoothed = sum(answer.smoothed == answer.label for answer in judged) / len(judged)
    return LabelAgreement(len(judged), single, smoothed)


def _worn_otherwise(answers: list[WindowPrediction]) -> str | None:
    """Words where the phone was hardly ever worn as in the data set: upright by its x axis, sideways at the waist."""
    uprights = [answer.upright for answer in answers if answer.upright is not None]
    if not uprights or sum(upright > _UPRIGHT for upright in uprights) >= _SELDOM * len(uprights):
        return None
    return (
        "gravity hardly ever lay along the phone's x axis: it was worn otherwise than the phones that the model learnt "
        "from (on the belt, on its side, x up), so these answers mean little unless the person lay all the time"
    )
