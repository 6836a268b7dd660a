"""The comparison with other converters: drawn from its json alone, and of the networks that are shipped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.converters import converting, environments, inputs, table
from benchmarks.converters.pipelines import PIPELINES
from harexport.model import checkpoint as checkpoints

_ROOT = Path(__file__).resolve().parents[2]
_JSON = _ROOT / "benchmarks" / "compare_converters.json"


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(_JSON.read_text("utf-8"))
    return read


def test_the_networks_compared_are_the_shipped_ones(measured: dict[str, Any]) -> None:
    assert set(measured["networks"]) == {"edge", "baseline-lstm"}
    for name, digest in measured["networks"].items():
        shipped = checkpoints.load(_ROOT / "artifacts" / name / f"{name}.safetensors").digest
        assert digest == shipped, "the artifacts changed since: python benchmarks/compare_converters.py"


def test_every_way_has_its_row(measured: dict[str, Any]) -> None:
    expected = {(model, way.key) for model in measured["networks"] for way in PIPELINES}
    assert {(row["model"], row["key"]) for row in measured["rows"]} == expected
    for row in measured["rows"]:
        if row["failure"]:
            assert "latency" not in row
            continue
        assert row["parity"]["windows"] == 2947
        assert 0 < row["latency"]["min"] <= row["latency"]["p50"]
        assert row["seconds"] > 0
        assert row["megabytes"] > 0
        if row["ours"]:
            assert not row["state"]["remembers"], row["key"]
            assert not any(row["cell_clips"]), row["key"]
            assert not row["nan"]["stuck"], row["key"]
            assert row["nan"]["off"] == 0, row["key"]
            if row["scheme"] == "float32":
                assert row["parity"]["max_logit_difference"] < 1e-4


def test_targets_follow_from_the_rows(measured: dict[str, Any]) -> None:
    assert table.targets(measured) == measured["targets"]


def test_the_markdown_holds_every_row_and_every_failure(measured: dict[str, Any]) -> None:
    block = table.render(measured)
    lines = [line for line in block.splitlines() if line.startswith("| ")]
    made = [row for row in measured["rows"] if not row["failure"]]
    assert len(lines) == len(made) + len(measured["networks"])
    assert {line.count("|") for line in lines} == {len(table.HEAD) + 1}
    for row in measured["rows"]:
        if row["failure"]:
            assert row["failure"] in block
    assert table.terminal(measured).count("\n") > len(made)


def test_no_machines_paths(measured: dict[str, Any]) -> None:
    assert not re.findall(r"/(?:tmp|home|root|work|usr|var)/[^\"]*", json.dumps(measured))


def test_environments_are_pinned() -> None:
    for name in environments.COSTS:
        wanted = [line for line in environments.requirements(name).splitlines() if not line.startswith("#")]
        assert len(wanted) > 10
        assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.+]+", line) for line in wanted), name
        assert environments.versions(name)
    assert {way.environment for way in PIPELINES} == {"harexport", *environments.COSTS}


def test_a_conversion_that_dies_or_hangs_has_its_sentence() -> None:
    import sys

    def failure(code: str, seconds: int = 20) -> str | None:
        return converting.run([sys.executable, "-c", code], seconds).failure

    assert failure("import os; os.abort()") == "the process died: Aborted"
    assert failure("import time; time.sleep(60)", 1) == "no end after 1 s"
    assert failure("raise ValueError('cannot open /somewhere/secret/file.onnx')") == "ValueError: cannot open file.onnx"
    assert failure("raise SystemExit(3)") == "exit code 3"
    ran = converting.run([sys.executable, "-c", "x = b'1' * 50_000_000; import time; time.sleep(0.3)"])
    assert ran.failure is None
    assert 50 < ran.megabytes < 100
    assert 0.3 < ran.seconds < 20


def test_what_a_converter_is_given(tmp_path: Path) -> None:
    network = checkpoints.load(_ROOT / "artifacts" / "edge" / "edge.safetensors").network
    arrays = network.arrays()
    what = inputs.ConversionInput(arrays, network.window, network.input.stride, network.input.relu, arrays["mean"])  # type: ignore[arg-type]
    inputs.save(what, tmp_path / "given.npz")
    back = inputs.load(tmp_path / "given.npz")
    assert (back.window, back.hop, back.relu, back.layers, back.channels) == (128, 16, True, 2, 9)
    assert back.has_normalization
    assert back.arrays.keys() == arrays.keys()
