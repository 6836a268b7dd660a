"""--target arm64 with a fake emulator: predictions and instruction counts in the result."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest

from harexport import runtimes
from harexport.bench.discovery import find_models
from harexport.bench.report import text
from harexport.bench.report.html import render_html
from harexport.data.dataset import Dataset
from harexport.errors import CheckFailedError, InputError
from harexport.exporters import tflite
from harexport.model.checkpoint import Checkpoint
from harexport.model.layers import Array
from harexport.runtimes.runner import Floats
from harexport.targets.arm64 import bench


@dataclass
class FakeTarget:
    """Predicts as this machine does, except for the files in `wrong` and `dies_of`."""

    wrong: tuple[str, ...] = ()
    dies_of: tuple[str, ...] = ()

    def run(self, path: Path, windows: Array) -> Floats:
        if path.name in self.dies_of:
            raise InputError(f"{path}: the emulated process died (SIGILL)")
        logits = runtimes.load(path).logits(windows)
        return -logits if path.name in self.wrong else np.asarray(logits, np.float32)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    fake = FakeTarget()
    monkeypatch.setattr(bench.emulator, "load", lambda: fake)
    monkeypatch.setattr(bench.emulator, "facts", lambda: {"versions": {"qemu": "10", "ai-edge-litert": "2.3"}})
    counted = SimpleNamespace(median=152_753)
    monkeypatch.setattr(bench.instructions, "instructions", lambda path, windows, target: counted)
    return fake


def test_predictions_and_instructions_in_one_result(ours: Path, target: FakeTarget, made_up: Dataset) -> None:
    result = bench.bench(find_models([ours]), made_up, windows=16)
    assert result.passed
    assert result.target == {
        "kind": "arm64", "device": "cortex-a76, emulated", "versions": "qemu 10, ai-edge-litert 2.3",
    }  # fmt: skip
    assert result.data["test_windows"] == 16
    assert {model.name for model in result.models} == {"edge-float32.onnx", "edge-unrolled-float32.tflite"}
    for model in result.models:
        assert (model.instructions, model.latency, model.ratio, model.cold_start) == (152_753, None, None, None)
        assert model.has_tolerance
        assert model.comparison
        assert model.comparison.agreement == 1.0
    assert (result.baseline, result.conditions, result.instructions_unknown) == (None, None, None)
    schema = json.loads(resources.files("harexport.bench").joinpath("schema.json").read_text("utf-8"))
    jsonschema.validate(json.loads(json.dumps(result.to_dict())), schema)
    for output in (text.format_terminal(result), render_html(result), text.format_pull_request(result)):
        assert "152,753" in output
        assert "cortex-a76" in render_html(result)
        assert "p50" not in text.format_terminal(result)


def test_wrong_predictions_on_arm_fail(ours: Path, target: FakeTarget, made_up: Dataset) -> None:
    target.wrong = ("edge-float32.onnx",)
    result = bench.bench(find_models([ours]), made_up, windows=None)
    assert not result.passed
    assert result.model("edge-float32.onnx").failures
    assert not result.model("edge-unrolled-float32.tflite").failures
    assert result.data["test_windows"] == len(made_up.test)


def test_a_crash_does_not_stop_the_other_files(ours: Path, target: FakeTarget, made_up: Dataset) -> None:
    target.dies_of = ("edge-float32.onnx",)
    result = bench.bench(find_models([ours]), made_up, windows=8)
    assert [model.name for model in result.models] == ["edge-unrolled-float32.tflite"]
    assert "SIGILL" in result.refused[0].reason
    assert result.exit_code == 2


def test_a_share_of_all_windows_is_not_checked_on_a_sample(
    ours: Path, target: FakeTarget, made_up: Dataset, checkpoint: Checkpoint
) -> None:
    facts = {"recipe": "edge", "network_sha256": checkpoint.digest, "scheme": "float16"}
    model = tflite.build(checkpoint.network, checkpoint.contract, facts, "unrolled", "float16")
    path = ours / "edge-unrolled-float16.tflite"
    path.write_bytes(model)
    sampled, whole = (bench.bench(find_models([path]), made_up, windows=count).models[0] for count in (8, None))
    assert (sampled.has_tolerance, whole.has_tolerance) == (False, True)
    assert "--windows all checks it" in sampled.notes[-1]


def test_instructions_that_cannot_be_counted_are_a_note(
    ours: Path, target: FakeTarget, made_up: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*arguments: object) -> None:
        raise CheckFailedError("the log does not add up")

    monkeypatch.setattr(bench.instructions, "instructions", refuses)
    (model, *_) = bench.bench(find_models([ours]), made_up, windows=8).models
    assert model.instructions is None
    assert model.notes[-1] == "its instructions could not be counted: the log does not add up"


def test_without_the_target_nothing_starts(ours: Path, made_up: Dataset, monkeypatch: pytest.MonkeyPatch,
                                             tmp_path: Path) -> None:  # fmt: skip
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path / "no cache"))
    with pytest.raises(InputError, match=r"not set up on this machine.*harexport targets setup arm64"):
        bench.bench(find_models([ours]), made_up)
