"""What a phone must answer: a made-up recording, the windows that our chain makes of it, and the file's own logits.

The Android demo runs the recording through its own chain and its own runtime, on the phone, before it trusts a model.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.evaluation.comparison import TOLERANCES
from harexport.model.contract import Contract
from harexport.preprocessing.resampler import SECOND, averaging_length
from harexport.preprocessing.stream import (
    ACC,
    GYRO,
    SETTLING_SECONDS,
    STANDARD_GRAVITY,
    Stream,
    Window,
    required_sensors,
)
from harexport.runtimes import Runner

GOLDEN_VERSION = 1
UNITS = {ACC: "m/s2", GYRO: "rad/s"}  # what Android hands over
# The chain is the same double arithmetic on both sides, rounded to float32 once: one unit in the last place of what
# this recording reaches (below 8) is 4.8e-7.
MAX_SIGNAL_DIFFERENCE = 1e-6
# Of the largest logit. Integer kernels round activations, each runtime in its own way, all of them correct: LiteRT 2.3
# with and without XNNPACK and TensorFlow Lite 2.6.2 were seen to differ by 5.6 % at most (edge and seed-lstm, every
# lowering; benchmarks/old_runtime.json has the absolute numbers).
INTEGER_SHARE = 0.1

_SETTLED_WINDOWS = 6  # at least so many that begin after the filters have settled
_BOOT_NS = 1_234_567_890_123_456  # a phone's clock counts from its start: two weeks ago
_DELIVERY_NS = 200_000_000  # a delivery holds what a sensor measured in this time
# The scenes, as shares of the recording: upright, turning, lying, turning back, walking, turning, lying on its back.
_TURNS = ((0.10, 0.18), (0.30, 0.38), (0.74, 0.82))
_WALK = (0.40, 0.72)
_STEPS_HZ = 1.9


def make_test_vectors(
    runner: Runner, scheme: str, contract: Contract, model: bytes, contract_json: bytes
) -> dict[str, Any]:
    """The content of golden.json for one model file: `runner` runs `model`, whose scheme and contract are these.

    Samples are in the order of their arrival, windows and logits in that of the chain's answers. The two hashes tie
    the file to model.tflite and contract.json beside it. Raises InputError for a contract that the chain cannot serve.
    """
    samples, average_over = synthetic_recording(contract)
    stream = Stream(contract, {sensor: UNITS[sensor] for sensor in average_over}, average_over)
    events = [event for sensor, time_ns, *axes in samples for event in stream.push(sensor, time_ns, tuple(axes))]
    events += stream.flush()
    windows = [event for event in events if isinstance(event, Window)]
    if len(windows) < len(events) or not any(window.is_settled for window in windows):
        raise InputError(f"at {contract.rate_hz:g} Hz the chain makes no unbroken windows of {contract.window} samples")
    signals = np.array([window.signals for window in windows], np.float32)
    logits = runner.logits(signals)
    return {
        "golden_version": GOLDEN_VERSION,
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "contract_sha256": hashlib.sha256(contract_json).hexdigest(),
        "max_logit_difference": logit_tolerance(scheme, logits),
        "max_signal_difference": MAX_SIGNAL_DIFFERENCE,
        "units": {sensor: UNITS[sensor] for sensor in average_over},
        "mean_of": average_over,
        "samples": samples,
        "windows": [_shortest(window) for window in signals],
        "logits": [_shortest(answer) for answer in logits],
    }


def logit_tolerance(scheme: str, logits: NDArray[np.float32]) -> float:
    """How far from these `logits` [n, labels] a correct runtime may answer: float32's promise, or INTEGER_SHARE."""
    largest = float(np.abs(logits).max())
    if scheme.startswith("int8"):
        return INTEGER_SHARE * largest
    tolerance = TOLERANCES["float32"]  # float16 weights are converted to float32 when the model is loaded
    return tolerance.logit_tolerance(largest) or 0.0


def to_json(golden: dict[str, Any]) -> str:
    """JSON with one sample, window or answer a line."""
    lines = []
    for key, value in golden.items():
        rows = [json.dumps(row, separators=(",", ":"), allow_nan=False) for row in value] if _is_table(value) else []
        written = "[\n" + ",\n".join(rows) + "\n]" if rows else json.dumps(value, allow_nan=False)
        lines.append(f'"{key}": {written}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def synthetic_recording(contract: Contract) -> tuple[list[list[Any]], dict[str, int]]:
    """Samples [sensor, time_ns, x, y, z] in Android's units as they arrive, and of how many to take the mean first.

    A phone in a pocket that stands, lies down, gets up, walks and turns: the same one every time, long enough for
    _SETTLED_WINDOWS windows that begin after the filters have settled. The accelerometer runs 5 % above the grid's
    rate (but never below 52.6 Hz), the gyroscope 2 % below it, out of phase, with jitter, each in deliveries of its
    own.
    """
    random = np.random.default_rng(8)
    hops = math.ceil(SETTLING_SECONDS * contract.rate_hz / contract.hop) + _SETTLED_WINDOWS
    seconds = (contract.window + hops * contract.hop) / contract.rate_hz
    arrivals: list[tuple[int, list[Any]]] = []
    average_over = {}
    # both draw their numbers, needed or not: with and without the other, a sensor measures the same
    for sensor, rate, phase in ((ACC, 1.052, 0.0031), (GYRO, 0.984, 0.0112)):
        rate *= max(contract.rate_hz, 50.0)
        ideal = np.arange(phase, seconds + 0.1, 1 / rate)
        times = ideal + random.normal(0.0, 0.05, len(ideal)).clip(-0.15, 0.15) / rate
        share = times / seconds
        values = _accelerometer(share, times) if sensor == ACC else _gyroscope(share, times, seconds)
        values += random.normal(0.0, 0.03 if sensor == ACC else 0.004, values.shape)
        if sensor not in required_sensors(contract):
            continue
        average_over[sensor] = averaging_length(rate, contract.rate_hz)
        stamps = [_BOOT_NS + round(time * SECOND) for time in times.tolist()]
        delivery = max(1, round(rate * _DELIVERY_NS / SECOND))
        for k, (stamp, row) in enumerate(zip(stamps, values.tolist(), strict=True)):
            last = stamps[min(k - k % delivery + delivery, len(stamps)) - 1]
            arrivals.append((last, [sensor, stamp, *(round(value, 4) for value in row)]))
    arrivals.sort(key=lambda arrival: arrival[0])  # stable: within a delivery as measured
    return [row for _, row in arrivals], average_over


def _accelerometer(share: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """m/s2 [n, 3] at `times` (seconds), which are these shares of the recording: gravity, and the steps of a walk."""
    to_side, back, over = (math.pi / 2 * _turned(share, turn) for turn in _TURNS)
    on_side = to_side - back
    upright = np.stack([np.cos(on_side) * np.cos(over), np.sin(on_side), np.cos(on_side) * np.sin(over)], axis=1)
    step = 2 * math.pi * _STEPS_HZ * times
    bounce = np.stack(
        [0.35 * np.sin(step) + 0.12 * np.sin(2 * step + 0.7), 0.10 * np.sin(step / 2), 0.15 * np.sin(step + 1.2)],
        axis=1,
    )
    return STANDARD_GRAVITY * (upright + _walking(share)[:, None] * bounce)


def _gyroscope(share: NDArray[np.float64], times: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """rad/s [n, 3]: the speed of the turns that `_accelerometer` makes, and the swing of a walk."""
    to_side, back, over = (math.pi / 2 * _turning(share, turn) / seconds for turn in _TURNS)
    step = 2 * math.pi * _STEPS_HZ * times
    swing = np.stack([0.8 * np.sin(step / 2), 0.4 * np.sin(step + 0.5), 0.5 * np.sin(step / 2 + 1.0)], axis=1)
    return np.stack([np.zeros_like(over), over, back - to_side], axis=1) + _walking(share)[:, None] * swing


def _turned(share: NDArray[np.float64], turn: tuple[float, float]) -> NDArray[np.float64]:
    """0 before a turn, 1 after it, and a smooth way between."""
    part = ((share - turn[0]) / (turn[1] - turn[0])).clip(0.0, 1.0)
    return np.asarray((1 - np.cos(math.pi * part)) / 2)


def _turning(share: NDArray[np.float64], turn: tuple[float, float]) -> NDArray[np.float64]:
    """The slope of `_turned`."""
    length = turn[1] - turn[0]
    part = ((share - turn[0]) / length).clip(0.0, 1.0)
    return np.asarray(math.pi / 2 / length * np.sin(math.pi * part))


def _walking(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 while the phone is carried along, and a smooth way there and back."""
    begins, ends = ((at - 0.01, at + 0.01) for at in _WALK)
    return _turned(share, begins) - _turned(share, ends)


def _shortest(values: NDArray[np.float32]) -> list[float]:
    """float32 numbers, row-major, with as few digits as tell them apart: half as many as a double needs."""
    return [float(str(value)) for value in values.ravel()]


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and isinstance(value[0], list)
