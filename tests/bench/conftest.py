"""Fixtures: a checkpoint with two exported files, and a small synthetic dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from harexport.data.dataset import Dataset
from harexport.exporters import onnx, tflite
from harexport.model import checkpoint as checkpoints
from harexport.model import recipe as recipes
from harexport.model.checkpoint import Checkpoint
from tests.helpers import third_party_models
from tests.helpers.networks import contract_of, random_network

_NETWORK = random_network(frame=16, hop=16, units=8, hidden=(8, 8), relu=True)


@pytest.fixture(scope="session")
def made_up() -> Dataset:
    return third_party_models.dataset()


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    return Checkpoint(_NETWORK, contract_of(_NETWORK), recipes.load("edge"), seed=0)


@pytest.fixture
def ours(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    """A folder with a checkpoint and two files of it."""
    folder = tmp_path / "ours"
    checkpoints.save(checkpoint, folder / "edge.safetensors")
    facts = {"recipe": "edge", "network_sha256": checkpoint.digest, "scheme": "float32"}
    (folder / "edge-float32.onnx").write_bytes(onnx.build(_NETWORK, checkpoint.contract, facts))
    model = tflite.build(_NETWORK, checkpoint.contract, {**facts, "lowering": "unrolled"}, "unrolled")
    (folder / "edge-unrolled-float32.tflite").write_bytes(model)
    return folder
