"""Three custom recordings through every command: train, export, bench, predict, inspect, an Android project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harexport.bench.candidates import prepare_benchmark
from harexport.bench.discovery import find_models
from harexport.cli import main
from harexport.data import Dataset, Windows, load_dataset
from harexport.data.dataset import Dataset as Windowed
from harexport.errors import InputError
from harexport.exporters.export import export_checkpoint
from harexport.model import checkpoint as checkpoints
from harexport.model.contract import Contract
from harexport.runtimes import model as models
from tests.helpers import custom_dataset
from tests.helpers.networks import contract_of, random_network

_TINY = """
name = "tiny"
[model]
input_units = 24
hidden = 16
dropout = 0.0
[augment]
shift = 20
[optimizer]
learning_rate = 0.01
[schedule]
epochs = 2
batch = 4
"""
_FILES = {
    "tiny-float32.onnx", "tiny-int8-weights.onnx", "tiny-unrolled-float32.tflite", "tiny-unrolled-int8-weights.tflite"
}  # fmt: skip


def harexport(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of recordings, and what train and export wrote."""
    folder = tmp_path_factory.mktemp("own")
    data, recipe, out = custom_dataset.write(folder / "mine", seconds=12.0), folder / "tiny.toml", folder / "out"
    recipe.write_text(_TINY)
    result = harexport("train", "--recipe", recipe, "--data", data, "--out", out, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    figures = json.loads(result.stdout)["figures"]
    assert figures["test"]["windows"] == len(load_dataset(data).test)
    assert figures["test"]["accuracy"] > 0.9
    assert figures["validation"]["subjects"] == [2]
    result = harexport("export", "--data", data, "--out", out, "--format", "all", "--quantize")
    assert result.exit_code == 0, (result.output, result.exception)
    return data, out


def test_the_contract_follows_everywhere(trained: tuple[Path, Path]) -> None:
    data, out = trained
    contract = load_dataset(data).contract
    assert (contract.window, contract.hop, len(contract.channels), contract.labels) == (
        100, 50, 6, ("sit", "walk", "jump"),
    )  # fmt: skip
    assert checkpoints.load(out / "tiny.safetensors").contract == contract
    assert Contract.from_dict(json.loads((out / "contract.json").read_text()), "here") == contract
    assert {path.name for path in out.iterdir()} >= _FILES
    for name in _FILES:
        assert models.load_model(out / name).contract == contract


def test_bench_uses_the_test_subject(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, out = trained
    rules = ("--fail-if", "recall:jump<50%", "--fail-if", "accuracy<50%")
    result = harexport("bench", out, "--data", data, "--out", tmp_path, *rules, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    result_json = json.loads(result.stdout)
    assert result_json["passed"] is True
    assert {model["file"] for model in result_json["models"]} == {*_FILES, None}
    assert result_json["labels"] == ["sit", "walk", "jump"]
    assert {model["figures"]["windows"] for model in result_json["models"]} == {len(load_dataset(data).test)}
    assert "tested on carla" in result_json["data"]["source"]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "custom recordings: 3 in the folder mine" in page
    assert "UCI HAR" not in page


def test_predict_reads_a_recording_as_training_did(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, out = trained
    model, file = out / "tiny-unrolled-int8-weights.tflite", data / "carla_monday.csv"
    arguments = ("predict", file, "--model", model, "--out", tmp_path, "--json")
    result = harexport(*arguments, "--data", data)
    assert result.exit_code == 0, (result.output, result.exception)
    result_json = json.loads(result.stdout)
    assert result_json["units"] == {"accelerometer": "m/s2"}
    assert {stretch["activity"] for stretch in result_json["stretches"]} == {"sit", "walk", "jump"}
    assert result_json["agreement"]["windows"] == len(load_dataset(data).test)
    assert result_json["agreement"]["single"] > 0.9
    assert not [note for note in result_json["notes"] if "belt" in note], "the orientation of UCI HAR does not apply"
    without = json.loads(harexport(*arguments).stdout)  # the column "what" is not recognized as the label
    assert without["agreement"] is None
    assert without["units"] == {"accelerometer": "m/s2"}


def test_into_an_android_project(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, out = trained
    (tmp_path / "demo" / "app").mkdir(parents=True)
    result = harexport(
        "export", out / "tiny.safetensors", "--data", data, "--out", tmp_path / "out", "--quantize", "--android",
        tmp_path / "demo", "--format", "tflite",
    )  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    assets = tmp_path / "demo" / "app" / "src" / "main" / "assets"
    assert (assets / "labels.txt").read_text().split() == ["sit", "walk", "jump"]
    assert Contract.from_dict(json.loads((assets / "contract.json").read_text()), "here") == load_dataset(data).contract
    assert models.load_model(assets / "model.tflite").contract == load_dataset(data).contract


def test_inspect_needs_no_data(trained: tuple[Path, Path]) -> None:
    result = harexport("inspect", trained[1] / "tiny-unrolled-float32.tflite", "--no-run", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["inputs"][0]["shape"] == [1, 100, 6]


@pytest.mark.parametrize("command", ["export", "bench"])
def test_other_data_is_refused(
    command: str, trained: tuple[Path, Path], uci_har_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = trained
    monkeypatch.delenv("HAREXPORT_DATA", raising=False)
    given = out / "tiny.safetensors"
    result = harexport(command, given, "--out", tmp_path / "new")
    assert result.exit_code == 2
    assert "was not trained on UCI HAR: its labels are sit, walk, jump, its windows 100 samples" in result.stderr
    result = harexport(command, given, "--data", uci_har_path, "--out", tmp_path / "new")
    assert result.exit_code == 2, result.output
    assert "its windows have 100 samples at 50 Hz, those of the data 128 at 50 Hz" in result.stderr
    assert "Pass the data that the model was trained on with --data" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_recipe_that_does_not_fit_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, out = tmp_path / "wide.toml", tmp_path / "out"
    recipe.write_text("[model]\nframe = 120\nhop = 60\n")
    result = harexport("train", "--recipe", recipe, "--data", trained[0], "--out", out)
    assert result.exit_code == 2
    assert "model.frame 120 is longer than a window of 100 samples" in result.stderr
    recipe.write_text('[data]\nchannels = ["body_gyro_x", "body_gyro_y", "body_gyro_z"]\n')
    result = harexport("train", "--recipe", recipe, "--data", trained[0], "--out", out)
    assert result.exit_code == 2
    assert "the data has no channel body_gyro_x" in result.stderr


def test_bench_selects_the_channels_of_a_model(dataset: Dataset, tmp_path: Path) -> None:
    """Accelerometer only, of data that have a gyroscope too; beside one that reads all, it is skipped."""
    test = Windows(dataset.test.signals[:40], dataset.test.labels[:40], dataset.test.subjects[:40])
    small = Windowed(test, test, dataset.source, dataset.digest)
    recipe = checkpoints.parse({"name": "fewer"}, "fewer")
    channels = tuple(name for name in Contract().channels if "acc" in name)
    network = random_network(frame=32, hop=32, units=4, hidden=(4,), channels=6)
    fewer = checkpoints.Checkpoint(network, Contract(channels=channels, units=("g",) * 6), recipe, 0)
    folder = tmp_path / "fewer"
    folder.mkdir()
    checkpoints.save(fewer, folder / "fewer.safetensors")
    export_checkpoint(fewer, folder, small, "onnx")
    field = prepare_benchmark(find_models([folder]), small)
    assert field.dataset.contract.channels == channels
    assert [candidate.name for candidate in field.candidates] == ["fewer-float32.onnx", "fewer in torch"]
    all_of_them = random_network(frame=32, hop=32, units=4, hidden=(4,))
    whole = checkpoints.Checkpoint(all_of_them, contract_of(all_of_them), checkpoints.parse({"name": "all"}, "all"), 0)
    other = tmp_path / "all"
    other.mkdir()
    checkpoints.save(whole, other / "all.safetensors")
    export_checkpoint(whole, other, small, "onnx")
    together = prepare_benchmark(find_models([other / "all-float32.onnx", folder / "fewer-float32.onnx"]), small)
    assert [one.name for one in together.skipped] == ["fewer-float32.onnx"]
    assert "uses other channels than all-float32.onnx" in together.skipped[0].reason
    assert {candidate.name for candidate in together.candidates} == {"all-float32.onnx", "all in torch"}
    with pytest.raises(InputError, match="uses other channels"):
        prepare_benchmark(find_models([other / "all-float32.onnx", folder / "fewer.safetensors"]), small)
    shutil.rmtree(folder)


def test_the_documentation_shows_this_configuration() -> None:
    """docs/custom-datasets.md shows the harexport.toml that these tests use."""
    page = (Path(__file__).parents[1] / "docs" / "custom-datasets.md").read_text("utf-8")
    assert f"```toml\n{custom_dataset.TOML}```" in page
