"""Files that cannot be measured: one sentence each, exit code 2, and the others beside them are measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harexport.bench import discovery
from harexport.cli import main
from harexport.commands import bench as command
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.exporters import onnx as ours_onnx
from harexport.exporters import tflite as ours_tflite
from harexport.model.contract import Contract
from harexport.runtimes import sandbox
from tests.helpers import third_party_models as foreign
from tests.helpers.networks import contract_of, random_network
from tests.inspection.build import File

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


# What is given as which name, and what its one sentence must say.
BAD: dict[str, tuple[str, Callable[[], bytes], tuple[str, ...]]] = {
    "text": ("notes.onnx", lambda: b"a note, not a model", ("damaged or not a .onnx file",)),
    "neither format": ("model.pb", lambda: b"\x08\x01\x12\x00", ("model.pb",)),
    "empty": ("empty.tflite", lambda: b"", ("empty",)),
    "keras": ("model.keras", lambda: b"PK\x03\x04rest", ("zip",)),
    "transposed tflite": ("t.tflite", lambda: foreign.tflite(reads=(1, 9, 128)), (
        "reads [1, 9, 128]", "the other way round", "transpose", "float32 windows [n, 128, 9]")),
    "transposed onnx": ("t.onnx", lambda: foreign.onnx(reads=("n", 9, 128)), ("[n, 9, 128]", "other way round")),
    "shorter windows": ("s.tflite", lambda: foreign.tflite(reads=(1, 64, 9), weight=foreign.WEIGHT[:, :576]),
                        ("reads [1, 64, 9];",)),
    "an image": ("i.onnx", lambda: foreign.onnx(reads=(1, 128, 9, 1)), ("reads [1, 128, 9, 1];",)),
    "another dtype": ("d.tflite", lambda: foreign.tflite(dtype="int32"), ("reads int32",)),
    "int8 without a scale": ("q.tflite", lambda: foreign.tflite(dtype="int8"), ("reads int8", "needs a scale")),
    "two inputs": ("two.tflite", lambda: foreign.tflite(extra_input=True), ("has 2 inputs", "state [1, 32]")),
    "five labels": ("five.tflite", lambda: foreign.tflite(weight=foreign.WEIGHT[:5]), ("the data have 6 labels",)),
    "seven labels": ("seven.onnx", lambda: foreign.onnx(weight=np.ones((7, 1152), np.float32)),
                     ("the data have 6 labels",)),
    "flex": ("flex.tflite", lambda: _custom("FlexTensorListReserve"), ("Flex delegate", "TFLITE_BUILTINS")),
    "custom": ("custom.tflite", lambda: _custom("MySoftmax"), ("no stock runtime has: MySoftmax",)),
    "nan tflite": ("nan.tflite", lambda: foreign.tflite(weight=_with(77, np.nan)), ("NaN among its weights",)),
    "nan onnx": ("nan.onnx", lambda: foreign.onnx(weight=_with(77, np.nan)), ("NaN among its weights (w)",)),
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
def test_a_bad_file_is_one_sentence(kind: str, made_up: Dataset, tmp_path: Path) -> None:
    name, content, words = BAD[kind]
    path = tmp_path / name
    path.write_bytes(content())
    _refused(_bench(path, "--out", tmp_path / "out"), name, *words)
    assert not (tmp_path / "out").exists()


def test_one_bad_file_among_ten_does_not_stop_the_others(made_up: Dataset, tmp_path: Path) -> None:
    """Here three good ones and every bad one at once: each bad one is a row with its sentence."""
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
    told = json.loads(result.stdout)
    assert {model["name"] for model in told["models"]} == set(good)
    assert all(model["latency"]["runs"] >= 1000 for model in told["models"])
    reasons = {one["name"]: one["reason"] for one in told["refused"]}
    for name, _, words in BAD.values():
        assert all(word in reasons[name] for word in words), reasons[name]
        assert "\n" not in reasons[name]
        assert f"Error: {reasons[name]}" in result.stderr
    assert "NOT MEASURED" in (tmp_path / "out" / "report.html").read_text("utf-8")


def _entered(path: Path) -> str:
    """Let a file in, or the sentence that turns it away."""
    try:
        discovery.load_model_under_test(path, path.name, {}, Contract(), lone=True)
    except InputError as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize("fmt", ["tflite", "onnx"])
def test_a_file_cut_at_any_byte_is_a_sentence(fmt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is readable is tried in a child in any case; here the reading itself is what is tried."""
    monkeypatch.setattr(discovery, "run_sandboxed", lambda model, suffix: sandbox.SandboxResult("it", error="was tried"))
    contract = contract_of(_NETWORK)
    emitted = {
        "tflite": ours_tflite.build(_NETWORK, contract, {}, "unrolled"),
        "onnx": ours_onnx.build(_NETWORK, contract, {}),
    }[fmt]
    path = tmp_path / f"cut.{fmt}"
    tried = 0
    for end in {*range(0, len(emitted), max(1, len(emitted) // 150)), *range(len(emitted) - 20, len(emitted))}:
        path.write_bytes(emitted[:end])
        sentence = _entered(path)
        assert sentence.startswith(f"cut.{fmt}")
        assert "\n" not in sentence
        tried += "was tried" in sentence
    # ONNX's metadata lie at the end, string by string: a file with fewer of them is whole
    assert tried <= (25 if fmt == "onnx" else 0)


def test_a_file_that_kills_its_runtime_kills_a_child_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader sees most of such damage; what it overlooks ends the child that tries the file."""
    whole = (_FOREIGN / "tf_keras-lstm.tflite").read_bytes()
    damaged = bytearray(whole)
    byte, bit = _DEADLY
    damaged[byte] ^= 1 << bit
    path = tmp_path / "deadly.tflite"
    path.write_bytes(bytes(damaged))
    assert "is damaged" in _entered(path)
    read = discovery.inspector.read
    monkeypatch.setattr(discovery.inspector, "read", lambda model, name, folder: read(whole, name, folder))
    monkeypatch.setattr(discovery, "_check_input", lambda held, window: None)  # it reads windows of 16 samples
    assert "(SIGSEGV)" in _entered(path)


def test_a_file_that_cannot_be_read_or_is_not_there(made_up: Dataset, tmp_path: Path) -> None:
    _refused(_bench(tmp_path / "gone.tflite", "--out", tmp_path / "out"), "not found", "gone.tflite")
    _refused(_bench(tmp_path, "--out", tmp_path / "out"), "no .onnx or .tflite file in")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"not a checkpoint")
    _refused(_bench(bad, "--out", tmp_path / "out"), "bad.safetensors")


def test_a_file_that_says_another_scheme_than_its_weights(made_up: Dataset, tmp_path: Path) -> None:
    from harexport.model import checkpoint as checkpoints
    from harexport.model import recipe as recipes

    known = checkpoints.Checkpoint(_NETWORK, contract_of(_NETWORK), recipes.load("edge"), seed=0)
    checkpoints.save(known, tmp_path / "edge.safetensors")
    path = tmp_path / "edge.onnx"
    path.write_bytes(_ours(network_sha256=known.digest, scheme="int8-weights"))
    ran = _bench(path, "--out", tmp_path / "out")
    _refused(ran, "its scheme is int8-weights, but its weights are float32")


OPTIONS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "no such metric": (["--fail-if", "speed>1x"], ("no such metric; there are accuracy",)),
    "nothing to compare with": (["--fail-if", "p50>1.15x"], ("give --baseline FILE.json",)),
    "a baseline without rules": (["--baseline", "{baseline}"], ("judges nothing", "--fail-if")),
    "no such baseline": (["--baseline", "gone.json", "--fail-if", "p50>2x"], ("baseline not found: gone.json",)),
    "not a baseline": (["--baseline", "{other}", "--fail-if", "p50>2x"], ("no output of `harexport bench --json`",)),
    "not JSON": (["--baseline", "{model}", "--fail-if", "p50>2x"], ("cannot read baseline",)),
    "no threads": (["--threads", "0"], ("give numbers from 1 to 256",)),
    "words for threads": (["--threads", "1,many"], ("--threads 1,many",)),
    "no such target": (["--target", "iphone"], ("choose host, arm64, adb",)),
    "windows of the host": (["--windows", "5"], ("--windows is for --target arm64",)),
    "no windows": (["--target", "arm64", "--windows", "0"], ("--windows 0: give a number from 1 on, or all",)),
    "nothing to compare": (["--against", "gone.onnx"], ("not found: gone.onnx",)),
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_bad_options_are_one_sentence(kind: str, made_up: Dataset, tmp_path: Path) -> None:
    arguments, words = OPTIONS[kind]
    paths = {name: tmp_path / f"{name}.json" for name in ("baseline", "other", "model")}
    paths["baseline"].write_text(json.dumps({"schema": "harexport-bench-2", "models": []}))
    paths["other"].write_text(json.dumps({"schema": "somebody's"}))
    paths["model"].write_bytes(bytes(range(256)))
    (tmp_path / "a.onnx").write_bytes(foreign.onnx())
    given: list[Any] = [argument.format(**paths) for argument in arguments]
    _refused(_bench(tmp_path / "a.onnx", *given, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()
