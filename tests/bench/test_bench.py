"""Benchmarks on synthetic windows: exported files checked against their tolerance, third-party files compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harexport.bench.candidates import prepare_benchmark
from harexport.bench.discovery import find_models
from harexport.bench.result import BenchResult
from harexport.bench.run import bench
from harexport.cli import main
from harexport.commands import bench as command
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.evaluation.statistics import Interval
from harexport.exporters import locations
from harexport.model.checkpoint import Checkpoint
from tests.helpers import third_party_models


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of third-party files that compute the same."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "a-dense.tflite").write_bytes(third_party_models.tflite())
    (folder / "b-softmax.tflite").write_bytes(third_party_models.tflite(softmax=True, signature=[-1, 128, 9]))
    (folder / "c-gemm.onnx").write_bytes(third_party_models.onnx())
    return folder


def harexport(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["bench", *(str(argument) for argument in arguments)])


@pytest.fixture
def cli_data(monkeypatch: pytest.MonkeyPatch, made_up: Dataset) -> None:
    monkeypatch.setattr(command, "load_data", lambda path: made_up)


@pytest.mark.serial
def test_third_party_files_are_compared_with_the_first(theirs: Path, made_up: Dataset) -> None:
    result = bench(find_models([theirs]), made_up)
    dense, softmax, gemm = result.models
    assert result.passed
    assert result.exit_code == 0
    assert result.baseline == "a-dense.tflite"
    assert result.references == ()
    assert not any(model.has_tolerance or model.failures for model in result.models)
    assert dense.comparison is None, "with itself"
    assert dense.figures
    assert dense.figures.accuracy == 0.75
    for model in (softmax, gemm):
        assert model.comparison
        assert model.comparison.reference == "a-dense.tflite"
        assert model.comparison.agreement == 1.0
        assert model.comparison.max_logit_difference is not None
        assert model.comparison.max_logit_difference < 1e-4
    assert softmax.comparison
    assert softmax.comparison.quantity == "logarithms of probabilities"
    assert softmax.notes == ("outputs probabilities only; their logarithms are compared instead of logits",)
    assert [len(model.throughput) for model in result.models] == [1, 3, 3], "of those that take any number of windows"
    assert gemm.throughput[-1].windows_per_second > 3 * gemm.throughput[0].windows_per_second


@pytest.mark.serial
def test_every_value_of_a_file_is_measured(theirs: Path, made_up: Dataset) -> None:
    (theirs / "b-softmax.tflite").unlink()
    result = bench(find_models([theirs]), made_up, threads=(1, 2))
    for model in result.models:
        assert model.latency
        assert model.latency.runs >= 1000
        assert 0 < model.latency.min <= model.latency.low <= model.latency.p50 <= model.latency.high
        assert model.macs == 6 * 128 * 9
        assert model.macs_per_second == pytest.approx(model.macs / model.latency.p50 * 1e6)
        assert list(model.threads) == ["2"]
        assert model.cold_start
        assert model.cold_start.load_ms > 0
        assert model.size_bytes == (theirs / model.name).stat().st_size
        if model.cold_start.peak_bytes is not None:  # Linux
            assert model.cold_start.peak_bytes > 2e7
            assert 0 <= (model.cold_start.model_bytes or 0) < model.cold_start.peak_bytes
    dense, gemm = result.models
    assert dense.arena_bytes
    assert 128 * 9 * 4 <= dense.arena_bytes < 128 * 9 * 4 + 200, "the window and six numbers"
    assert gemm.arena_bytes is None
    assert set(result.overheads) == {"LiteRT", "ONNX Runtime"}
    assert gemm.latency
    assert result.overheads["ONNX Runtime"].p50 < gemm.latency.p50 * 1.5
    assert result.machine["threads"] == 1
    assert "arm64" in (result.instructions_unknown or "")


def test_only_exported_files_have_a_tolerance(ours: Path, theirs: Path, made_up: Dataset) -> None:
    result = bench(find_models([ours, theirs / "c-gemm.onnx"]), made_up)
    named = {model.name: model for model in result.models}
    assert [name for name, model in named.items() if model.has_tolerance] == [
        "edge-float32.onnx", "edge-unrolled-float32.tflite", "edge in torch",
    ]  # fmt: skip
    assert result.passed
    assert result.baseline == "edge-float32.onnx"
    assert {model.comparison.reference for model in result.models if model.comparison} == {"edge in float64"}
    third_party = named["c-gemm.onnx"].comparison
    assert third_party
    assert third_party.agreement < 0.9
    assert third_party.disagreements
    assert named["edge-unrolled-float32.tflite"].lowering == "unrolled"


def test_an_exceeded_tolerance_is_explained(ours: Path, made_up: Dataset, checkpoint: Checkpoint) -> None:
    """Wrong weights in a file that names the checkpoint."""
    from dataclasses import replace

    from harexport.exporters import onnx

    layer = checkpoint.network.lstm[1]
    wrong = replace(layer, recurrent_weight=layer.recurrent_weight * np.float32(0.5))
    network = checkpoint.network.replace(recurrent_layers=(checkpoint.network.recurrent_layers[0], wrong))
    facts = {"recipe": "edge", "network_sha256": checkpoint.digest, "scheme": "float32"}
    (ours / "edge-float32.onnx").write_bytes(onnx.build(network, checkpoint.contract, facts))
    result = bench(find_models([ours]), made_up)
    wrong_file = result.model("edge-float32.onnx")
    assert not result.passed
    assert result.exit_code == 1
    assert "logits differ by up to" in wrong_file.failures[0]
    assert wrong_file.divergence
    assert (wrong_file.divergence.layer, wrong_file.divergence.step) == (1, 1)
    assert result.model("edge-unrolled-float32.tflite").divergence is None


def test_against_a_file_of_the_same_name(ours: Path, tmp_path: Path, cli_data: None) -> None:
    new = tmp_path / "new" / "edge-unrolled-float32.tflite"
    new.parent.mkdir()
    new.write_bytes((ours / "edge-unrolled-float32.tflite").read_bytes())
    old = ours / "edge-unrolled-float32.tflite"
    rules = ("--fail-if", "p50>3x", "--fail-if", "accuracy<-0.2", "--fail-if", "size>1x")
    ran = harexport(new, "--against", old, *rules, "--out", tmp_path / "out", "--json")
    assert ran.exit_code == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert {model["name"] for model in document["models"] if model["file"]} == {
        "new/edge-unrolled-float32.tflite", "ours/edge-unrolled-float32.tflite",
    }  # fmt: skip
    assert document["baseline"] == document["against"] == "ours/edge-unrolled-float32.tflite"
    assert document["thresholds"]["violations"] == []
    first = next(model for model in document["models"] if model["name"].startswith("new/"))
    assert first["against"]["reference"] == "ours/edge-unrolled-float32.tflite"
    assert first["against"]["agreement"] == 1.0
    assert first["comparison"]["reference"] == "edge in float64"


def test_against_replaces_a_missing_checkpoint(ours: Path, theirs: Path, made_up: Dataset) -> None:
    (ours / "edge.safetensors").unlink()
    with pytest.raises(InputError, match=r"Give its .safetensors, .* --against"):
        bench(find_models([ours / "edge-float32.onnx"]), made_up)
    result = bench(find_models([ours / "edge-float32.onnx"], theirs / "c-gemm.onnx"), made_up)
    assert [(model.name, model.has_tolerance) for model in result.models] == [
        ("edge-float32.onnx", False), ("c-gemm.onnx", False),
    ]  # fmt: skip
    assert result.models[0].comparison
    assert result.models[0].comparison.reference == "c-gemm.onnx"


def test_nothing_is_compared_with_a_file_that_cannot_be_measured(
    theirs: Path, tmp_path: Path, made_up: Dataset
) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(third_party_models.tflite()[:3000])
    with pytest.raises(InputError, match=r"nothing can be compared with --against: cut.tflite is damaged"):
        bench(find_models([theirs / "c-gemm.onnx"], cut), made_up)


def test_weights_beside_an_onnx_file_are_found_and_counted(tmp_path: Path, made_up: Dataset) -> None:
    import onnx

    model = onnx.load_from_string(third_party_models.onnx())
    path = tmp_path / "split.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="split.weights", size_threshold=0)
    (measured,) = bench(find_models([path]), made_up).models
    assert measured.figures
    assert measured.figures.accuracy == 0.75
    assert measured.size_bytes == path.stat().st_size + (tmp_path / "split.weights").stat().st_size


def test_explain_of_a_third_party_file_with_a_checkpoint(ours: Path, tmp_path: Path, cli_data: None) -> None:
    """A conversion of our network without metadata."""
    from harexport.exporters import tflite
    from harexport.model import checkpoint as checkpoints

    known = checkpoints.load(ours / "edge.safetensors")
    lone = tmp_path / "converted.tflite"
    lone.write_bytes(tflite.build(known.network, known.contract, {}, "fused"))
    arguments = (lone, "--against", ours / "edge.safetensors", "--explain", lone, "--out", tmp_path / "out")
    ran = harexport(*arguments)
    assert ran.exit_code == 0, ran.stderr
    assert "All states of all layers" in ran.stdout
    assert "Divergence of activations" in (tmp_path / "out" / "report.html").read_text("utf-8")
    refused = harexport(lone, "--explain", lone, "--out", tmp_path / "none")
    assert refused.exit_code == 2
    assert "the activations cannot be compared" in refused.stderr


def test_a_baseline_of_an_earlier_run(theirs: Path, tmp_path: Path, cli_data: None) -> None:
    first = harexport(theirs, "--out", tmp_path / "first")
    assert first.exit_code == 0, first.stderr
    out, baseline = tmp_path / "second", tmp_path / "first" / "bench.json"
    (theirs / "c-gemm.onnx").write_bytes(third_party_models.onnx(weight=-third_party_models.WEIGHT))
    files = ("--html", out / "page.html", "--markdown", out / "pr.md")
    ran = harexport(
        theirs, "--baseline", baseline, "--fail-if", "accuracy<-0.2", "--fail-if", "size>1.1x", *files, "--out", out
    )
    assert ran.exit_code == 1, ran.stderr
    assert "FAILED accuracy<-0.2: c-gemm.onnx: accuracy is" in ran.stdout
    assert ran.stdout.count("FAILED") == 1
    assert sorted(path.name for path in out.iterdir()) == ["bench.json", "page.html", "pr.md"]
    assert "### ❌ harexport bench: 3 models were compared" in (out / "pr.md").read_text("utf-8")


def test_a_checkpoint_alone_is_measured_in_torch(ours: Path, made_up: Dataset) -> None:
    (model,) = bench(find_models([ours / "edge.safetensors"]), made_up).models
    assert (model.name, model.runtime, model.file, model.failures) == ("edge in torch", "PyTorch", None, ())


@pytest.mark.serial
def test_two_runs_agree_within_their_intervals(theirs: Path, made_up: Dataset) -> None:
    """Intervals of the ratio overlap. The third run is for a machine with other load."""
    (theirs / "b-softmax.tflite").unlink()
    ratios: list[Interval] = []
    for _ in range(3):
        ratios.append(_ratio(bench(find_models([theirs]), made_up)))
        if any(one.low <= ratios[-1].high and ratios[-1].low <= one.high for one in ratios[:-1]):
            return
    pytest.fail(f"no two of three runs agree: {ratios}")


def _ratio(result: BenchResult) -> Interval:
    ratio = result.model("c-gemm.onnx").ratio
    assert ratio
    return ratio


def test_the_checkpoint_is_found_where_export_recorded_it(
    ours: Path, made_up: Dataset, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path / "cache"))
    elsewhere = tmp_path / "elsewhere" / "edge.safetensors"
    elsewhere.parent.mkdir()
    (ours / "edge.safetensors").rename(elsewhere)
    found = find_models([ours / "edge-float32.onnx"])
    with pytest.raises(InputError, match="the checkpoint it was exported from"):
        prepare_benchmark(found, made_up)
    locations.record_checkpoint(checkpoint.digest, elsewhere)
    benchmark = prepare_benchmark(find_models([ours / "edge-float32.onnx"]), made_up)
    assert [candidate.digest for candidate in benchmark.candidates if candidate.file] == [checkpoint.digest]
    elsewhere.write_bytes(b"damaged")
    with pytest.raises(InputError, match="the checkpoint it was exported from"):
        prepare_benchmark(find_models([ours / "edge-float32.onnx"]), made_up)


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "ab" * 31, "AB" * 32, "a\0"])
def test_a_digest_of_a_file_is_no_path(digest: str) -> None:
    assert locations.find_recorded_checkpoint(digest) is None
