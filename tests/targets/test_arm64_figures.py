"""benchmarks/arm64.json belongs to the committed artifacts and supports the documentation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import arm64
from harexport.data.uci_har.download import file_sha256

_OUTDATED = "benchmarks/arm64.json is outdated: harexport targets setup arm64, then python benchmarks/arm64.py"


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(arm64.JSON.read_text("utf-8"))
    return read


def test_every_shipped_file_was_measured_as_it_is(measured: dict[str, Any]) -> None:
    held = {row["name"]: row["sha256"] for row in measured["rows"]}
    for recipe in arm64.RECIPES:
        for path in [*(arm64.ARTIFACTS / recipe).glob("*.tflite"), *(arm64.ARTIFACTS / recipe).glob("*.onnx")]:
            assert held.get(path.name) == file_sha256(path), f"{path.name}: {_OUTDATED}"


def test_rows_are_complete_and_arm_matches_x86(measured: dict[str, Any]) -> None:
    assert measured["schema"] == arm64.SCHEMA
    assert {"qemu", "ai-edge-litert", "onnxruntime", "numpy", "python"} <= set(measured["versions"])
    for row in measured["rows"]:
        assert not row["error"], row["name"]
        assert not row["failures"], row["name"]
        assert row["windows"] >= 64
        assert row["versions"] == measured["versions"], f"{row['name']}: {_OUTDATED}"
        assert set(row["instructions"]) == set(measured["processors"])
        for counted in row["instructions"].values():
            assert 0 < counted["min"] <= counted["median"] <= counted["max"]
            assert counted["max"] / counted["min"] < 1.01, "two windows cost the same"


def test_the_table_has_every_row(measured: dict[str, Any]) -> None:
    lines = arm64.render(measured).splitlines()
    assert len(lines) == len(measured["rows"]) + 2
