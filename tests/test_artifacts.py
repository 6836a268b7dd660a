"""The published files: their figures are current, and every file is within its tolerance on the real test set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from artifacts import build
from benchmarks import ship_pretrained
from harexport import runtimes
from harexport.data import Dataset
from harexport.evaluation.comparison import Predictions, check_tolerance, compare
from harexport.exporters import options
from harexport.exporters.export import ExportResult, export_checkpoint
from harexport.formats import structure
from harexport.model import checkpoint as checkpoints
from harexport.model import recipe as recipes
from harexport.model.contract import Contract
from harexport.utils.files import read_json

_ROOT = Path(__file__).resolve().parents[1]
_LEAST = {"edge": 0.979, "edge-tiny": 0.976, "baseline-lstm": 0.89, "baseline-gru": 0.88}
_EXPORTS = json.loads((_ROOT / "benchmarks" / "exports.json").read_text("utf-8"))


def _files(name: str, *, refused: bool = False) -> set[str]:
    """The model files that the network of a recipe allows, with those that failed their checks if `refused`."""
    network = checkpoints.load(ship_pretrained.checkpoint_path(name)).network
    found = {
        form.file_name(name)
        for fmt, lowering, schemes in build.export_plan(network)
        for form in options.resolve_all(network, fmt, schemes, lowering, 1, "float32")
    }
    return found if refused else found - {one["path"] for one in _EXPORTS[name] if "refused" in one}


@pytest.mark.parametrize("name", _LEAST)
def test_published_models_are_within_their_tolerance_on_all_test_windows(name: str, dataset: Dataset) -> None:
    folder = _ROOT / "artifacts" / name
    checkpoint = checkpoints.load(folder / f"{name}.safetensors")
    expected = checkpoint.network.logits(dataset.test.signals)
    accuracy = (expected.argmax(axis=1) == dataset.test.labels).mean()
    assert accuracy == checkpoint.figures["test"]["accuracy"]
    assert accuracy >= _LEAST[name]
    assert checkpoint.figures["test_watched"] is False
    assert checkpoint.recipe == recipes.load(name), "the recipe changed since: make artifacts"
    assert Contract.from_dict(read_json(folder / "contract.json", "contract"), "contract.json") == checkpoint.contract
    for file in _files(name):
        runner = runtimes.load(folder / file)
        assert runner.metadata["network_sha256"] == checkpoint.digest
        predictions = Predictions(file, "logits", runner.logits(dataset.test.signals))
        compared = compare(predictions, Predictions("reference", "logits", expected), dataset.test.labels)
        assert not check_tolerance(compared, runner.metadata["scheme"]), file


def test_figures_are_those_of_the_shipped_files() -> None:
    measured = json.loads((_ROOT / "benchmarks" / "summary.json").read_text("utf-8"))
    assert measured["bench"]["passed"]
    for reference in measured["bench"]["references"]:
        name = reference["recipe"]
        checkpoint = checkpoints.load(_ROOT / "artifacts" / name / f"{name}.safetensors")
        assert reference["digest"] == checkpoint.digest, "the artifacts changed since: make bench"
        assert reference["figures"]["confusion"] == checkpoint.figures["test"]["confusion"]
    sizes = {model["file"]: model["size_bytes"] for model in measured["bench"]["models"] if model["file"]}
    assert set(sizes) <= {file for name in _LEAST for file in _files(name)}
    assert {f"{name}-unrolled-int8-weights.tflite" for name in _LEAST} <= set(sizes)
    for file, size in sizes.items():
        (path,) = (_ROOT / "artifacts").glob(f"*/{file}")
        assert path.stat().st_size == size
    assert measured["costs"]["quick_training"]["held_out_accuracy"] > 0.9165  # the published LSTM's, on its test
    assert measured["costs"]["quick_training"]["seconds"] < 20
    assert measured["costs"]["help_seconds"] < 0.3
    assert measured["costs"]["cached_load_seconds"] < 0.2
    for fmt in ("onnx", "tflite"):
        assert measured["costs"][f"export_{fmt}"]["seconds"] < 1
        assert measured["costs"][f"export_{fmt}"]["megabytes"] < 300


def test_variants_of_the_recipe_were_compared_on_held_out_subjects() -> None:
    tried = json.loads((_ROOT / "benchmarks" / "recipes.json").read_text("utf-8"))
    for last in (tried["rounds"]["third"], tried["rounds"]["fourth"]):
        assert last["recipe"] == recipes.load("edge").to_dict(), "the recipe changed since it was chosen"
        for variant in last["variants"].values():
            if runs := variant.get("runs"):
                assert variant["mean"] == pytest.approx(np.mean([run["folds"] for run in runs.values()]), abs=0.01)


def test_recorded_exports_match_the_published_files() -> None:
    """Every format is published, or its failed checks are recorded."""
    assert set(_EXPORTS) == set(_LEAST) == set(ship_pretrained.load_checkpoints())
    for name, results in _EXPORTS.items():
        assert {one["path"] for one in results} == _files(name, refused=True)
        for one in results:
            path = _ROOT / "artifacts" / name / one["path"]
            if "refused" in one:
                assert not path.exists()
            else:
                assert path.stat().st_size == one["size_bytes"], "the artifacts changed since: make artifacts"
                assert one["checks"]["parity"]["failures"] == []


def test_this_code_writes_the_published_files(tmp_path: Path, dataset: Dataset) -> None:
    """Operators and predictions are the same; the last digits of folded weights depend on the processor."""
    folder = _ROOT / "artifacts" / "edge"
    checkpoint = checkpoints.load(folder / "edge.safetensors")
    for fmt, lowering in (("onnx", "auto"), ("tflite", "unrolled"), ("tflite", "fused")):
        for result in export_checkpoint(checkpoint, tmp_path, dataset, fmt, ["float32"], lowering):
            assert isinstance(result, ExportResult)
            shipped = folder / result.path.name
            assert structure.read_structure(shipped.read_bytes(), fmt, shipped.name).ops == result.ops, "make artifacts"
            logits = [runtimes.load(path).logits(dataset.test.signals[:200]) for path in (shipped, result.path)]
            assert np.abs(logits[0] - logits[1]).max() < 1e-5
