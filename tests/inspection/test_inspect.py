"""`harexport inspect`: no problems in our own files, consistent figures, text of at most 100 columns."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harexport import inspection
from harexport.cli import main
from harexport.exporters import onnx as onnx_format
from harexport.exporters import tflite
from harexport.formats import op_versions
from harexport.inspection import report
from tests.helpers.networks import SHAPES, contract_of, random_network
from tests.inspection.build import dense

FOREIGN = Path(__file__).with_name("foreign")
METADATA = {"recipe": "edge", "scheme": "float32"}
SMALL = random_network(frame=16, hop=16, units=24, hidden=(24, 24), relu=True)


def harexport(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("ours")
    contract = contract_of(SMALL)
    made = {
        "unrolled-float32.tflite": tflite.build(SMALL, contract, METADATA, "unrolled", "float32"),
        "fused-int8-weights.tflite": tflite.build(SMALL, contract, METADATA, "fused", "int8-weights"),
        "float32.onnx": onnx_format.build(SMALL, contract, METADATA),
    }
    for name, model in made.items():
        (folder / name).write_bytes(model)
    return {name: folder / name for name in made}


def test_our_own_files_have_no_problems(ours: dict[str, Path]) -> None:
    for name, path in ours.items():
        found = inspection.inspect(path)
        assert not found.problems, (name, found.problems)
        assert {finding.id for finding in found.findings} <= {"state-reset"}
        assert ("state-reset" in {finding.id for finding in found.findings}) == name.startswith("fused")
        assert found.run is not None
        assert (found.run.error, found.run.is_stateful) == (None, False)
        assert found.model.metadata == METADATA
        assert found.model.contract == contract_of(SMALL).to_dict()
        assert sum(part.size_bytes for part in found.model.size_breakdown) == path.stat().st_size
        assert op_versions.version_key(found.model.min_runtime[1]) <= (2, 6)


def test_int8_weights_are_listed(ours: dict[str, Path]) -> None:
    held = inspection.inspect(ours["fused-int8-weights.tflite"], run=False).model
    assert {weight.dtype for weight in held.weights} == {"int8"}
    for weight in held.weights:
        assert weight.quantization is not None
        assert weight.values is not None
        assert len(weight.quantization.scales) == 1
        assert np.abs(weight.values.astype(int)).max() == 127
    assert len(held.variables) == 4


def test_macs_match_the_network(ours: dict[str, Path]) -> None:
    """steps x (input layer + 4 gates x (inputs + hidden)) + head."""
    found = inspection.inspect(ours["float32.onnx"], run=False)
    steps, layer = SMALL.num_steps, 4 * 24 * (24 + 24)
    assert found.macs.total == steps * (16 * 9 * 24 + 2 * layer) + 24 * 6


@pytest.mark.parametrize("shape", ["seed", "edge", "one-layer", "other-labels"])
def test_only_long_unrolled_files_have_a_problem(shape: str, tmp_path: Path) -> None:
    network = SHAPES[shape]
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite.build(network, contract_of(network), {}, "unrolled"))
    problems = {finding.id for finding in inspection.inspect(path, run=False).problems}
    assert problems <= {"unrolled"}  # 128 steps are many operators
    assert (problems == {"unrolled"}) == (network.num_steps == 128)


def test_text_of_the_command(ours: dict[str, Path]) -> None:
    result = harexport("inspect", ours["unrolled-float32.tflite"])
    assert result.exit_code == 0, result.output
    for word in ("window", "float32", "[1, 128, 9]", "FULLY_CONNECTED", "weights (float32)", "TensorFlow Lite 2.6"):
        assert word in result.stdout
    assert "128 samples of 9 channels (g, rad/s) at 50 Hz" in result.stdout
    assert "its output does not depend on earlier windows" in result.stdout
    assert "\x1b" not in result.stdout, "escape sequences outside of a terminal"
    assert max(len(line) for line in result.stdout.splitlines()) <= 100


def test_a_terminal_gets_colors() -> None:
    found = inspection.inspect(FOREIGN / "tf_keras-lstm.tflite", run=False)
    assert "\x1b[1;31m" in report.render(found, color=True)
    plain = report.render(found)
    assert re.sub(r"\x1b\[[\d;]*m", "", report.render(found, color=True)).split() == plain.split()


def test_all_tensors_on_request() -> None:
    path = FOREIGN / "keras3-lstm.tflite"
    few, all_ = (harexport("inspect", path, "--no-run", *more).stdout for more in ((), ("--tensors",)))
    assert "arith.constant" in all_
    assert len(all_.splitlines()) > 2 * len(few.splitlines())
    assert max(len(line) for line in all_.splitlines()) <= 100


def test_json_is_complete(ours: dict[str, Path]) -> None:
    for path in (*ours.values(), FOREIGN / "keras3-lstm.tflite", FOREIGN / "torch-lstm.onnx"):
        result = harexport("inspect", path, "--json")
        assert result.exit_code == 0
        found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert found["schema"] == "harexport-inspect-2"
        assert sum(found["operators"].values()) == sum(sum(g["operators"].values()) for g in found["graphs"])
        assert found["macs"]["total"] == sum(found["macs"]["operators"].values())
        assert found["run"]["error"] is None
        assert found["inputs"][0]["shape"][0] == 1


def test_strict_exits_with_1_on_problems(ours: dict[str, Path]) -> None:
    assert harexport("inspect", ours["unrolled-float32.tflite"], "--strict").exit_code == 0
    assert harexport("inspect", FOREIGN / "torch-lstm.onnx", "--strict", "--no-run").exit_code == 1
    assert harexport("inspect", FOREIGN / "torch-lstm.onnx", "--no-run").exit_code == 0


def test_control_characters_in_names_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(dense(output="\x1b[2J[bold]logits").bytes(description="a\x07b"))
    shown = harexport("inspect", path, "--no-run").stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[bold]logits" in shown


@pytest.mark.parametrize(
    ("kinds", "needs"),
    [
        ([("FULLY_CONNECTED", 9), ("CONV_2D", 5)], "2.6"),
        ([("FULLY_CONNECTED", 12), ("DEQUANTIZE", 5)], "2.17"),
        ([("FULLY_CONNECTED", 99)], "2.18"),
        ([("DEQUANTIZE", 5), ("MUL", 6)], "2.11"),
        ([("STABLEHLO_ADD", 1)], "2.15"),
    ],
)
def test_min_tflite(kinds: list[tuple[str, int]], needs: str) -> None:
    assert op_versions.min_tflite(kinds) == needs


@pytest.mark.parametrize(
    ("opset", "ir", "needs"),
    [(13, 7, "1.6"), (7, 3, "1.0"), (17, 8, "1.12"), (13, 9, "1.16"), (21, 10, "1.18"), (24, 12, "1.21")],
)
def test_min_onnx_runtime(opset: int, ir: int, needs: str) -> None:
    assert op_versions.min_onnx_runtime(opset, ir) == needs
