"""The guest's script with the runtimes of this machine; an emulator that crashes, hangs or prints garbage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harexport import runtimes
from harexport.errors import InputError
from harexport.exporters import onnx, tflite
from harexport.model import checkpoint as checkpoints
from harexport.model.contract import Contract
from harexport.targets.arm64 import emulator as arm64
from harexport.targets.arm64.bench import spread_indices

_ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"
_FILES = sorted((_ARTIFACTS / "edge").glob("*.tflite")) + sorted((_ARTIFACTS / "edge").glob("*.onnx"))
_Make = Callable[..., arm64.Target]
_WINDOWS = np.random.default_rng(3).normal(size=(5, 128, 9)).astype(np.float32)


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_the_guest_predicts_what_the_runner_predicts(set_up: _Make, path: Path) -> None:
    logits = set_up().run(path, _WINDOWS)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, runtimes.load(path).logits(_WINDOWS))


def test_a_file_for_several_windows_at_once(set_up: _Make, tmp_path: Path) -> None:
    network = checkpoints.load(_ARTIFACTS / "edge/edge.safetensors").network
    for suffix, content in (
        ("tflite", tflite.build(network, Contract(), {}, "unrolled", "float32", 2)),
        ("onnx", onnx.build(network, Contract(), {}, "float32", 2)),
        ("onnx", onnx.build(network, Contract(), {}, "float32", None)),
    ):
        path = tmp_path / f"model.{suffix}"
        path.write_bytes(content)
        logits = set_up().run(path, _WINDOWS)
        np.testing.assert_allclose(logits, runtimes.load(path).logits(_WINDOWS), atol=1e-6)


def test_bad_files_are_named(set_up: _Make, tmp_path: Path) -> None:
    target = set_up()
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(_FILES[0].read_bytes()[:1000])
    with pytest.raises(InputError, match=r"broken\.tflite: LiteRT on 64-bit Arm cannot load or run it"):
        target.run(broken, _WINDOWS)
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.onnx: ONNX Runtime on 64-bit Arm cannot load or run it"):
        target.run(tmp_path / "broken.onnx", _WINDOWS)
    with pytest.raises(InputError, match="model not found"):
        target.run(tmp_path / "none.onnx", _WINDOWS)
    with pytest.raises(InputError, match="the arm64 target has no runtime for this format"):
        target.run(tmp_path / "model.pt", _WINDOWS)
    with pytest.raises(InputError, match="give at least one finite window"):
        target.run(_FILES[0], np.full((1, 128, 9), np.nan, np.float32))
    with pytest.raises(InputError, match="cannot load or run it"):
        target.run(_FILES[0], _WINDOWS[:, :64])


@pytest.mark.parametrize(
    ("emulator", "sentence"),
    [
        ("kill -SEGV $$", r"edge.*: the emulated process died \(SIGSEGV\)"),
        ("echo 'Bus error' >&2; exit 135", r"died \(SIGBUS\): Bus error"),
        ("echo 'INFO: hello' >&2; exit 3", r"the emulated process failed \(exit code 3\)$"),
        ("echo hello", "ended without a response"),
        ("echo \"$0: Could not open '/lib/ld.so': No such file or directory\" >&2; exit 255", "target is damaged"),
    ],
)
def test_an_emulator_that_fails(set_up: _Make, emulator: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        set_up(f"#!/bin/bash\n{emulator}\n").run(_FILES[0], _WINDOWS)


def test_an_emulator_that_hangs(set_up: _Make) -> None:
    target = set_up("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(InputError, match="no response from the emulated machine within 1 s"):
        target.run(_FILES[0], _WINDOWS, timeout_s=1)


def test_a_missing_emulator(set_up: _Make, place: Path) -> None:
    target = set_up()
    (place / arm64.EMULATOR).unlink()
    with pytest.raises(InputError, match=r"cannot be started .*setup arm64 --again"):
        target.run(_FILES[0], _WINDOWS)


def test_sampled_windows_are_evenly_spread() -> None:
    assert spread_indices(2947, 3).tolist() == [0, 1473, 2946]
    assert len(spread_indices(2947, None)) == 2947
    assert spread_indices(2, 64).tolist() == [0, 1]
