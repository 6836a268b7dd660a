"""Checkpoints: round trip, and refusal of damaged and other files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from harexport.errors import InputError
from harexport.model import checkpoint as checkpoints
from harexport.model import recipe as recipes
from harexport.model.checkpoint import Checkpoint
from harexport.model.contract import Contract
from harexport.model.layers import Conv1d, Linear, LstmLayer
from harexport.model.network import Network


@pytest.fixture
def checkpoint() -> Checkpoint:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    network = Network.stack(
        window=128,
        mean=draw(9),
        std=np.abs(draw(9)) + 0.1,
        input=Conv1d(draw(8, 32, 9), draw(8), 16, relu=True),
        recurrent_layers=(LstmLayer(draw(16, 8), draw(16, 4), draw(16)), LstmLayer(draw(16, 4), draw(16, 4), draw(16))),
        head=Linear(draw(6, 4), draw(6)),
    )
    return Checkpoint(network, Contract(), recipes.load("edge"), 7, {"digest": "d"}, {"test": {"accuracy": 0.5}})


def test_round_trip(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoints.save(checkpoint, path)
    found = checkpoints.load(path)
    for name, array in checkpoint.network.arrays().items():
        np.testing.assert_array_equal(found.network.arrays()[name], array)
    assert (found.contract, found.recipe, found.seed) == (checkpoint.contract, checkpoint.recipe, 7)
    assert (found.data, found.figures, found.digest) == (checkpoint.data, checkpoint.figures, checkpoint.digest)
    assert found.network.input.stride == 16
    assert found.network.input.relu


def test_same_content_same_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoints.save(checkpoint, tmp_path / "a")
    checkpoints.save(checkpoint, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_reading_needs_no_torch(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoints.save(checkpoint, tmp_path / "x.safetensors")
    code = (
        "import sys; from harexport.model import checkpoint; checkpoint.load(sys.argv[1]); "
        "print([m for m in ('torch', 'tensorflow', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.safetensors")], capture_output=True, text=True
    )
    assert child.stdout.strip() == "[]", child.stderr


def _header(**changes: object) -> dict[str, str]:
    whole = {
        "kind": "harexport-checkpoint", "version": 1, "tool_version": "0", "contract": Contract().to_dict(),
        "network": {"window": 128, "hop": 1, "relu": 0}, "recipe": {"name": "x"}, "seed": 0, "data": {}, "figures": {},
    }  # fmt: skip
    return {"harexport": json.dumps({**whole, **changes})}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "not a harexport checkpoint"),
        ({"harexport": "[]"}, "not a harexport checkpoint"),
        ({"harexport": "{"}, "not a complete safetensors file"),
        (_header(kind="other"), "not a harexport checkpoint"),
        (_header(version=99), "version 99"),
        (_header(network={}), r"lacks .* or has a wrong value"),
        (_header(contract={}), "not a harexport contract"),
        (_header(recipe={"name": "x", "bogus": 1}), "unknown key bogus"),
        (_header(seed="x"), r"lacks .* or has a wrong value"),
        (_header(), "the array 'mean' is missing"),
    ],
)
def test_foreign_safetensors_are_refused(tmp_path: Path, metadata: dict[str, str] | None, words: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(save({"a": np.zeros(3, np.float32)}, metadata=metadata))
    with pytest.raises(InputError, match=words) as caught:
        checkpoints.load(path)
    assert "x.safetensors" in str(caught.value)


def test_broken_files_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="checkpoint not found"):
        checkpoints.load(path)
    checkpoints.save(checkpoint, path)
    whole = path.read_bytes()
    for cut in (0, 1, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="not a complete safetensors file"):
            checkpoints.load(path)
    path.write_bytes(b"\xff" * 5000)
    with pytest.raises(InputError, match="not a complete safetensors file"):
        checkpoints.load(path)


def test_nan_weights_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    arrays = {name: np.array(array, dtype=np.float32) for name, array in checkpoint.network.arrays().items()}
    arrays["head.bias"][0] = np.nan
    header = _header(network={"window": 128, "hop": 16, "relu": True})
    (tmp_path / "x.safetensors").write_bytes(save(arrays, metadata=header))
    with pytest.raises(InputError, match=r"head\.bias contains NaN"):
        checkpoints.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["head.weight", "head.bias", "mean", "lstm.1.recurrent_weight"])
def test_changed_arrays_are_refused(checkpoint: Checkpoint, tmp_path: Path, name: str) -> None:
    """Finite arrays of the right shape, but not those that the recorded figures belong to."""
    path = tmp_path / "x.safetensors"
    checkpoints.save(checkpoint, path)
    with safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
        arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - not a dict
    path.write_bytes(save({**arrays, name: -arrays[name]}, metadata=metadata))
    with pytest.raises(InputError, match=r"x\.safetensors: its arrays were changed"):
        checkpoints.load(path)


@pytest.mark.parametrize(
    ("accuracy", "windows", "digest", "source", "is_refused"),
    [
        (0.5, 100, "d", "x", False),
        (0.501, 100, "d", "x", False),  # a near tie that another BLAS library decides differently
        (0.1, 100, "d", "x", True),
        (float("nan"), 100, "d", "x", True),
        (0.1, 99, "d", "x", False),  # other test windows
        (0.1, 100, "e", "x", False),  # other data
        (0.1, 100, "e", "UCI HAR Dataset, rebuilt", True),  # equal up to rounding
    ],
)
def test_recorded_accuracy_is_compared(
    checkpoint: Checkpoint, accuracy: float, windows: int, digest: str, source: str, is_refused: bool
) -> None:
    """Checkpoints of version 1 have no digest of their arrays; wrong figures are detected with the test windows."""
    data = {"digest": "d", "source": "UCI HAR Dataset (official)"}
    checkpoint = replace(checkpoint, data=data, figures={"test": {"accuracy": 0.5, "windows": 100}})
    if not is_refused:
        checkpoint.check_test_accuracy(accuracy, windows, digest, source)
        return
    with pytest.raises(InputError, match=r"records a test accuracy of 50\.00%, but its network has .* train again"):
        checkpoint.check_test_accuracy(accuracy, windows, digest, source)


def test_checkpoint_of_version_1(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Version 1: recipe keys in British spelling, no digest of the arrays."""
    path = tmp_path / "x.safetensors"
    checkpoints.save(checkpoint, path)
    with safe_open(path, framework="numpy") as opened:
        header = json.loads(opened.metadata()["harexport"])
    recipe = header["recipe"]
    recipe["optimiser"] = recipe.pop("optimizer")
    recipe["model"]["normalise"] = recipe["model"].pop("normalize")
    del header["network_sha256"]
    header["version"] = 1
    path.write_bytes(save(checkpoint.network.arrays(), metadata={"harexport": json.dumps(header)}))
    loaded = checkpoints.load(path)
    assert (loaded.recipe, loaded.digest) == (checkpoint.recipe, checkpoint.digest)
    header["version"] = 2
    path.write_bytes(save(checkpoint.network.arrays(), metadata={"harexport": json.dumps(header)}))
    with pytest.raises(InputError, match="it is now called"):
        checkpoints.load(path)
