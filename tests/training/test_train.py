"""`train`: two passes, the test set once, one checkpoint; interruptible, resumable, repeatable to the byte."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harexport import files
from harexport.contract import CHANNELS
from harexport.data import Dataset, Windows
from harexport.errors import InputError
from harexport.network import Network
from harexport.training import checkpoint as checkpoints
from harexport.training import recipe as recipes
from harexport.training.train import _Progress, resume_path, train

from .conftest import small_recipe


def test_a_run_leaves_checkpoint_history_and_pictures(small: Dataset, tmp_path: Path) -> None:
    trained = train(small, small_recipe(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "small.confusion.png", "small.curves.png", "small.history.json", "small.safetensors",
    ]  # fmt: skip
    loaded = checkpoints.load(trained.path)
    assert loaded.digest == trained.checkpoint.digest
    history = json.loads((tmp_path / "small.history.json").read_text())
    assert [len(rows) for rows in history["phases"].values()] == [3, 3]
    test = loaded.figures["test"]
    answers = loaded.network.logits(small.test.signals).argmax(axis=1)
    assert test["accuracy"] == (answers == small.test.labels).mean()
    assert np.array(test["confusion"]).sum() == len(small.test)
    assert loaded.figures["validation"]["subjects"] == [3]
    assert loaded.figures["test_watched"] is False
    assert "Precision" in trained.report
    assert "% of the test data" in trained.report
    for picture in trained.pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_same_run_gives_the_same_bytes(small: Dataset, tmp_path: Path) -> None:
    first = train(small, small_recipe(), tmp_path / "a").path.read_bytes()
    assert train(small, small_recipe(), tmp_path / "b").path.read_bytes() == first


def test_the_test_set_is_answered_once_and_decides_nothing(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    answer = Network.logits
    monkeypatch.setattr(
        Network, "logits", lambda self, windows, *rest: asked.append(len(windows)) or answer(self, windows)
    )
    trained = train(small, small_recipe(), tmp_path / "a")
    assert asked == [len(small.test)]
    wrong = replace(small.test, labels=(small.test.labels + 1) % 6, signals=small.test.signals[::-1].copy())
    blind = train(replace(small, test=wrong), small_recipe(), tmp_path / "b")
    assert blind.checkpoint.digest == trained.checkpoint.digest


def test_watching_the_test_set_marks_the_run_and_changes_nothing_else(small: Dataset, tmp_path: Path) -> None:
    watched = train(small, small_recipe(), tmp_path / "a", watch_test=True)
    assert watched.checkpoint.figures["test_watched"] is True
    history = json.loads((tmp_path / "a" / "small.history.json").read_text())
    assert history["phases"]["all subjects"][0]["held_out_accuracy"] is not None
    assert watched.checkpoint.digest == train(small, small_recipe(), tmp_path / "b").checkpoint.digest


def test_without_held_out_subjects_there_is_one_pass(small: Dataset, tmp_path: Path) -> None:
    trained = train(small, small_recipe(validation={"subjects": []}), tmp_path)
    assert trained.checkpoint.figures["validation"] is None
    assert list(json.loads((tmp_path / "small.history.json").read_text())["phases"]) == ["all subjects"]


@pytest.mark.parametrize("reports", [1, 2, 4, 5])
def test_interrupted_anywhere_it_resumes_to_the_same_bytes(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(small, small_recipe(), tmp_path / "whole").path.read_bytes()
    original, seen = _Progress.reporter, []

    def impatient(self: _Progress, phase: str):  # type: ignore[no-untyped-def]
        report = original(self, phase)

        def counting(*state: object) -> None:
            report(*state)
            seen.append(phase)
            if len(seen) == reports:
                raise KeyboardInterrupt

        return counting

    monkeypatch.setattr(_Progress, "reporter", impatient)
    with pytest.raises(KeyboardInterrupt):
        train(small, small_recipe(), tmp_path / "cut")
    monkeypatch.undo()
    assert "--resume" in capsys.readouterr().err
    assert not (tmp_path / "cut" / "small.safetensors").exists()
    assert resume_path(tmp_path / "cut", small_recipe()).exists()
    assert train(small, small_recipe(), tmp_path / "cut", resume=True).path.read_bytes() == whole
    assert not resume_path(tmp_path / "cut", small_recipe()).exists()


def test_interrupted_after_the_last_epoch_nothing_is_lost(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(small, small_recipe(), tmp_path / "whole").path.read_bytes()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harexport.training.train._pictures", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(small, small_recipe(), tmp_path / "cut")
    monkeypatch.undo()
    assert train(small, small_recipe(), tmp_path / "cut", resume=True).path.read_bytes() == whole


def test_a_state_of_other_shapes_is_refused(small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(_Progress, "reporter", lambda self, phase: _save_and_stop(self, phase))
    with pytest.raises(KeyboardInterrupt):
        train(small, small_recipe(), tmp_path)
    monkeypatch.undo()
    state = resume_path(tmp_path, small_recipe())
    whole = torch.load(state, weights_only=True)
    for damage in ({"model": {}}, {"optimiser": {}}):
        torch.save({**whole, "state": {**whole["state"], **damage}}, state)
        with pytest.raises(InputError, match="not one of this recipe"):
            train(small, small_recipe(), tmp_path, resume=True)
    torch.save({**whole, "fingerprint": []}, state)
    with pytest.raises(InputError, match="cannot be resumed"):
        train(small, small_recipe(), tmp_path, resume=True)


def test_what_cannot_end_well_is_said_before_training(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harexport.training.loop.fit", lambda *_, **__: pytest.fail("trained first"))
    (tmp_path / "small.safetensors").mkdir()
    with pytest.raises(InputError, match=r"small\.safetensors is a folder"):
        train(small, small_recipe(), tmp_path)
    with pytest.raises(InputError, match="holds out every training subject"):
        train(small, small_recipe(validation={"subjects": [1, 3]}), tmp_path / "out")


def test_interrupted_at_once_nothing_is_promised(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harexport.training.loop.fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(small, small_recipe(), tmp_path)
    assert "nothing to save yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_resume_refuses_what_does_not_fit(small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="nothing to resume"):
        train(small, small_recipe(), tmp_path, resume=True)
    monkeypatch.setattr(_Progress, "reporter", lambda self, phase: _save_and_stop(self, phase))
    with pytest.raises(KeyboardInterrupt):
        train(small, small_recipe(), tmp_path)
    monkeypatch.undo()
    with pytest.raises(InputError, match="another recipe;"):
        train(small, small_recipe(schedule={"epochs": 4}), tmp_path, resume=True)
    with pytest.raises(InputError, match="another seed;"):
        train(small, small_recipe(), tmp_path, seed=1, resume=True)
    with pytest.raises(InputError, match="another data;"):
        train(replace(small, digest="f" * 64), small_recipe(), tmp_path, resume=True)
    state = resume_path(tmp_path, small_recipe())
    kept = state.read_bytes()
    state.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(InputError, match="cannot be resumed"):
        train(small, small_recipe(), tmp_path, resume=True)


def _save_and_stop(progress: _Progress, phase: str):  # type: ignore[no-untyped-def]
    def report(row: object, state: object, steps: int) -> None:
        progress._current = (phase, state)  # type: ignore[assignment]
        raise KeyboardInterrupt

    return report


def test_a_full_disk_loses_nothing(small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = train(small, small_recipe(), tmp_path).path.read_bytes()

    def full(path: object, data: bytes) -> None:
        with files.replacing(path) as temporary:  # type: ignore[arg-type]
            temporary.write_bytes(data[:100])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        train(small, small_recipe(), tmp_path, seed=1)
    assert (tmp_path / "small.safetensors").read_bytes() == earlier
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_folder_that_cannot_be_written_is_said_before_training(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("harexport.training.loop.fit", lambda *_, **__: pytest.fail("trained first"))
    with pytest.raises(InputError, match="cannot write to"):
        train(small, small_recipe(), tmp_path / "file" / "out")


def test_held_out_subjects_must_exist(small: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no windows of subject \[4\]; the subjects here are \[1, 3\]"):
        train(small, small_recipe(validation={"subjects": [4]}), tmp_path)


def test_edge_learns_real_data_in_seconds(dataset: Dataset, tmp_path: Path) -> None:
    """The shipped recipe, cut to four epochs: below what it can do, far above chance (18 %)."""
    table = recipes.load("edge").to_dict()
    table["schedule"]["epochs"] = 4
    table["validation"]["subjects"] = []
    trained = train(dataset, recipes.parse(table, "edge"), tmp_path)
    assert trained.checkpoint.figures["test"]["accuracy"] > 0.88


def test_windows_without_one_of_the_labels_still_train(small: Dataset, tmp_path: Path) -> None:
    keep = small.train.labels != 5
    some = Windows(small.train.signals[keep], small.train.labels[keep], small.train.subjects[keep])
    trained = train(replace(small, train=some), small_recipe(), tmp_path)
    assert trained.checkpoint.network.labels == 6


def test_a_recipe_with_fewer_channels_makes_a_model_whose_contract_says_so(small: Dataset, tmp_path: Path) -> None:
    channels = [name for name in CHANNELS if "gyro" not in name]
    checkpoint = train(small, small_recipe(data={"channels": channels}), tmp_path).checkpoint
    assert checkpoint.contract.channels == tuple(channels)
    assert checkpoint.contract.units == ("g",) * 6
    loaded = checkpoints.load(tmp_path / "small.safetensors")
    answers = loaded.network.logits(small.test.signals[:, :, [0, 1, 2, 6, 7, 8]]).argmax(axis=1)
    assert loaded.figures["test"]["accuracy"] == (answers == small.test.labels).mean()
