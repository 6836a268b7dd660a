"""Raw samples of a phone give the predictions of the official windows."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from harexport.data import Dataset
from harexport.data.uci_har.raw_recordings import Recording
from harexport.preprocessing.stream import ACC, GYRO
from harexport.runtimes import model

_BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def fidelity() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fidelity", _BENCHMARKS / "stream_fidelity.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stream_predicts_the_official_windows(
    fidelity: ModuleType, recordings: dict[int, list[Recording]], dataset: Dataset
) -> None:
    """Raw recordings as Android reports them (m/s2, nanoseconds since 1970), sample by sample, into the .tflite."""
    windows = fidelity.by_stream(recordings, fidelity.android, {ACC: "m/s2", GYRO: "rad/s"})
    official = dataset.test
    assert windows.shape == official.signals.shape == (2947, 128, 9)
    np.testing.assert_allclose(windows, official.signals, rtol=0, atol=1e-6)
    runner = model.load_model(_BENCHMARKS.parent / "artifacts/edge/edge-unrolled-int8-weights.tflite").runner
    predictions = runner.logits(windows.astype(np.float32)).argmax(axis=1)
    expected = runner.logits(official.signals).argmax(axis=1)
    assert np.array_equal(predictions, expected)
    assert (predictions == official.labels).mean() > 0.98


def test_figures_show_equal_predictions() -> None:
    """The limits in the code follow from these figures."""
    measured = json.loads((_BENCHMARKS / "stream_fidelity.json").read_text("utf-8"))
    stream, windows = measured["stream"], measured["windows"]
    assert windows == 2947
    for exact in ("50 Hz, g", "50 Hz, m/s2, nanoseconds since 1970"):
        assert stream[exact]["same_answers"] == windows
        assert stream[exact]["largest_difference"] < 1e-6
    for disturbed in (
        "5 ms jitter, 1 % of the samples lost",
        "accelerometer 52.6 Hz, gyroscope 49.2 Hz, out of phase",
        "100 Hz",
        "200 Hz",
    ):
        assert stream[disturbed]["same_answers"] >= 0.99 * windows
    shaken = "200 Hz, 0.05 g of vibration at 48 Hz"
    assert stream[f"{shaken}, without mean"]["same_answers"] < 0.9 * windows < stream[shaken]["same_answers"]
    settled = measured["chain_started_seconds_before"]
    assert settled["0"]["accuracy"] < 0.8
    assert settled["5"]["same_answers"] >= 0.997 * windows > settled["4"]["same_answers"]
    steady = measured["chain_started_steady_seconds_before"]  # the reason for SETTLING_SECONDS
    assert min(figures["accuracy"] for figures in steady.values()) > measured["official"] - 0.01
    lived = measured["lived_through"]
    assert lived["windows"] > 2500
    assert lived["smoothed_accuracy"] > lived["accuracy"] > 0.975
    gaps = measured["gap_bridged_seconds"]
    assert gaps["0.2"]["same_answers"] >= 0.99 * windows > gaps["0.3"]["same_answers"]
