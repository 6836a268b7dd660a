"""Files that cannot be measured: one message each, exit code 2, and the other files are measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from onnx import helper

from harexport.bench import discovery, timing
from harexport.cli import main
from harexport.commands import bench as command
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.exporters import onnx as ours_onnx
from harexport.exporters import tflite as ours_tflite
from harexport.formats import read_model
from harexport.model.contract import Contract
from harexport.runtimes import sandbox
from tests.helpers import third_party_models as foreign
from tests.helpers.networks import contract_of, random_network
from tests.inspection.build import File, onnx_model

_FOREIGN = Path(__file__).parents[1] / "inspection" / "foreign"
_NETWORK = random_network(frame=32, hop=32, units=4, hidden=(4,))
_DEADLY = (5744, 5)  # a flipped bit of tf_keras-lstm.tflite (byte, bit) that ends LiteRT by SIGSEGV


def _with(index: int, value: float) -> np.ndarray:
    weight = foreign.WEIGHT.copy()
    weight.flat[index] = value
    return weight


def _custom(kind: str) -> bytes:
    file = File()
    graph = file.graph()
    x, y = graph.tensor("x", (1, 128, 9)), graph.tensor("y", (1, 6))
    graph.op(kind, [x], [y])
    graph.inputs, graph.outputs = [x], [y]
    return file.bytes()


def _ours(**facts: str) -> bytes:
    return ours_onnx.build(_NETWORK, contract_of(_NETWORK), {"recipe": "edge", **facts})


# File name, content and expected words of the message.
BAD: dict[str, tuple[str, Callable[[], bytes], tuple[str, ...]]] = {
    "text": ("notes.onnx", lambda: b"a note, not a model", ("damaged or not a .onnx file",)),
    "neither format": ("model.pb", lambda: b"\x08\x01\x12\x00", ("model.pb",)),
    "empty": ("empty.tflite", lambda: b"", ("empty",)),
    "keras": ("model.keras", lambda: b"PK\x03\x04rest", ("zip",)),
    "transposed tflite": ("t.tflite", lambda: foreign.tflite(reads=(1, 9, 128)), (
        "has the input [1, 9, 128]", "are swapped", "transpose", "float32 windows [n, 128, 9]")),
    "transposed onnx": ("t.onnx", lambda: foreign.onnx(reads=("n", 9, 128)), ("[n, 9, 128]", "are swapped")),
    "shorter windows": ("s.tflite", lambda: foreign.tflite(reads=(1, 64, 9), weight=foreign.WEIGHT[:, :576]),
                        ("has the input [1, 64, 9];",)),
    "an image": ("i.onnx", lambda: foreign.onnx(reads=(1, 128, 9, 1)), ("has the input [1, 128, 9, 1];",)),
    "another dtype": ("d.tflite", lambda: foreign.tflite(dtype="int32"), ("has an input of int32",)),
    "int8 without a scale": ("q.tflite", lambda: foreign.tflite(dtype="int8"), ("input of int8", "needs a scale")),
    "two inputs": ("two.tflite", lambda: foreign.tflite(extra_input=True), ("has 2 inputs", "state [1, 32]")),
    "five labels": ("five.tflite", lambda: foreign.tflite(weight=foreign.WEIGHT[:5]), ("the data have 6 labels",)),
    "seven labels": ("seven.onnx", lambda: foreign.onnx(weight=np.ones((7, 1152), np.float32)),
                     ("the data have 6 labels",)),
    "flex": ("flex.tflite", lambda: _custom("FlexTensorListReserve"), ("Flex delegate", "TFLITE_BUILTINS")),
    "custom": ("custom.tflite", lambda: _custom("MySoftmax"), ("no standard runtime includes: MySoftmax",)),
    "nan tflite": ("nan.tflite", lambda: foreign.tflite(weight=_with(77, np.nan)), ("its weights contain NaN",)),
    "nan onnx": ("nan.onnx", lambda: foreign.onnx(weight=_with(77, np.nan)), ("its weights contain NaN (w)",)),
    "no checkpoint": ("lone.onnx", lambda: _ours(network_sha256="ab" * 32), ("network abababababab", ".safetensors")),
}  # fmt: skip


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    data = foreign.dataset(24)
    monkeypatch.setattr(command, "load_data", lambda path: data)
    return data


def _bench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["bench", *(str(argument) for argument in arguments)])


def _refused(result: Result, *words: str) -> str:
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), "a traceback"
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    for word in words:
        assert word in sentence
    return sentence


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_message(kind: str, made_up: Dataset, tmp_path: Path) -> None:
    name, content, words = BAD[kind]
    path = tmp_path / name
    path.write_bytes(content())
    _refused(_bench(path, "--out", tmp_path / "out"), name, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.serial
def test_one_bad_file_among_ten_does_not_stop_the_others(made_up: Dataset, tmp_path: Path) -> None:
    """Three good files and every bad one: each bad one has its message."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name, content, _ in BAD.values():
        (folder / name).write_bytes(content())
    good = {
        "a.tflite": foreign.tflite(),
        "b.onnx": foreign.onnx(),
        "z.tflite": foreign.tflite(),
    }
    for name, content in good.items():
        (folder / name).write_bytes(content)
    files = sorted(folder.iterdir())
    result = _bench(*files, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert {model["name"] for model in document["models"]} == set(good)
    assert all(model["latency"]["runs"] >= 1000 for model in document["models"])
    reasons = {one["name"]: one["reason"] for one in document["refused"]}
    for name, _, words in BAD.values():
        assert all(word in reasons[name] for word in words), reasons[name]
        assert "\n" not in reasons[name]
        assert f"Error: {reasons[name]}" in result.stderr
    assert "NOT MEASURED" in (tmp_path / "out" / "report.html").read_text("utf-8")


def _load_error(path: Path) -> str:
    """Load a file and return the error message, or an empty string."""
    try:
        discovery.load_model_under_test(path, path.name, {}, Contract(), reference_optional=True)
    except InputError as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_a_file_cut_at_any_byte_is_an_error(fmt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the reader is tested: the subprocess is replaced."""
    monkeypatch.setattr(
        discovery,
        "read_sandboxed",
        lambda model, name, path: (
            read_model(model, name, path.parent),
            sandbox.SandboxResult("it", error="was tried"),
        ),
    )
    contract = contract_of(_NETWORK)
    emitted = {
        "tflite": ours_tflite.build(_NETWORK, contract, {}, "unrolled"),
        "onnx": ours_onnx.build(_NETWORK, contract, {}),
    }[fmt]
    path = tmp_path / f"cut.{fmt}"
    tried = 0
    for end in {*range(0, len(emitted), max(1, len(emitted) // 150)), *range(len(emitted) - 20, len(emitted))}:
        path.write_bytes(emitted[:end])
        sentence = _load_error(path)
        assert sentence.startswith(f"cut.{fmt}")
        assert "\n" not in sentence
        tried += "was tried" in sentence
    # ONNX's metadata lie at the end, string by string: a file with fewer of them is whole
    assert tried <= (25 if fmt == "onnx" else 0)


def test_a_file_that_crashes_its_runtime_ends_a_subprocess_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader finds most damage; the rest ends the subprocess that loads the file."""
    whole = (_FOREIGN / "tf_keras-lstm.tflite").read_bytes()
    damaged = bytearray(whole)
    byte, bit = _DEADLY
    damaged[byte] ^= 1 << bit
    path = tmp_path / "deadly.tflite"
    path.write_bytes(bytes(damaged))
    assert "is damaged" in _load_error(path)
    crash = sandbox.run_sandboxed(bytes(damaged), ".tflite")
    monkeypatch.setattr(discovery, "read_sandboxed", lambda *arguments: (read_model(whole, "deadly.tflite"), crash))
    monkeypatch.setattr(discovery, "_check_input", lambda held, window: None)  # it reads windows of 16 samples
    assert "(SIGSEGV)" in _load_error(path)


def test_a_file_that_cannot_be_read_or_is_not_there(made_up: Dataset, tmp_path: Path) -> None:
    _refused(_bench(tmp_path / "gone.tflite", "--out", tmp_path / "out"), "not found", "gone.tflite")
    _refused(_bench(tmp_path, "--out", tmp_path / "out"), "no .onnx or .tflite file in")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"not a checkpoint")
    _refused(_bench(bad, "--out", tmp_path / "out"), "bad.safetensors")


def test_a_file_that_declares_another_scheme_than_its_weights(made_up: Dataset, tmp_path: Path) -> None:
    from harexport.model import checkpoint as checkpoints
    from harexport.model import recipe as recipes

    known = checkpoints.Checkpoint(_NETWORK, contract_of(_NETWORK), recipes.load("edge"), seed=0)
    checkpoints.save(known, tmp_path / "edge.safetensors")
    path = tmp_path / "edge.onnx"
    path.write_bytes(_ours(network_sha256=known.digest, scheme="int8-weights"))
    ran = _bench(path, "--out", tmp_path / "out")
    _refused(ran, "declares the scheme int8-weights, but its weights are float32")


OPTIONS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "no such metric": (["--fail-if", "speed>1x"], ("unknown metric; choose accuracy",)),
    "nothing to compare with": (["--fail-if", "p50>1.15x"], ("Give --baseline FILE.json",)),
    "an invalid baseline": (["--baseline", "{baseline}", "--fail-if", "p50>2x"], ("is invalid: Object missing",)),
    "a baseline without rules": (["--baseline", "{baseline}"], ("has no effect without --fail-if",)),
    "no such baseline": (["--baseline", "gone.json", "--fail-if", "p50>2x"], ("--baseline not found: gone.json",)),
    "not a baseline": (["--baseline", "{other}", "--fail-if", "p50>2x"], ("is not an output of `harexport bench`",)),
    "not JSON": (["--baseline", "{model}", "--fail-if", "p50>2x"], ("cannot read --baseline",)),
    "no threads": (["--threads", "0"], ("give numbers from 1 to 256",)),
    "words for threads": (["--threads", "1,many"], ("--threads 1,many",)),
    "no such target": (["--target", "iphone"], ("choose host, arm64, adb",)),
    "windows of the host": (["--windows", "5"], ("--windows is for --target arm64",)),
    "no windows": (["--target", "arm64", "--windows", "0"], ("--windows 0: give a number of at least 1, or all",)),
    "nothing to compare": (["--against", "gone.onnx"], ("not found: gone.onnx",)),
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_bad_options_are_one_message(kind: str, made_up: Dataset, tmp_path: Path) -> None:
    arguments, words = OPTIONS[kind]
    paths = {name: tmp_path / f"{name}.json" for name in ("baseline", "other", "model")}
    paths["baseline"].write_text(json.dumps({"schema": "harexport-bench-3", "models": []}))
    paths["other"].write_text(json.dumps({"schema": "another"}))
    paths["model"].write_bytes(bytes(range(256)))
    (tmp_path / "a.onnx").write_bytes(foreign.onnx())
    given: list[Any] = [argument.format(**paths) for argument in arguments]
    _refused(_bench(tmp_path / "a.onnx", *given, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def _nan_model() -> bytes:
    """Return a model whose weights are finite and whose outputs are NaN: the square root of negative scores."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w"], ["scores"], transB=1),
        helper.make_node("Sqrt", ["scores"], ["output_0"]),
    ]
    model = onnx_model(nodes, {"x": ["n", 128, 9]}, {"output_0": ["n", 6]}, {"w": foreign.WEIGHT})
    return bytes(model.SerializeToString())


def test_nan_outputs_fail_and_have_no_accuracy(made_up: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a-nan.onnx").write_bytes(_nan_model())
    (folder / "b-good.onnx").write_bytes(foreign.onnx())
    rules = ("--fail-if", "accuracy<-0.5", "--fail-if", "logit_diff>1", "--against", folder / "b-good.onnx")
    result = _bench(folder, *rules, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 1, result.stderr
    bad, good = json.loads(result.stdout)["models"]
    assert "NaN or infinite" in bad["failures"][0]
    assert (bad["figures"], bad["comparison"], bad["against"]) == (None, None, None)
    assert good["failures"] == []
    violations = json.loads(result.stdout)["thresholds"]["violations"]
    assert [(item["model"], item["rule"]) for item in violations] == [
        ("a-nan.onnx", "accuracy<-0.5"), ("a-nan.onnx", "logit_diff>1"),
    ]  # fmt: skip
    assert all("cannot be evaluated" in item["reason"] for item in violations)


def test_infinite_outputs_fail_without_warnings(
    made_up: Dataset, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w"], ["scores"], transB=1),
        helper.make_node("Div", ["scores", "zero"], ["output_0"]),
    ]
    constants = {"w": foreign.WEIGHT, "zero": np.float32(0)}
    model = onnx_model(nodes, {"x": ["n", 128, 9]}, {"output_0": ["n", 6]}, constants)
    (tmp_path / "infinite.onnx").write_bytes(model.SerializeToString())
    result = _bench(tmp_path / "infinite.onnx", "--out", tmp_path / "out", "--json")
    assert result.exit_code == 1, result.stderr
    assert "NaN or infinite" in json.loads(result.stdout)["models"][0]["failures"][0]
    assert not [warning for warning in recwarn.list if issubclass(warning.category, RuntimeWarning)]


def test_nothing_is_compared_with_nan(made_up: Dataset, tmp_path: Path) -> None:
    (tmp_path / "nan.onnx").write_bytes(_nan_model())
    (tmp_path / "good.onnx").write_bytes(foreign.onnx())
    result = _bench(tmp_path / "good.onnx", "--against", tmp_path / "nan.onnx", "--out", tmp_path / "out")
    _refused(result, "nothing can be compared with --against", "not finite")


def test_results_are_saved_where_rules_have_no_file_to_compare(made_up: Dataset, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "good.onnx").write_bytes(foreign.onnx())
    rules = ("--against", tmp_path / "good.onnx", "--fail-if", "accuracy<-0.5")
    result = _bench(tmp_path / "bad.onnx", *rules, "--out", tmp_path / "out")
    _refused(result, "bad.onnx is damaged")
    assert [model["name"] for model in json.loads((tmp_path / "out/bench.json").read_text())["models"]] == ["good.onnx"]


def test_labels_in_another_order_are_reported(made_up: Dataset, tmp_path: Path) -> None:
    order = np.argsort(Contract().labels)
    (tmp_path / "alphabetical.onnx").write_bytes(foreign.onnx(weight=foreign.WEIGHT[order]))
    result = _bench(tmp_path / "alphabetical.onnx", "--out", tmp_path / "out", "--json")
    (model,) = json.loads(result.stdout)["models"]
    (note,) = [note for note in model["notes"] if "order" in note]
    assert "in alphabetical order: LAYING, SITTING, STANDING, WALKING" in note
    assert "75.00% instead of" in note
    (tmp_path / "two.onnx").write_bytes(foreign.onnx(weight=foreign.WEIGHT[[1, 0, 2, 3, 4, 5]]))
    result = _bench(tmp_path / "two.onnx", "--out", tmp_path / "out", "--json")
    (note,) = [note for note in json.loads(result.stdout)["models"][0]["notes"] if "order" in note]
    assert "in another order: WALKING_UPSTAIRS, WALKING, WALKING_DOWNSTAIRS" in note
    (tmp_path / "zero.onnx").write_bytes(foreign.onnx(weight=0 * foreign.WEIGHT))
    result = _bench(tmp_path / "zero.onnx", "--out", tmp_path / "out", "--json")
    (note,) = json.loads(result.stdout)["models"][0]["notes"]
    assert "is not above the share of the most frequent label" in note
    (tmp_path / "right.onnx").write_bytes(foreign.onnx())
    result = _bench(tmp_path / "right.onnx", "--out", tmp_path / "out", "--json")
    assert json.loads(result.stdout)["models"][0]["notes"] == []


def test_equal_errors_of_several_files_are_one_line(made_up: Dataset, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(_ours(network_sha256="ab" * 32))
    sentence = _refused(_bench(tmp_path, "--out", tmp_path / "out"), "a.onnx, b.onnx: the checkpoint")
    assert sentence.count("checkpoint it was exported from") == 1


def test_explain_is_checked_before_the_measurement(
    made_up: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "time_models", lambda *arguments: pytest.fail("measured"))
    (tmp_path / "a.onnx").write_bytes(foreign.onnx())
    (tmp_path / "b.onnx").write_bytes(b"no model")
    for path, words in ((tmp_path / "a.onnx", "without its checkpoint"), (tmp_path / "b.onnx", "b.onnx")):
        _refused(_bench(tmp_path, "--explain", path, "--out", tmp_path / "out"), "--explain", words)
    _refused(_bench(tmp_path / "a.onnx", "--explain", tmp_path / "c.onnx", "--out", tmp_path / "out"), "not one of")
