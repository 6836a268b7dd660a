"""The comparison of converters on networks written in PyTorch: its table, and the networks."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import own_networks
from benchmarks.converters import environments, own_table
from benchmarks.converters.pipelines import OWN_PIPELINES


def _row(key: str, p50: float, seconds: float, scheme: str = "float32", failure: str | None = None) -> dict[str, Any]:
    way = next(way for way in OWN_PIPELINES if way.key == key)
    row: dict[str, Any] = {"model": "cnn", "key": key, "who": way.who, "scheme": scheme, "format": way.suffix[1:]}
    row |= {"ours": way.ours, "by_tensorflow": way.by_tensorflow, "failure": failure}
    if failure:
        return row
    parity = {"windows": 737, "max_logit_difference": 1e-6, "agreement": 1.0, "accuracy": 0.9, "drop": 0.0}
    latency = {"runs": 10, "min": p50 - 1, "p50": p50, "p90": p50 + 1, "p99": p50 + 2}
    structure = {"ops": {"CONV_2D": 3}, "graphs": 1, "variables": 0, "cell_clips": [], "custom": [], "weight_bytes": {}}
    state = {"a_b_a": 0.0, "remembers": False}
    return row | structure | {
        "size_bytes": 1000, "input": "[1, 128, 9] float32", "parity": parity, "state": state,
        "nan": {"off": 0.0, "stuck": False}, "latency": latency, "seconds": seconds, "megabytes": 100.0,
    }  # fmt: skip


@pytest.fixture
def measured() -> dict[str, Any]:
    result: dict[str, Any] = {
        "command": "python benchmarks/own_networks.py",
        "machine": {"processor": "x", "cores": 2, "system": "Linux"},
        "environments": {name: environments.versions(name) for name in ("harexport", *environments.COSTS)},
        "training": {"epochs": 3, "batch": 128},
        "networks": {"cnn": {"accuracy": 0.9}},
        "data": {"test_windows": 737},
        "runs": 10,
        "rows": [
            _row("harexport-tflite-float32", 20.0, 0.5),
            _row("harexport-tflite-int8-weights", 18.0, 0.6, "int8-weights"),
            _row("keras-float32", 25.0, 12.0),
            _row("keras-dynamic", 20.0, 9.0, "int8-weights"),
            _row("litert-torch", 19.0, 30.0),
            _row("onnx2tf-float32", 0.0, 0.0, failure="ValueError: no"),
        ],
    }
    return {**result, "targets": own_table.targets(result)}


def test_targets_are_relative_to_the_fastest_other_file(measured: dict[str, Any]) -> None:
    float32, weights, conversion = measured["targets"]
    assert (float32["p50"], float32["met"]) == (pytest.approx(20 / 19), False)
    assert "litert-torch" in float32["what"]
    assert (weights["p50"], weights["met"]) == (pytest.approx(0.9), False)
    assert (conversion["p50"], conversion["met"]) == (pytest.approx(9 / 0.6), True)


def test_the_table_has_every_file_and_failure(measured: dict[str, Any]) -> None:
    block = own_table.render(measured)
    assert "1 of 3 targets are met" in block
    assert block.count("| **harexport** |") == 2
    assert "torch.onnx, then onnx2tf, float32: no working file. ValueError: no" in block
    assert own_table.terminal(measured).count("NOT MET") == 2


def test_every_network_is_compared() -> None:
    networks = pytest.importorskip("benchmarks.converters.networks")
    assert set(own_networks.NAMES) == set(networks.NETWORKS)
    assert {way.environment for way in OWN_PIPELINES} == {"harexport", *environments.COSTS}
