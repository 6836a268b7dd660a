"""Golden test vectors: a synthetic recording, its windows after preprocessing, and the model's logits.

The Android demo runs the recording through its own preprocessing and runtime, and compares the results, before it uses
a model.
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
    STANDARD_GRAVITY,
    Stream,
    Window,
    required_sensors,
)
from harexport.runtimes.runner import Runner

GOLDEN_VERSION = 1
UNITS = {ACC: "m/s2", GYRO: "rad/s"}  # units of Android's sensors
# Both sides compute in double precision and round to float32 once. One unit in the last place of the largest values of
# the recording (below 8) is 4.8e-7.
MAX_SIGNAL_DIFFERENCE = 1e-6
# Logit tolerance of int8 files, relative to the largest logit. Runtimes round the activations of integer kernels
# differently: LiteRT 2.3 with and without XNNPACK and TensorFlow Lite 2.6.2 differ by at most 5.6 % (edge and the
# baseline LSTM, all lowerings; benchmarks/old_runtime.json has the absolute differences).
INTEGER_SHARE = 0.1

_START_SECONDS = 5.0  # before the last _NUM_WINDOWS windows; the turns of a shorter recording would be too fast
_NUM_WINDOWS = 6
_BOOT_NS = 1_234_567_890_123_456  # first timestamp: phones count from their start, here two weeks ago
_DELIVERY_NS = 200_000_000  # duration of a batch of samples that a sensor delivers
# Turns of the phone as shares of the recording: upright, turn, lying, turn back, walking, turn, lying on its back.
_TURNS = ((0.10, 0.18), (0.30, 0.38), (0.74, 0.82))
_WALK = (0.40, 0.72)
_STEPS_HZ = 1.9


def make_test_vectors(
    runner: Runner, scheme: str, contract: Contract, model: bytes, contract_json: bytes
) -> dict[str, Any]:
    """Return the content of golden.json for a model file.

    Samples are in the order of their arrival, windows and logits in the order of the preprocessing's output. Two
    hashes tie golden.json to model.tflite and contract.json.

    Args:
        runner: Runner of the model.
        scheme: Quantization scheme of the model.
        contract: Contract of the model.
        model: Content of model.tflite.
        contract_json: Content of contract.json.

    Raises:
        InputError: The preprocessing does not support the contract.
    """
    samples, average_over = synthetic_recording(contract)
    stream = Stream(contract, {sensor: UNITS[sensor] for sensor in average_over}, average_over)
    events = [event for sensor, time_ns, *axes in samples for event in stream.push(sensor, time_ns, tuple(axes))]
    events += stream.flush()
    windows = [event for event in events if isinstance(event, Window)]
    if len(windows) < len(events) or not any(window.is_settled for window in windows):
        raise InputError(
            f"preprocessing yields no windows of {contract.window} samples without gaps at {contract.rate_hz:g} Hz"
        )
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
        "windows": [_shortest_digits(window) for window in signals],
        "logits": [_shortest_digits(row) for row in logits],
    }


def logit_tolerance(scheme: str, logits: NDArray[np.float32]) -> float:
    """Return the largest allowed difference from `logits` [n, labels] in another runtime."""
    largest = float(np.abs(logits).max())
    if scheme.startswith("int8"):
        return INTEGER_SHARE * largest
    tolerance = TOLERANCES["float32"]  # float16 weights are converted to float32 when the model is loaded
    return tolerance.logit_tolerance(largest) or 0.0


def to_json(golden: dict[str, Any]) -> str:
    """Return JSON with one sample, window or row of logits per line."""
    lines = []
    for key, value in golden.items():
        rows = [json.dumps(row, separators=(",", ":"), allow_nan=False) for row in value] if _is_table(value) else []
        written = "[\n" + ",\n".join(rows) + "\n]" if rows else json.dumps(value, allow_nan=False)
        lines.append(f'"{key}": {written}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def synthetic_recording(contract: Contract) -> tuple[list[list[Any]], dict[str, int]]:
    """Generate a recording of a phone that stands, lies down, gets up, walks and turns.

    It is deterministic, and long enough for _NUM_WINDOWS windows after _START_SECONDS. The rate of the
    accelerometer is 5 % above that of the contract (at least 52.6 Hz), that of the gyroscope 2 % below it, with
    different phases, jitter and batches of delivery.

    Returns:
        Samples [sensor, time_ns, x, y, z] in Android's units and in the order of their arrival, and for each sensor the
        number of samples to average.
    """
    random = np.random.default_rng(8)
    hops = math.ceil(_START_SECONDS * contract.rate_hz / contract.hop) + _NUM_WINDOWS
    seconds = (contract.window + hops * contract.hop) / contract.rate_hz
    arrivals: list[tuple[int, list[Any]]] = []
    average_over = {}
    # random numbers are drawn for both sensors, so that a sensor's samples do not depend on the other one
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
    arrivals.sort(key=lambda arrival: arrival[0])  # stable: the order within a delivery remains
    return [row for _, row in arrivals], average_over


def _accelerometer(share: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return gravity and the steps of walking, in m/s2 [n, 3].

    Args:
        share: `times` as shares of the recording, [n].
        times: Seconds, [n].
    """
    to_side, back, over = (math.pi / 2 * _turn_progress(share, turn) for turn in _TURNS)
    on_side = to_side - back
    upright = np.stack([np.cos(on_side) * np.cos(over), np.sin(on_side), np.cos(on_side) * np.sin(over)], axis=1)
    step = 2 * math.pi * _STEPS_HZ * times
    bounce = np.stack(
        [0.35 * np.sin(step) + 0.12 * np.sin(2 * step + 0.7), 0.10 * np.sin(step / 2), 0.15 * np.sin(step + 1.2)],
        axis=1,
    )
    return STANDARD_GRAVITY * (upright + _walk_weight(share)[:, None] * bounce)


def _gyroscope(share: NDArray[np.float64], times: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """Return the turn rate of the turns in `_accelerometer`, and the swing of walking, in rad/s [n, 3]."""
    to_side, back, over = (math.pi / 2 * _turn_rate(share, turn) / seconds for turn in _TURNS)
    step = 2 * math.pi * _STEPS_HZ * times
    swing = np.stack([0.8 * np.sin(step / 2), 0.4 * np.sin(step + 0.5), 0.5 * np.sin(step / 2 + 1.0)], axis=1)
    return np.stack([np.zeros_like(over), over, back - to_side], axis=1) + _walk_weight(share)[:, None] * swing


def _turn_progress(share: NDArray[np.float64], turn: tuple[float, float]) -> NDArray[np.float64]:
    """Return 0 before a turn, 1 after it, with a smooth transition."""
    part = ((share - turn[0]) / (turn[1] - turn[0])).clip(0.0, 1.0)
    return np.asarray((1 - np.cos(math.pi * part)) / 2)


def _turn_rate(share: NDArray[np.float64], turn: tuple[float, float]) -> NDArray[np.float64]:
    """Return the derivative of `_turn_progress`."""
    length = turn[1] - turn[0]
    part = ((share - turn[0]) / length).clip(0.0, 1.0)
    return np.asarray(math.pi / 2 / length * np.sin(math.pi * part))


def _walk_weight(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 during walking and 0 otherwise, with smooth transitions."""
    begins, ends = ((at - 0.01, at + 0.01) for at in _WALK)
    return _turn_progress(share, begins) - _turn_progress(share, ends)


def _shortest_digits(values: NDArray[np.float32]) -> list[float]:
    """Return float32 values, row-major, with the fewest digits that identify them."""
    return [float(str(value)) for value in values.ravel()]


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and isinstance(value[0], list)
