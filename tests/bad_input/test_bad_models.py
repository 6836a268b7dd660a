"""Damaged and wrong model files: an inspection or one message with exit code 2, never a traceback or a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harexport.cli import main
from harexport.errors import InputError
from harexport.exporters import onnx as onnx_format
from harexport.exporters import tflite
from harexport.formats import macs, read_model
from harexport.inspection import report
from harexport.inspection.inspector import Inspection, run_rules
from harexport.runtimes import sandbox
from tests.helpers.networks import contract_of, random_network
from tests.inspection.build import dense, loop, onnx_dense

FOREIGN = Path(__file__).parents[1] / "inspection" / "foreign"
_SMALL = random_network(frame=16, hop=16, units=6, hidden=(5, 4), relu=True)
_CONTRACT = contract_of(_SMALL)
FILES: dict[str, Callable[[], bytes]] = {
    "ours.tflite": lambda: tflite.build(_SMALL, _CONTRACT, {"recipe": "small"}, "fused"),
    "ours.onnx": lambda: onnx_format.build(_SMALL, _CONTRACT, {"recipe": "small"}),
    "tf_keras-lstm.tflite": (FOREIGN / "tf_keras-lstm.tflite").read_bytes,
    "keras3-lstm.tflite": (FOREIGN / "keras3-lstm.tflite").read_bytes,
    "torch-lstm.onnx": (FOREIGN / "torch-lstm.onnx").read_bytes,
}
# A flipped bit of the file of tf_keras (byte, bit) that ends LiteRT 2.3 by SIGSEGV; found by trying them all.
_DEADLY = (5744, 5)


def _inspect(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["inspect", *(str(argument) for argument in arguments)])


def _assert_refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), "a traceback"
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("Error: ")
    for word in words:
        assert word in sentence
    assert result.stdout == ""


def _read(model: bytes, name: str, *, shown: bool = False) -> bool:
    """Read and inspect without running; return whether it was accepted. Errors other than InputError fail the test."""
    try:
        contents = read_model(model, name)
    except InputError as refusal:
        sentence = str(refusal)
    else:
        counted = macs.count_macs(contents)
        found = Inspection(contents, counted, None, run_rules(contents, counted, None))
        json.dumps(found.to_dict())
        if shown:
            report.render(found, all_tensors=True)
        return True
    assert name in sentence
    assert "\n" not in sentence
    return False


OTHER_FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty.tflite": (b"", ("empty",)),
    "empty.onnx": (b"", ("empty",)),
    "noise.tflite": (bytes(range(256)) * 4, ("TFL3",)),
    "noise.onnx": (bytes(range(256)) * 4, ("damaged or not a .onnx file",)),
    "zeros.onnx": (bytes(1000), ("damaged or not a .onnx file",)),
    "words.onnx": (b"this is a model, honestly", ("damaged or not a .onnx file",)),
    "pointer.tflite": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", ("git lfs pull",)),
    "page.onnx": (b"<!DOCTYPE html><html>404</html>", ("HTML",)),
    "model.keras": (b"PK\x03\x04rest", ("zip",)),
    "model.pt": (b"\x80\x02}q\x00.", ("pickle",)),
    "model.bin": (b"\x1f\x8b\x08\x00", ("gzip",)),
    "edge.safetensors": (b"\x02" + bytes(7) + b'{"' + bytes(20), ("safetensors checkpoint", "export it first")),
    "head.tflite": (b"\x1c\x00\x00\x00TFL3", ("damaged",)),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    content, words = OTHER_FILES[name]
    (tmp_path / name).write_bytes(content)
    _assert_refused(_inspect(tmp_path / name), name, *words)


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    _assert_refused(_inspect(tmp_path), str(tmp_path), "folder")
    _assert_refused(_inspect(tmp_path / "gone.tflite"), "gone.tflite", "not found")
    _assert_refused(_inspect(tmp_path / ("x" * 300)), "too long")


def test_the_content_determines_the_format(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(dense().bytes())
    found = json.loads(_inspect(tmp_path / "model.onnx", "--no-run", "--json").stdout)
    assert found["format"] == "tflite"


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_refused(name: str) -> None:
    whole = FILES[name]()
    assert _read(whole, name, shown=True)
    ends = {*range(0, len(whole), max(1, len(whole) // 120)), *range(max(0, len(whole) - 30), len(whole))}
    accepted = [end for end in sorted(ends) if _read(whole[:end], name)]
    if name == "ours.onnx":  # its metadata lie at the end, string by string: a file with fewer of them is whole
        accepted = [end for end in accepted if end < len(whole) - 1200]
    assert accepted == []


@pytest.mark.parametrize("name", FILES)
def test_200_flipped_bits_give_an_inspection_or_a_message(name: str) -> None:
    whole = FILES[name]()
    random = np.random.default_rng(0)
    accepted = 0
    for k in range(200):
        damaged = bytearray(whole)
        damaged[int(random.integers(len(whole)))] ^= 1 << int(random.integers(8))
        accepted += _read(bytes(damaged), name, shown=k % 10 == 0)
    assert 0 < accepted < 200, "the test reaches both sides"


def test_a_file_that_crashes_its_runtime_ends_only_the_child(tmp_path: Path) -> None:
    damaged = bytearray(FILES["tf_keras-lstm.tflite"]())
    byte, bit = _DEADLY
    damaged[byte] ^= 1 << bit
    examined = sandbox.run_sandboxed(bytes(damaged), ".tflite")
    assert examined.killed
    assert examined.error is not None
    assert "SIGSEGV" in examined.error
    path = tmp_path / "deadly.tflite"
    path.write_bytes(bytes(damaged))
    result = _inspect(path)
    if result.exit_code == 0:  # what can be read is shown, with the danger first
        assert "crashes while" in result.stdout
    else:
        _assert_refused(result, "deadly.tflite")


def test_an_endless_model_is_stopped() -> None:
    examined = sandbox.run_sandboxed(loop(None).bytes(), ".tflite", seconds=3)
    assert examined.killed
    assert examined.error is not None
    assert "still running it after 3 s" in examined.error


@pytest.mark.parametrize(
    ("model", "suffix", "words"),
    [
        (b"", ".tflite", "cannot load it"),
        (b"\x00" * 64, ".onnx", "cannot load it"),
        (FILES["tf_keras-lstm.tflite"]()[:4000], ".tflite", "cannot load it"),
        (onnx_dense(opset=99).SerializeToString(), ".onnx", "cannot load it"),
        (dense(reads=(1, 5)).bytes(), ".tflite", "cannot load it"),
    ],
    ids=["empty", "zeros", "cut", "opset 99", "shapes that do not fit"],
)
def test_errors_of_a_runtime_are_one_message(model: bytes, suffix: str, words: str) -> None:
    examined = sandbox.run_sandboxed(model, suffix)
    assert not examined.killed
    assert examined.error is not None
    assert words in examined.error
    assert "\n" not in examined.error


def test_a_too_large_input_is_not_generated() -> None:
    model = onnx_dense()
    for size in (1 << 40, 4):
        dimension = model.graph.input[0].type.tensor_type.shape.dim
        dimension[0 if size != 4 else 1].dim_value = size
    examined = sandbox.run_sandboxed(model.SerializeToString(), ".onnx")
    assert examined.error is not None
