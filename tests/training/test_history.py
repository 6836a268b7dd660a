"""Training log as a table and in TensorBoard."""

from __future__ import annotations

import csv
import dataclasses
import sys
from pathlib import Path

import pytest

from harexport.data import Dataset
from harexport.errors import InputError, MissingExtraError
from harexport.training.history import LogEntry, TensorBoardLog, to_table
from harexport.training.train import train

from .conftest import small_recipe


def _rows(count: int, held: bool = True) -> list[LogEntry]:
    return [
        LogEntry(100 * k, k / 2, 1 / (k + 1), k / 10, 0.01, *(("held_out", 0.5, 0.25) if held else ()))
        for k in range(1, count + 1)
    ]


def test_columns_of_the_table() -> None:
    phases = {"held-out pass": _rows(3), "all subjects": _rows(2, held=False)}
    columns, rows = to_table(phases)
    lines = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [line["phase"] for line in lines] == ["held-out pass"] * 3 + ["all subjects"] * 2
    assert columns == [
        "phase", "windows", "epoch", "loss", "accuracy", "held_out_loss", "held_out_accuracy", "learning_rate",
    ]  # fmt: skip
    assert [line["loss"] for line in lines[:3]] == [row.loss for row in _rows(3)]
    assert [line["held_out_loss"] for line in lines] == [0.5] * 3 + [None] * 2
    staged = [dataclasses.replace(row, stage=1, coarse_loss=0.5) for row in _rows(1)]
    assert to_table({"held-out pass": staged})[0][-3:] == ["learning_rate", "stage", "coarse_loss"]


def _shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the steps and values of every curve that TensorBoard reads."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def test_tensorboard_reads_every_entry(small: Dataset, tmp_path: Path) -> None:
    trained = train(small, small_recipe(), tmp_path, tensorboard=True)
    lines = list(csv.DictReader((tmp_path / "small.history.csv").read_text().splitlines()))
    folder = tmp_path / "small.tensorboard"
    assert sorted(path.name for path in folder.iterdir()) == ["all-subjects", "held-out-pass"]
    for phase, held in (("held-out pass", True), ("all subjects", False)):
        shown = _shown(folder / phase.replace(" ", "-"))
        tags = {"loss", "accuracy", "learning_rate"} | ({"held_out_loss", "held_out_accuracy"} if held else set())
        assert set(shown) == tags
        of_phase = [line for line in lines if line["phase"] == phase]
        for tag in tags:
            assert [step for step, _ in shown[tag]] == [int(line["windows"]) for line in of_phase]
            assert [value for _, value in shown[tag]] == pytest.approx([float(line[tag]) for line in of_phase])
    plain = train(small, small_recipe(), tmp_path / "plain")
    assert plain.path.read_bytes() == trained.path.read_bytes()


def test_repeated_entries_replace_earlier_ones(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.begin("held-out pass", 0)
    for row in _rows(5):
        log.add("held-out pass", row)
    log.close()
    log.begin("held-out pass", 301)  # resumed after 300 windows
    for row in _rows(6)[3:]:
        log.add("held-out pass", dataclasses.replace(row, loss=-1.0))
    log.close()
    expected = [row.loss for row in _rows(3)] + [-1.0] * 3
    assert [value for _, value in _shown(tmp_path / "held-out-pass")["loss"]] == pytest.approx(expected)
    log = TensorBoardLog(tmp_path)
    log.begin("held-out pass", 0)
    log.add("held-out pass", _rows(1)[0])
    log.close()
    assert _shown(tmp_path / "held-out-pass")["loss"] == [(100, 0.5)]


def test_missing_tensorboard(small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harexport.training.trainer.fit", lambda *_, **__: pytest.fail("trained first"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    install = r"pip install -c constraints.txt '\.\[logging\]'"
    with pytest.raises(MissingExtraError, match=rf"--tensorboard needs tensorboard.*{install}"):
        train(small, small_recipe(), tmp_path / "out", tensorboard=True)


def test_log_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "small.tensorboard").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*small\.tensorboard"):
        TensorBoardLog(tmp_path / "small.tensorboard")


def test_full_disk_disables_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    log = TensorBoardLog(tmp_path)
    log.begin("all subjects", 0)
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.flush", fail)
    for entry in _rows(3):
        log.add("all subjects", entry)
    monkeypatch.undo()
    log.close()
    messages = capsys.readouterr().err
    assert messages.count("No space left on device. Training continues without TensorBoard") == 1


def test_columns_of_test_metrics() -> None:
    entry = dataclasses.replace(_rows(1)[0], eval_set="test")
    assert to_table({"all subjects": [entry]})[0][5:7] == ["test_loss", "test_accuracy"]
    assert "test: loss 0.5000" in entry.format()
