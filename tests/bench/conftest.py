"""Fixtures: a checkpoint with two exported files, and a small synthetic dataset."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harexport.bench import cold_start, timing
from harexport.data.dataset import Dataset
from harexport.evaluation import latency
from harexport.exporters import onnx, tflite
from harexport.model import checkpoint as checkpoints
from harexport.model import recipe as recipes
from harexport.model.checkpoint import Checkpoint
from tests.helpers import third_party_models
from tests.helpers.networks import contract_of, random_network

_NETWORK = random_network(frame=16, hop=16, units=8, hidden=(8, 8), relu=True)


@pytest.fixture(autouse=True)
def short_measurements(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the cold start in one process per file instead of three, and time fewer runs.

    Tests of the measured times are marked `serial`: in them all runs are timed.
    """
    monkeypatch.setattr(cold_start, "measure", functools.partial(cold_start.measure, processes=1))
    if request.node.get_closest_marker("serial") is None:

        def measure(load: Callable[[], Any], windows: Any, runs: int, *, sessions: int = 1, **options: Any) -> Any:
            return latency.measure(load, windows, min(runs, 100 if sessions > 1 else 1), sessions=1, **options)

        monkeypatch.setattr(timing, "measure", measure)


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
