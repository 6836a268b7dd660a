"""Temperature scaling: fit, effect on the network, and calibration of a training run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from harexport.data import Dataset
from harexport.evaluation import metrics
from harexport.model import checkpoint as checkpoints
from harexport.model.network import softmax
from harexport.training.temperature import apply_temperature, fit_temperature
from harexport.training.train import train
from tests.helpers.networks import random_gru

from .conftest import small_recipe


def _drawn(n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits of five labels, and labels drawn from their probabilities."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (n, 5))
    shares = softmax(logits).cumsum(axis=1)
    return logits, (random.uniform(size=(n, 1)) > shares).sum(axis=1).clip(0, 4)


@pytest.mark.parametrize("boast", [0.4, 1.0, 3.0])
def test_known_temperature_is_recovered(boast: float) -> None:
    logits, truth = _drawn()
    found = fit_temperature(boast * logits, truth)
    assert found is not None
    assert found.value == pytest.approx(boast, rel=0.03)
    assert found.ece_after < 0.012
    assert found.loss_after <= found.loss_before
    assert found.loss_after == pytest.approx(metrics.cross_entropy(boast / found.value * logits, truth))
    if boast != 1.0:
        assert found.ece_before > 5 * found.ece_after
    for other in (0.98, 1.02):  # it is a minimum
        assert metrics.cross_entropy(boast / found.value / other * logits, truth) > found.loss_after


def test_no_temperature_if_all_predictions_are_correct() -> None:
    logits, _ = _drawn(100)
    assert fit_temperature(logits, logits.argmax(axis=1)) is None


def test_cross_entropy() -> None:
    assert metrics.cross_entropy(np.log([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]), np.array([0, 2])) == pytest.approx(
        -(np.log(0.5) + np.log(0.7)) / 2
    )
    assert metrics.cross_entropy(np.array([[1000.0, 0.0]]), np.array([1])) == pytest.approx(1000.0)


def test_apply_temperature_divides_the_logits() -> None:
    network = random_gru(coarse=4)
    windows = np.random.default_rng(1).normal(size=(7, network.window, network.num_channels))
    divided = apply_temperature(network, 2.5)
    np.testing.assert_allclose(divided.logits(windows), network.logits(windows) / 2.5, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(divided.logits(windows, head="coarse"), network.logits(windows, head="coarse"))


def test_calibrated_run_differs_in_the_head_only(small: Dataset, tmp_path: Path) -> None:
    plain = train(small, small_recipe(), tmp_path / "plain", temperature=False).checkpoint
    trained = train(small, small_recipe(), tmp_path / "calibrated")
    kept = checkpoints.load(trained.path)
    temperature = kept.figures["temperature"]
    assert temperature["loss_after"] < temperature["loss_before"]
    for name, array in plain.network.arrays().items():
        expected = array / temperature["value"] if name.startswith("head.") else array
        np.testing.assert_allclose(kept.network.arrays()[name], expected, rtol=1e-6)
    test, held = kept.figures["test"], kept.figures["validation"]
    np.testing.assert_array_equal(test["confusion"], plain.figures["test"]["confusion"])
    assert (test["calibrated"], held["calibrated"]) == (True, True)
    assert (held["ece"], held["loss"]) == (temperature["ece_after"], temperature["loss_after"])
    assert (plain.figures["validation"]["ece"], plain.figures["validation"]["loss"]) == (
        temperature["ece_before"], temperature["loss_before"],
    )  # fmt: skip
    assert test["ece"] == metrics.calibration_error(softmax(kept.network.logits(small.test.signals)), small.test.labels)
    assert json.dumps(kept.figures, allow_nan=False)
    again = train(small, small_recipe(), tmp_path / "again")
    assert again.path.read_bytes() == trained.path.read_bytes()


def test_without_held_out_subjects_nothing_is_calibrated(
    small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = train(small, small_recipe(validation={"subjects": []}), tmp_path)
    assert trained.checkpoint.figures["temperature"] is None
    assert "the probabilities are not calibrated" in capsys.readouterr().err


def test_warnings_for_few_subjects_and_a_higher_test_ece(
    small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = train(small, small_recipe(), tmp_path)
    messages = capsys.readouterr().err
    assert "fitted on 1 held-out subject(s) and may not fit other people" in messages
    before, after = map(float, re.findall(r"On the test set: ECE ([\d.]+) -> ([\d.]+)", messages)[0])
    assert after == pytest.approx(trained.checkpoint.figures["test"]["ece"], abs=1e-4)
    assert ("Warning: calibration increased the ECE" in messages) == (after > before)
