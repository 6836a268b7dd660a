"""The pipeline from the command line on UCI HAR: demo, export, bench, and bench of manipulated files."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harexport.cli import main
from harexport.data import Dataset
from harexport.evaluation import comparison
from harexport.exporters import onnx
from harexport.exporters.export import export
from harexport.model import checkpoint as checkpoints
from harexport.model.contract import Contract
from harexport.utils.files import read_json, write_json

_TINY = """
name = "tiny"
description = "two epochs: enough to be better than chance, quick enough for a test"
[model]
input_units = 24
hidden = 16
dropout = 0.1
[schedule]
epochs = 2
[validation]
subjects = [1]
"""
_MODELS = {
    "tiny-float32.onnx", "tiny-int8-weights.onnx", "tiny-unrolled-float32.tflite", "tiny-unrolled-int8-weights.tflite"
}  # fmt: skip


def harexport(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, uci_har_path: Path) -> tuple[Path, Path, Result]:
    folder = tmp_path_factory.mktemp("demo")
    recipe, out = folder / "tiny.toml", folder / "out"
    recipe.write_text(_TINY)
    return recipe, out, harexport("demo", "--recipe", recipe, "--data", uci_har_path, "--out", out, "--json")


def test_demo_writes_checked_files(demo: tuple[Path, Path, Result]) -> None:
    _, out, result = demo
    assert result.exit_code == 0, result.stderr
    bench = json.loads(result.stdout)
    assert bench == json.loads((out / "bench.json").read_text())
    assert bench["passed"] is True
    assert {model["file"] for model in bench["models"]} == {*_MODELS, None}
    assert {model["runtime"] for model in bench["models"]} == {"ONNX Runtime", "LiteRT", "PyTorch"}
    for model in bench["models"]:
        assert model["figures"]["windows"] == 2947
        assert model["failures"] == []
        assert model["latency"]["runs"] >= 1000
        assert 0 < model["latency"]["min"] <= model["latency"]["p50"] <= model["latency"]["p99"]
        if model["file"]:
            assert model["size_bytes"] == (out / model["file"]).stat().st_size
            assert model["cold_start"]["load_ms"] > 0
        if model["scheme"] == "float32":
            assert model["comparison"]["max_logit_difference"] <= 1e-4
            assert model["comparison"]["agreement"] == 1.0
    figures = bench["references"][0]["figures"]
    assert figures["accuracy"] > 0.7
    assert checkpoints.load(out / "tiny.safetensors").figures["test"]["confusion"] == figures["confusion"]


def test_report_is_a_single_file(demo: tuple[Path, Path, Result]) -> None:
    _, out, _ = demo
    page = (out / "report.html").read_text("utf-8")
    assert "All 5 models match their references on the 2947 test windows" in page
    assert page.count("data:image/png;base64,") == 1
    assert not re.findall(r"(?:https?:)?//[a-z]", re.sub(r"base64,[^\"]*", "", page))
    assert "prefers-color-scheme: dark" in page
    assert "{{" not in page
    for model in _MODELS:
        assert model in page


def test_a_file_that_fails_its_checks_does_not_end_the_demo(
    demo: tuple[Path, Path, Result], uci_har_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, made, _ = demo
    out = tmp_path / "out"
    shutil.copytree(made, out, ignore=shutil.ignore_patterns("*int8*"))
    impossible = replace(comparison.TOLERANCES["int8-weights"], min_agreement=1.1)
    monkeypatch.setitem(comparison.TOLERANCES, "int8-weights", impossible)
    result = harexport("demo", "--recipe", recipe, "--data", uci_har_path, "--out", out)
    assert result.exit_code == 1
    assert f"Report: {out / 'report.html'}" in result.stdout
    assert "tiny-float32.onnx" in result.stdout
    assert "the onnx/int8-weights export failed its checks" in result.stderr
    assert not list(out.glob("*int8*"))


def test_demo_reuses_a_checkpoint(demo: tuple[Path, Path, Result], uci_har_path: Path) -> None:
    recipe, out, _ = demo
    before = (out / "tiny.safetensors").stat().st_mtime_ns
    again = harexport("demo", "--recipe", recipe, "--data", uci_har_path, "--out", out)
    assert again.exit_code == 0, again.stderr
    assert "from an earlier run" in again.stderr
    assert "epoch" not in again.stderr
    assert (out / "tiny.safetensors").stat().st_mtime_ns == before
    assert again.stdout.rstrip().endswith(f"Report: {out / 'report.html'}")
    recipe.write_text(_TINY.replace("hidden = 16", "hidden = 12"))
    changed = harexport("demo", "--recipe", recipe, "--data", uci_har_path, "--out", out)
    assert changed.exit_code == 0, changed.stderr
    assert "has another recipe" in changed.stderr
    assert checkpoints.load(out / "tiny.safetensors").network.recurrent_layers[0].hidden == 12


@pytest.fixture
def folder(demo: tuple[Path, Path, Result], tmp_path: Path) -> Path:
    """A copy of the output of the demo."""
    return Path(shutil.copytree(demo[1], tmp_path / "copy"))


@pytest.fixture
def onnx_folder(folder: Path) -> Path:
    """A copy of the output of the demo without its .tflite files, for a shorter benchmark."""
    for path in folder.glob("*.tflite"):
        path.unlink()
    return folder


def test_bench_detects_other_weights(onnx_folder: Path, uci_har_path: Path, dataset: Dataset, tmp_path: Path) -> None:
    """A file with the right digest and weights that are off by 1 %."""
    checkpoint = checkpoints.load(onnx_folder / "tiny.safetensors")
    head = replace(checkpoint.network.head, weight=checkpoint.network.head.weight * np.float32(1.01))
    liar = onnx_folder / "tiny-float32.onnx"
    metadata = {"recipe": "tiny", "network_sha256": checkpoint.digest}
    export(checkpoint.network.replace(head=head), liar, metadata=metadata, dataset=dataset)
    result = harexport("bench", onnx_folder, "--data", uci_har_path, "--out", tmp_path / "report")
    assert result.exit_code == 1
    assert "FAILED tiny-float32.onnx: logits differ by up to" in result.stdout
    assert "1 of 3 models failed their check" in result.stdout
    assert "FAILED" in (tmp_path / "report" / "report.html").read_text("utf-8")


def test_bench_checks_the_scheme(onnx_folder: Path, uci_har_path: Path, tmp_path: Path) -> None:
    """The tolerance of int8-weights must not apply to a float32 file."""
    checkpoint = checkpoints.load(onnx_folder / "tiny.safetensors")
    metadata = {"recipe": "tiny", "network_sha256": checkpoint.digest, "scheme": "int8-weights"}
    (onnx_folder / "tiny-float32.onnx").write_bytes(onnx.build(checkpoint.network, checkpoint.contract, metadata))
    result = harexport("bench", onnx_folder, "--data", uci_har_path, "--out", tmp_path / "report")
    assert result.exit_code == 2
    assert "tiny-float32.onnx declares the scheme int8-weights, but its weights are float32" in result.stderr


def test_bench_checks_the_contract(onnx_folder: Path, uci_har_path: Path, tmp_path: Path) -> None:
    """Correct logits with permuted labels are wrong predictions."""
    checkpoint = checkpoints.load(onnx_folder / "tiny.safetensors")
    metadata = {"recipe": "tiny", "network_sha256": checkpoint.digest}
    swapped = replace(checkpoint.contract, labels=checkpoint.contract.labels[::-1])
    export(checkpoint.network, onnx_folder / "tiny-float32.onnx", contract=swapped, metadata=metadata)
    result = harexport("bench", onnx_folder, "--data", uci_har_path, "--out", tmp_path / "report")
    assert result.exit_code == 2
    assert "tiny-float32.onnx: its contract (labels, units, window) differs from that of" in result.stderr


def test_bench_of_two_checkpoints_of_one_recipe(
    folder: Path, uci_har_path: Path, dataset: Dataset, tmp_path: Path
) -> None:
    first = checkpoints.load(folder / "tiny.safetensors")
    halved = first.network.replace(head=replace(first.network.head, weight=first.network.head.weight / 2))
    second, other = replace(first, network=halved), tmp_path / "other"
    checkpoints.save(second, other / "tiny.safetensors")
    metadata = {"recipe": "tiny", "network_sha256": second.digest}
    export(halved, other / "second-float32.onnx", metadata=metadata, dataset=dataset)
    result = harexport(
        "bench", folder / "tiny-float32.onnx", other, "--data", uci_har_path, "--out", tmp_path / "report", "--json"
    )
    assert result.exit_code == 0, result.stderr
    models = json.loads(result.stdout)["models"]
    assert len({model["name"] for model in models}) == 4
    by_torch = [model["figures"]["confusion"] for model in models if model["runtime"] == "PyTorch"]
    assert by_torch[0] != by_torch[1]


def test_bench_of_a_file_given_twice(folder: Path, uci_har_path: Path, tmp_path: Path) -> None:
    model = folder / "tiny-float32.onnx"
    again = folder / ".." / folder.name / model.name
    result = harexport("bench", model, again, "--data", uci_har_path, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    assert len(json.loads(result.stdout)["models"]) == 2


def test_export_finds_the_checkpoint(folder: Path, uci_har_path: Path, tmp_path: Path) -> None:
    lone = tmp_path / "lone"
    lone.mkdir()
    shutil.copy(folder / "tiny.safetensors", lone)
    result = harexport("export", "--out", lone, "--format", "onnx", "--data", uci_har_path, "--json")
    assert result.exit_code == 0, result.stderr
    assert [Path(one["path"]).parent for one in json.loads(result.stdout)["files"]] == [lone]
    shutil.copy(folder / "tiny.safetensors", lone / "second.safetensors")
    refused = harexport("export", "--out", lone)
    assert refused.exit_code == 2
    assert "more than one checkpoint" in refused.stderr
    assert "second.safetensors, tiny.safetensors" in refused.stderr


def test_smallest_network(tmp_path: Path, uci_har_path: Path) -> None:
    """One unit per layer: the files have no weight matrix."""
    recipe = tmp_path / "one.toml"
    recipe.write_text("[model]\nhidden = 1\ninput_units = 1\nlayers = 1\n[schedule]\nepochs = 1\n")
    result = harexport("demo", "--recipe", recipe, "--data", uci_har_path, "--out", tmp_path / "out")
    assert result.exit_code in (0, 1), result.stderr  # a network of one unit may exceed the tolerance of int8
    assert "Report:" in result.stdout
    assert not [line for line in result.stdout.splitlines() if "float32" in line and "FAILED" in line]


def test_bench_finds_the_checkpoint_of_a_file(folder: Path, uci_har_path: Path, tmp_path: Path) -> None:
    result = harexport("bench", folder / "tiny-float32.onnx", "--data", uci_har_path, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    assert {model["file"] for model in json.loads(result.stdout)["models"]} == {"tiny-float32.onnx", None}


def test_bench_skips_foreign_checkpoints(folder: Path, uci_har_path: Path, tmp_path: Path) -> None:
    (folder / "other.safetensors").write_bytes(b"another")
    result = harexport("bench", folder / "tiny-float32.onnx", "--data", uci_har_path, "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "Skipped" in result.stderr
    assert "other.safetensors" in result.stderr


def test_bench_without_models_or_checkpoints(
    folder: Path, uci_har_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path / "cache"))  # a cache without the location of the checkpoint

    def refused(*paths: Path) -> str:
        result = harexport("bench", *paths, "--data", uci_har_path, "--out", tmp_path / "report")
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "report").exists()
        return result.stderr

    lone = tmp_path / "lone"
    lone.mkdir()
    assert "no .onnx or .tflite file in" in refused(lone)
    model = folder / "tiny-float32.onnx"
    shutil.copy(model, lone)
    assert "Give its .safetensors" in refused(lone)
    whole = model.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"hello"):
        (lone / model.name).write_bytes(damaged)
        assert "tiny-float32.onnx" in refused(lone)
    other = lone / "model.pb"
    other.write_bytes(b"")
    assert "model.pb is empty" in refused(other)


def test_export_options(folder: Path, uci_har_path: Path, tmp_path: Path) -> None:
    def run_export(out: Path, *options: str | Path) -> Result:
        return harexport("export", folder / "tiny.safetensors", *options, "--data", uci_har_path, "--out", out)

    def written(*options: str) -> set[str]:
        out = tmp_path / "-".join(option.strip("-") for option in options)
        result = run_export(out, *options, "--json")
        assert result.exit_code == 0, result.stderr
        names = {path.name for path in out.iterdir()} - {"contract.json"}
        assert {Path(one["path"]).name for one in json.loads(result.stdout)["files"]} == names
        return names

    assert written("--format", "onnx") == {"tiny-float32.onnx"}
    assert written("--format", "tflite") == {"tiny-unrolled-float32.tflite"}
    assert written("--format", "tflite", "--quantize") == {"tiny-unrolled-int8-weights.tflite"}
    assert written("--quantize") == _MODELS
    assert written("--format", "onnx", "--quantize=float16") == {"tiny-float16.onnx"}
    assert written("--format", "tflite", "--quantize=float16", "--batch", "4", "--quantize") == {
        "tiny-unrolled-float16-batch4.tflite", "tiny-unrolled-int8-weights-batch4.tflite"
    }  # fmt: skip
    assert written("--format", "tflite", "--quantize=int8", "--io", "int8", "--max-drop", "3") == {
        "tiny-unrolled-int8-int8-io.tflite"
    }
    assert written("--format", "tflite", "--lowering", "fused") == {"tiny-fused-float32.tflite"}
    assert Contract.from_dict(read_json(tmp_path / "quantize" / "contract.json", "contract"), "here") == Contract()
    for options, words in (
        (["--format", "onnx", "--quantize=int8"], "onnx comes in float32"),
        (["--quantize", "int4"], "choose one of float16, int8-weights, int8"),
        (["--batch", "many"], "--batch many: give a number of windows from 1 to 4096, or dynamic"),
        (["--android", tmp_path / "gone"], "has no app module"),
    ):
        refused = run_export(tmp_path / "no", *options)
        assert refused.exit_code == 2
        assert words in refused.stderr
        assert not (tmp_path / "no").exists()


def test_export_with_a_failed_check(
    folder: Path, uci_har_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        comparison.TOLERANCES, "int8-weights", comparison.Tolerance(max_accuracy_drop=-90.0)
    )  # no file can have that accuracy
    out = tmp_path / "o"
    options = ["--format", "tflite", "--quantize", "--quantize=float16", "--data", uci_har_path, "--out", out]
    result = harexport("export", folder / "tiny.safetensors", *options, "--json")
    assert result.exit_code == 1
    refused, written = json.loads(result.stdout)["files"]
    assert "on 2947 test windows, accuracy drops by" in refused["refused"]
    assert written["checks"]["parity"]["windows"] == 2947
    assert sorted(path.name for path in out.iterdir()) == ["contract.json", "tiny-unrolled-float16.tflite"]


def test_export_into_an_android_project(folder: Path, uci_har_path: Path, tmp_path: Path) -> None:
    project = tmp_path / "app project"
    (project / "app").mkdir(parents=True)
    result = harexport(
        "export", folder / "tiny.safetensors", "--android", project, "--data", uci_har_path, "--out", tmp_path / "o"
    )
    assert result.exit_code == 0, result.stderr
    assets = project / "app" / "src" / "main" / "assets"
    names = ["contract.json", "golden.json", "labels.txt", "model.tflite"]
    assert sorted(path.name for path in assets.iterdir()) == names
    written = tmp_path / "o" / "tiny-unrolled-float32.tflite"
    assert (assets / "model.tflite").read_bytes() == written.read_bytes()
    assert (assets / "labels.txt").read_text().split() == list(Contract().labels)
    assert Contract.from_dict(read_json(assets / "contract.json", "contract"), "here") == Contract()


def test_export_does_not_replace_another_contract(folder: Path, uci_har_path: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "contract.json", Contract(window=64).to_dict())
    refused = harexport("export", folder / "tiny.safetensors", "--data", uci_har_path, "--out", tmp_path)
    assert refused.exit_code == 2
    assert "choose another folder with --out" in refused.stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["contract.json"]


def test_demo_resumes_an_interrupted_training(
    tmp_path: Path, uci_har_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harexport.training.resume import ResumableRun

    recipe = tmp_path / "tiny.toml"
    recipe.write_text(_TINY)
    reporter = ResumableRun.reporter

    def impatient(self: ResumableRun, phase: str):  # type: ignore[no-untyped-def]
        report = reporter(self, phase)

        def stop(*state: object) -> None:
            report(*state)
            raise KeyboardInterrupt

        return stop

    arguments = ("demo", "--recipe", recipe, "--data", uci_har_path, "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(ResumableRun, "reporter", impatient)
        cut = harexport(*arguments)
    assert cut.exit_code == 130
    assert "--resume" in cut.stderr
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    recipe.write_text(_TINY.replace("hidden = 16", "hidden = 12"))
    other = harexport(*arguments[:-1], tmp_path / "other")
    assert other.exit_code == 0, other.stderr
    assert "Starting a new training" in other.stderr
    recipe.write_text(_TINY)
    whole = harexport(*arguments)
    assert whole.exit_code == 0, whole.stderr
    repeated = [line for line in whole.stderr.splitlines() if "epoch    1.0" in line and "held-out pass" in line]
    assert repeated == []
