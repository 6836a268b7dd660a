"""The assets of the Android demo match the artifacts; `make artifacts` updates both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from artifacts import mounted_models
from harexport.exporters import android

_ROOT = Path(__file__).resolve().parents[2]
_DEMO = _ROOT / "android_demo"
_ASSETS = _DEMO / "app" / android.ASSETS


def test_assets_are_those_of_the_demo_model(tmp_path: Path) -> None:
    model = mounted_models.DEMO_MODEL
    assert sorted(path.name for path in _ASSETS.iterdir() if path.is_file()) == [
        "contract.json", "golden.json", "labels.txt", "model.tflite"
    ]  # fmt: skip
    assert (_ASSETS / "model.tflite").read_bytes() == model.read_bytes(), "make artifacts"
    (tmp_path / "app").mkdir()
    for written in android.write_assets(model, tmp_path):
        if written.name != "golden.json":
            assert (_ASSETS / written.name).read_bytes() == written.read_bytes(), "make artifacts"
    contract = json.loads((_ASSETS / "contract.json").read_text("utf-8"))
    assert contract == json.loads((model.parent / "contract.json").read_text("utf-8"))
    assert (_ASSETS / "labels.txt").read_text("utf-8").splitlines() == contract["labels"]


def test_phones_without_a_gyroscope_have_a_model() -> None:
    folder = mounted_models.DEMO_FOLDER_ACC
    contents = android.make_assets(mounted_models.DEMO_MODEL_ACC)
    assert sorted(path.name for path in folder.iterdir()) == sorted(contents)
    for name in set(contents) - {"golden.json"}:
        assert (folder / name).read_bytes() == contents[name], "make artifacts"
    contract = json.loads((folder / "contract.json").read_text("utf-8"))
    assert contract["labels"] == json.loads((_ASSETS / "contract.json").read_text("utf-8"))["labels"]
    assert not any("gyro" in name for name in contract["channels"])
    golden = json.loads((folder / "golden.json").read_text("utf-8"))
    for name, file in (("model_sha256", "model.tflite"), ("contract_sha256", "contract.json")):
        assert golden[name] == hashlib.sha256((folder / file).read_bytes()).hexdigest()


def test_golden_vectors_match_the_present_code(tmp_path: Path) -> None:
    """Samples are identical; windows and logits match within the tolerances of the app."""
    (tmp_path / "app").mkdir()
    made = json.loads(android.write_assets(mounted_models.DEMO_MODEL, tmp_path)[-1].read_text("utf-8"))
    stored = json.loads((_ASSETS / "golden.json").read_text("utf-8"))
    assert stored.keys() == made.keys(), "make artifacts"
    for key in set(made) - {"windows", "logits", "samples"}:
        assert stored[key] == pytest.approx(made[key]) if isinstance(made[key], float) else stored[key] == made[key], (
            key
        )
    assert [row[:2] for row in stored["samples"]] == [row[:2] for row in made["samples"]], "make artifacts"
    assert _max_difference(stored["samples"], made["samples"], 2) < 2e-4, (
        "samples are rounded to four digits; sine differs between processors"
    )
    assert _max_difference(stored["windows"], made["windows"]) < 1e-4
    assert _max_difference(stored["logits"], made["logits"]) < 1e-3
    assert stored["max_logit_difference"] == 1e-4
    for name, file in (("model_sha256", "model.tflite"), ("contract_sha256", "contract.json")):
        assert stored[name] == hashlib.sha256((_ASSETS / file).read_bytes()).hexdigest()


def _max_difference(stored: list[list[float]], made: list[list[float]], first: int = 0) -> float:
    pairs = [[np.array([row[first:] for row in rows], dtype=float) for rows in (stored, made)]]
    return max(float(np.abs(one - other).max()) for one, other in pairs)
