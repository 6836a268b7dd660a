"""What the Android demo carries is what the artifacts say: `make artifacts` refreshes both."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from harexport.exporters import android

_ROOT = Path(__file__).resolve().parents[2]
_DEMO = _ROOT / "android_demo"
_ASSETS = _DEMO / android.ASSETS


def _demo_model() -> Path:
    spec = importlib.util.spec_from_file_location("benchmark_artifacts", _ROOT / "artifacts" / "build.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert isinstance(script.DEMO_MODEL, Path)
    return script.DEMO_MODEL


def test_the_demo_carries_the_shipped_edge_model(tmp_path: Path) -> None:
    model = _demo_model()
    assert sorted(path.name for path in _ASSETS.iterdir()) == [
        "contract.json", "golden.json", "labels.txt", "model.tflite"
    ]  # fmt: skip
    assert (_ASSETS / "model.tflite").read_bytes() == model.read_bytes(), "make artifacts"
    (tmp_path / "app").mkdir()
    for made in android.write_assets(model, tmp_path):
        if made.name != "golden.json":
            assert (_ASSETS / made.name).read_bytes() == made.read_bytes(), "make artifacts"
    contract = json.loads((_ASSETS / "contract.json").read_text("utf-8"))
    assert contract == json.loads((model.parent / "contract.json").read_text("utf-8"))
    assert (_ASSETS / "labels.txt").read_text("utf-8").splitlines() == contract["labels"]


def test_its_golden_windows_are_made_by_this_code(tmp_path: Path) -> None:
    """The same samples; windows and logits to what the app itself allows, for another processor's last digits."""
    (tmp_path / "app").mkdir()
    made = json.loads(android.write_assets(_demo_model(), tmp_path)[-1].read_text("utf-8"))
    kept = json.loads((_ASSETS / "golden.json").read_text("utf-8"))
    assert kept.keys() == made.keys(), "make artifacts"
    for key in set(made) - {"windows", "logits", "samples"}:
        assert kept[key] == pytest.approx(made[key]) if isinstance(made[key], float) else kept[key] == made[key], key
    assert [row[:2] for row in kept["samples"]] == [row[:2] for row in made["samples"]], "make artifacts"
    assert _largest(kept["samples"], made["samples"], 2) < 2e-4, (
        "rounded to four digits, one processor's sine or another's"
    )
    assert _largest(kept["windows"], made["windows"]) < 1e-4
    assert _largest(kept["logits"], made["logits"]) < 1e-3
    assert kept["max_logit_difference"] == 1e-4
    for name, file in (("model_sha256", "model.tflite"), ("contract_sha256", "contract.json")):
        assert kept[name] == hashlib.sha256((_ASSETS / file).read_bytes()).hexdigest()


def _largest(kept: list[list[float]], made: list[list[float]], first: int = 0) -> float:
    pairs = [[np.array([row[first:] for row in rows], dtype=float) for rows in (kept, made)]]
    return max(float(np.abs(one - other).max()) for one, other in pairs)
