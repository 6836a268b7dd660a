"""Plots contain the given numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harexport.errors import InputError
from harexport.evaluation import plots
from harexport.evaluation.metrics import Reliability, SubjectAccuracy, reliability

_LABELS = ("WALKING", "SITTING", "LAYING")
_MATRIX = ((8, 2, 0), (1, 9, 0), (0, 0, 20))


def _texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_confusion_matrix_shows_counts_and_both_percentages() -> None:
    (axes,) = plots.plot_confusion(_MATRIX, _LABELS, "title").axes
    texts = _texts(axes)
    assert texts[0::3] == ["8", "2", "1", "9", "20"]
    assert texts[1::3] == ["80.0%", "20.0%", "10.0%", "90.0%", "100.0%"]
    assert texts[2::3] == ["(20.00%)", "(5.00%)", "(2.50%)", "(22.50%)", "(50.00%)"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["Walking", "Sitting", "Laying"]
    assert axes.get_title(loc="left") == "title"


def _row(windows: int, **values: float | None) -> dict[str, Any]:
    row = {"windows": windows, "loss": 1.0, "accuracy": 0.5, "held_out_loss": None, "held_out_accuracy": None}
    return {**row, **values}


def _curves(axes: Any) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}


def test_curves_of_both_passes_over_windows_seen() -> None:
    watched = [_row(k * 10**6, held_out_loss=2.0 * k, held_out_accuracy=0.1 * k) for k in (1, 2)]
    drawn = plots.plot_training_curves({"held-out pass": watched, "all subjects": [_row(3 * 10**6)]}, "title")
    loss, accuracy = drawn.axes
    assert _curves(loss) == {
        "held-out pass: batches": [1.0, 1.0], "held-out pass: held out": [2.0, 4.0], "all subjects: batches": [1.0],
    }  # fmt: skip
    assert _curves(accuracy)["held-out pass: held out"] == [0.1, 0.2]
    assert list(loss.lines[0].get_xdata()) == [1.0, 2.0]
    assert loss.get_xlabel() == "million windows seen"
    assert loss.lines[-1].get_marker() == "o"  # one point is no line


def test_curves_of_a_coarse_head_and_none_of_a_head_that_is_not_trained() -> None:
    rows = [_row(k, stage=k, coarse_loss=0.1 * k, coarse_accuracy=0.9) for k in (1, 2)]
    loss, _ = plots.plot_training_curves({"all subjects": rows}, "title").axes
    shown = _curves(loss)
    assert shown["all subjects: batches, coarse labels"] == [0.1, 0.2]
    assert np.isnan(shown["all subjects: batches"][0])
    assert shown["all subjects: batches"][1] == 1.0


def test_bars_by_subject_and_group() -> None:
    groups = {
        "held out": {"5": SubjectAccuracy(100, 0.9), "14": SubjectAccuracy(300, 1.0)},
        "test": {"2": SubjectAccuracy(50, 0.97)},
    }
    drawn = plots.plot_subjects(groups, "title")
    (axes,) = drawn.axes
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
    assert tops == pytest.approx([0.9, 1.0, 0.97])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["5\n90.0", "14\n100", "2\n97.0"]
    assert [line.get_label() for line in axes.lines] == [
        "held out: 97.50% of 400 windows", "test: 97.00% of 50 windows",
    ]  # fmt: skip
    floor = axes.get_ylim()[0]
    assert floor < 0.9
    assert f"axis starts at {floor:.0%}" in axes.get_ylabel()


def test_bars_of_an_accuracy_of_0_start_at_0() -> None:
    (axes,) = plots.plot_subjects(
        {"test": {"a-long-name": SubjectAccuracy(3, 0.0), "b": SubjectAccuracy(3, 1.0)}}, ""
    ).axes
    assert axes.get_ylim()[0] == 0
    assert "starts" not in axes.get_ylabel()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a-long-name  0.0", "b  100"]


def _reliability() -> Reliability:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1.0, 500)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    return reliability(probabilities, (random.uniform(size=500) > confidence).astype(np.int64))


def test_reliability_shows_the_bins_and_the_error() -> None:
    one = _reliability()
    drawn = plots.plot_reliability({"held out": [("before", one), ("calibrated", one)], "test": [("", one)]}, "title")
    before, test, _, spread = drawn.axes
    assert [line.get_label() for line in before.lines][1:] == [
        f"before: ECE {one.error:.4f}", f"calibrated: ECE {one.error:.4f}",
    ]  # fmt: skip
    (curve,) = test.lines[1:]
    assert curve.get_label() == f"ECE {one.error:.4f}"
    full = one.windows > 0
    np.testing.assert_allclose(curve.get_ydata(), (one.right / np.maximum(1, one.windows))[full])
    np.testing.assert_allclose(curve.get_xdata(), (one.confidence / np.maximum(1, one.windows))[full])
    assert sum(bar.get_height() for bar in spread.patches) == pytest.approx(1.0)


def test_a_figure_is_complete_or_absent(tmp_path: Path) -> None:
    drawn = plots.plot_confusion(_MATRIX, _LABELS, "title")
    plots.save_figure(drawn, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        plots.save_figure(drawn, tmp_path / "file" / "a.png")


@pytest.mark.parametrize("label", ["$x$", "a$b", r"$\frac$", "$\\", "%_{^", "line\nbreak", "\x1b[2J"])
def test_labels_and_titles_are_no_math(label: str, tmp_path: Path) -> None:
    names = (label, "Sitting", "Laying")
    shares = {name: SubjectAccuracy(10, 0.9) for name in names}
    figures = (
        plots.plot_confusion(_MATRIX, names, label),
        plots.plot_subjects({"test": shares}, label),
        plots.plot_training_curves({label: [_row(1000)]}, label),
    )
    for drawn in figures:
        plots.save_figure(drawn, tmp_path / "a.png")
