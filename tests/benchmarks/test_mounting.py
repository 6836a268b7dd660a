"""The figures of docs/mounting.md: of the published models, from windows that equal those of the stream."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from artifacts import mounted_models
from benchmarks import ship_pretrained
from harexport.model import checkpoint as checkpoints
from harexport.model.contract import Contract
from harexport.preprocessing.stream import ACC, GYRO, Stream, Window
from tests.preprocessing.motion import regular, walking

_ROOT = Path(__file__).resolve().parents[2]
_JSON = _ROOT / "benchmarks" / "mounting.json"


@pytest.fixture(scope="module")
def mounting() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mounting", _ROOT / "benchmarks" / "mounting.py")
    assert spec
    assert spec.loader
    module = sys.modules["mounting"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_JSON.read_text("utf-8"))
    return content


def test_windows_are_those_of_the_stream(mounting: ModuleType) -> None:
    times = regular(8.0, 50.0)
    acc, gyro = walking(times)
    stream = Stream(Contract())
    events = []
    for k, at in enumerate(times.tolist()):
        for sensor, values in ((ACC, acc), (GYRO, gyro)):
            events += stream.push(sensor, at, tuple(values[k].tolist()))
    expected = [event.array() for event in events + stream.flush() if isinstance(event, Window)]
    found = mounting.windows_of(np.concatenate([acc, gyro], axis=1), range(9))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_orientations_are_rotations_of_the_seed(mounting: ModuleType, measured: dict[str, Any]) -> None:
    assert measured["seed"] == mounting.ORIENTATION_SEED
    matrices = np.array(measured["orientations"])
    assert matrices.shape == (20, 3, 3)
    np.testing.assert_allclose(matrices, [mount.matrix for mount in mounting.orientations()], atol=1e-12)
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), np.tile(np.eye(3), (20, 1, 1)), atol=1e-12)
    assert np.linalg.det(matrices) == pytest.approx(np.ones(20))


def test_figures_are_of_the_published_models(measured: dict[str, Any]) -> None:
    for name, checkpoint in ship_pretrained.load_checkpoints(mounted_models.MODELS).items():
        entry = measured["models"].get(f"{name}, seed {checkpoint.seed}")
        if entry is not None:
            assert entry["network"] == checkpoint.digest, "the artifacts changed since: python benchmarks/mounting.py"
    assert "edge-any-mount, seed 0" in measured["models"]


def test_means_and_worst_orientations(measured: dict[str, Any]) -> None:
    for entry in measured["models"].values():
        for figures in (value for value in entry.values() if isinstance(value, dict)):
            assert figures["accuracy"] == pytest.approx(np.mean(figures["orientations"]))
            assert figures["worst_orientation"] == min(figures["orientations"])


def test_mount_stage_is_worth_it(measured: dict[str, Any]) -> None:
    entry = measured["models"]["edge-any-mount, seed 0"]
    assert len(entry["file"]["orientations"]) == 20
    assert entry["file"]["accuracy"] > 0.96
    assert entry["file"]["angle_deg"]["within_8"] >= 0.95
    assert entry["file"]["worst_orientation"] > entry["as_is"]["accuracy"] + 0.3


def test_cards_are_current() -> None:
    for path, text in mounted_models.build_cards().items():
        assert path.read_text("utf-8") == text, "python artifacts/mounted_models.py --cards"


def test_every_form_is_published_or_refused() -> None:
    exports = json.loads((_ROOT / "benchmarks" / "mounted_exports.json").read_text("utf-8"))
    assert set(exports) == set(ship_pretrained.load_checkpoints(mounted_models.MODELS))
    for name, results in exports.items():
        assert len(results) == 11
        folder = ship_pretrained.ARTIFACTS / name
        for result in results:
            assert (folder / result["path"]).exists() == ("refused" not in result)
            if "refused" not in result:
                assert (folder / result["path"]).stat().st_size == result["size_bytes"]
        contract = json.loads((folder / "contract.json").read_text("utf-8"))
        assert contract["contract_version"] == 2
        assert Contract.from_dict(contract, name) == checkpoints.load(ship_pretrained.checkpoint_path(name)).contract
