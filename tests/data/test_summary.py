"""The data in figures and in a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harexport.data import Dataset, Windows
from harexport.data.summary import plot_examples, smooth, summarize
from harexport.errors import InputError
from harexport.model.contract import CHANNELS


def test_figures(dataset: Dataset) -> None:
    figures = json.loads(json.dumps(summarize(dataset), allow_nan=False))
    assert figures["source"] == dataset.source
    assert figures["digest"] == dataset.digest
    assert figures["train"]["shape"] == [7352, 128, 9]
    assert figures["test"]["classes"]["LAYING"] == 537
    assert figures["train"]["classes"]["WALKING"] == 1226
    assert figures["train"]["stretches"] == 600
    assert list(figures["test"]["windows_of_subject"]) == ["2", "4", "9", "10", "12", "13", "18", "20", "24"]
    assert sum(figures["test"]["windows_of_subject"].values()) == 2947
    assert figures["test"]["mean"] == pytest.approx(0.0991399, abs=5e-8)
    assert figures["test"]["std"] == pytest.approx(0.395671, abs=5e-7)
    assert tuple(figures["test"]["channels"]) == CHANNELS
    channel = figures["test"]["channels"]["total_acc_x"]
    values = dataset.test.signals[:, :, 6].astype(np.float64)
    assert channel == {"unit": "g", "mean": pytest.approx(values.mean()), "std": pytest.approx(values.std())}


def test_smoothing_halves_in_its_half_life() -> None:
    step = np.zeros((30, 2), np.float32)
    step[1:] = 1.0
    result = smooth(step, 7.0)
    np.testing.assert_allclose(result[[0, 7, 14, 21], 0], [0.0, 0.5, 0.75, 0.875], rtol=0, atol=1e-12)
    assert np.array_equal(smooth(np.full(5, 3.0)), np.full(5, 3.0))


def test_picture(dataset: Dataset, tmp_path: Path) -> None:
    import matplotlib.image

    path = tmp_path / "examples.png"
    path.write_text("an older one")
    plot_examples(dataset, path)
    height, width, _ = matplotlib.image.imread(path).shape
    assert width > 1200
    assert height > 1000
    assert [file.name for file in tmp_path.iterdir()] == ["examples.png"]


def test_picture_without_some_activities(dataset: Dataset, tmp_path: Path) -> None:
    kept = dataset.train.labels > 3
    fewer = Windows(dataset.train.signals[kept], dataset.train.labels[kept], dataset.train.subjects[kept])
    plot_examples(Dataset(fewer, dataset.test, "", ""), tmp_path / "two.png")
    assert (tmp_path / "two.png").stat().st_size > 10_000


def test_picture_where_none_can_be(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        plot_examples(dataset, tmp_path / "file" / "examples.png")
