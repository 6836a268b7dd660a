"""`train`: passes, metrics, files and reproducibility."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harexport.data import Dataset, Windows
from harexport.errors import InputError
from harexport.evaluation.metrics import calibration_error
from harexport.model import checkpoint as checkpoints
from harexport.model import recipe as recipes
from harexport.model.contract import CHANNELS
from harexport.model.network import Network, softmax
from harexport.training.train import train

from .conftest import small_recipe


@pytest.mark.figures
def test_files_of_a_run(small: Dataset, tmp_path: Path) -> None:
    trained = train(small, small_recipe(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "small.confusion.png", "small.curves.png", "small.history.csv",
        "small.history.json", "small.reliability.png", "small.safetensors", "small.subjects.png",
    ]  # fmt: skip
    assert sorted(trained.pictures) == sorted(tmp_path.glob("*.png"))
    for picture in trained.pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert checkpoints.load(trained.path).digest == trained.checkpoint.digest
    history = json.loads((tmp_path / "small.history.json").read_text())
    assert [len(rows) for rows in history["phases"].values()] == [3, 3]
    assert list(history["phase_seconds"]) == list(trained.phase_seconds) == ["held-out pass", "all subjects"]
    assert history["seconds"] == pytest.approx(trained.seconds, abs=0.06)
    assert trained.seconds > 0
    (tmp_path / "small.history.csv").read_text().index("held-out pass,")


def test_metrics_match_the_saved_network(small: Dataset, tmp_path: Path) -> None:
    trained = train(small, small_recipe(), tmp_path)
    loaded = checkpoints.load(trained.path)
    test, held = loaded.figures["test"], loaded.figures["validation"]
    logits = loaded.network.logits(small.test.signals)
    right = logits.argmax(axis=1) == small.test.labels
    assert test["accuracy"] == right.mean()
    assert np.array(test["confusion"]).sum() == len(small.test)
    assert test["label_recall"] == [right[small.test.labels == k].mean() for k in range(6)]
    assert test["by_subject"] == {"2": {"windows": len(small.test), "accuracy": right.mean()}}
    assert test["ece"] == calibration_error(softmax(logits), small.test.labels)
    assert (test["calibrated"], held["calibrated"], loaded.figures["test_watched"]) == (True, True, False)
    # the held-out pass ends with these figures in its log; torch computed them in float32
    last = json.loads((tmp_path / "small.history.json").read_text())["phases"]["held-out pass"][-1]
    assert held["subjects"] == [3]
    assert list(held["by_subject"]) == ["3"]
    assert held["by_subject"]["3"]["accuracy"] == held["accuracy"] == pytest.approx(last["held_out_accuracy"], abs=0.01)
    assert sum(held["label_recall"]) / 6 > 0.2


def test_report(small: Dataset, tmp_path: Path) -> None:
    report = train(small, small_recipe(), tmp_path).report
    assert "Precision" in report
    assert "% of all windows" in report
    assert re.search(r"^Recall by class +held out +test$", report, re.MULTILINE)
    assert re.search(r"^  LAYING +[\d.]+% +[\d.]+%$", report, re.MULTILINE)
    assert re.search(rf"^  2 +[\d.]+%  of {len(small.test)} windows$", report, re.MULTILINE)
    assert len(re.findall(r"^  (?:held out|test) +0\.\d{4}, before calibration 0\.\d{4}", report, re.MULTILINE)) == 2


def test_training_is_reproducible(small: Dataset, tmp_path: Path) -> None:
    first = train(small, small_recipe(), tmp_path / "a").path.read_bytes()
    assert train(small, small_recipe(), tmp_path / "b").path.read_bytes() == first


def test_test_set_is_evaluated_once_and_has_no_effect(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    logits_of = Network.logits
    monkeypatch.setattr(
        Network, "logits", lambda self, windows, *rest: sizes.append(len(windows)) or logits_of(self, windows)
    )
    trained = train(small, small_recipe(), tmp_path / "a")
    assert sizes == [len(small.train.select_subjects([3])), len(small.test)]
    wrong = replace(small.test, labels=(small.test.labels + 1) % 6, signals=small.test.signals[::-1].copy())
    blind = train(replace(small, test=wrong), small_recipe(), tmp_path / "b")
    assert blind.checkpoint.digest == trained.checkpoint.digest


def test_watch_test_marks_the_checkpoint(small: Dataset, tmp_path: Path) -> None:
    watched = train(small, small_recipe(), tmp_path / "a", watch_test=True)
    assert watched.checkpoint.figures["test_watched"] is True
    history = json.loads((tmp_path / "a" / "small.history.json").read_text())
    assert history["phases"]["all subjects"][0]["test_accuracy"] is not None
    assert watched.checkpoint.digest == train(small, small_recipe(), tmp_path / "b").checkpoint.digest


@pytest.mark.figures
def test_without_test_windows(small: Dataset, tmp_path: Path) -> None:
    none = replace(
        small.test, signals=small.test.signals[:0], labels=small.test.labels[:0], subjects=small.test.subjects[:0]
    )
    trained = train(replace(small, test=none), small_recipe(), tmp_path / "a", watch_test=True)
    assert trained.checkpoint.figures["test"] is None
    assert trained.checkpoint.figures["validation"]["accuracy"] > 0.2
    assert "On the held out windows" in trained.report
    assert len(trained.pictures) == 4
    alone = train(replace(small, test=none), small_recipe(validation={"subjects": []}), tmp_path / "b")
    assert "accuracy is unknown" in alone.report
    assert [path.name for path in alone.pictures] == ["small.curves.png"]


def test_held_out_subjects_of_the_dataset(small: Dataset, tmp_path: Path) -> None:
    names = ("anna", "ben", "carla")
    own = replace(small, held_out=(1,), subject_names=names)
    figures = train(own, small_recipe(), tmp_path).checkpoint.figures
    assert figures["validation"]["subjects"] == [1]
    assert list(figures["validation"]["by_subject"]) == ["anna"]
    assert list(figures["test"]["by_subject"]) == ["ben"]


def test_missing_device(small: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no device 'tpu' here; valid: auto, cpu"):
        train(small, small_recipe(), tmp_path, device="tpu")


def test_device_auto(small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    trained = train(small, small_recipe(schedule={"epochs": 1}), tmp_path, device="auto")
    assert trained.checkpoint.figures["device"] == expected
    assert f"on {expected}" in capsys.readouterr().err


def test_coarse_head(small: Dataset, tmp_path: Path) -> None:
    model = {"cell": "gru", "layers": 1, "coarse": [0, 1, 1, 3, 3, 5]}
    recipe = small_recipe(model=model, schedule={"epochs": 1, "coarse_epochs": 1})
    trained = train(small, recipe, tmp_path)
    assert trained.checkpoint.contract.coarse_labels[1] == "WALKING_UPSTAIRS_OR_WALKING_DOWNSTAIRS"
    coarse = trained.checkpoint.network.logits(small.test.signals, head="coarse").argmax(axis=1)
    truth = np.array([0, 1, 1, 3, 3, 5])[small.test.labels]
    assert trained.checkpoint.figures["coarse"]["test"]["accuracy"] == (coarse == truth).mean()
    assert "Accuracy on the coarse labels: test" in trained.report
    assert checkpoints.load(trained.path).contract == trained.checkpoint.contract


def test_one_pass_without_held_out_subjects(small: Dataset, tmp_path: Path) -> None:
    trained = train(small, small_recipe(validation={"subjects": []}), tmp_path)
    assert trained.checkpoint.figures["validation"] is None
    assert list(json.loads((tmp_path / "small.history.json").read_text())["phases"]) == ["all subjects"]


def test_output_folder_is_checked_before_training(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("harexport.training.trainer.fit", lambda *_, **__: pytest.fail("trained first"))
    with pytest.raises(InputError, match="cannot write to"):
        train(small, small_recipe(), tmp_path / "file" / "out")


def test_edge_accuracy_after_four_epochs(dataset: Dataset, tmp_path: Path) -> None:
    """Four epochs of the shipped recipe; chance is 18 %."""
    table = recipes.load("edge").to_dict()
    table["schedule"]["epochs"] = 4
    table["validation"]["subjects"] = []
    trained = train(dataset, recipes.parse(table, "edge"), tmp_path)
    assert trained.checkpoint.figures["test"]["accuracy"] > 0.88


def test_missing_label(small: Dataset, tmp_path: Path) -> None:
    keep = small.train.labels != 5
    some = Windows(small.train.signals[keep], small.train.labels[keep], small.train.subjects[keep])
    trained = train(replace(small, train=some), small_recipe(), tmp_path)
    assert trained.checkpoint.network.num_labels == 6


def test_recipe_with_fewer_channels(small: Dataset, tmp_path: Path) -> None:
    channels = [name for name in CHANNELS if "gyro" not in name]
    checkpoint = train(small, small_recipe(data={"channels": channels}), tmp_path).checkpoint
    assert checkpoint.contract.channels == tuple(channels)
    assert checkpoint.contract.units == ("g",) * 6
    loaded = checkpoints.load(tmp_path / "small.safetensors")
    predicted = loaded.network.logits(small.test.signals[:, :, [0, 1, 2, 6, 7, 8]]).argmax(axis=1)
    assert loaded.figures["test"]["accuracy"] == (predicted == small.test.labels).mean()
