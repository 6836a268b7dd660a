"""Imported networks are exported in every format and scheme, and pass their checks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import harexport
from harexport import cli
from harexport.errors import InputError
from harexport.exporters.export import export
from harexport.formats.structure import read_structure
from harexport.model.contract import Contract
from harexport.model.layers import Activation, Linear, Recurrent, Reduce
from harexport.model.network import Network
from tests.helpers.networks import random_gru
from tests.importers.modules import evaluated, example, imported, labeled, torch

_EXPORTED = ("conv-lstm", "bilstm-final-states", "directions", "residual", "cnn", "flattening-cnn", "gru")
_UNROLLED = ("conv-lstm", "residual")  # 7 and 8 to 28 steps; 128 steps are thousands of operators


@pytest.mark.parametrize(
    ("fmt", "scheme"),
    [("onnx", "float32"), ("onnx", "float16"), ("onnx", "int8-weights")]
    + [("tflite", scheme) for scheme in ("float32", "float16", "int8-weights", "int8")],
)
@pytest.mark.parametrize("name", _EXPORTED)
def test_every_file_passes_its_checks(tmp_path: Path, name: str, fmt: str, scheme: str) -> None:
    network = imported(name)
    result = export(network, tmp_path / f"m.{fmt}", scheme=scheme, dataset=labeled(network), max_drop=100)
    assert result.parity is not None
    if scheme == "float32":
        assert result.parity.agreement == 1.0
    if scheme == "int8":
        structure = read_structure(result.path.read_bytes(), "tflite", "m")
        assert {weight.dtype for weight in structure.weights} == {"int8"}


@pytest.mark.parametrize("scheme", ["float32", "int8-weights", "int8"])
@pytest.mark.parametrize("lowering", ["fused", "loop", "unrolled"])
@pytest.mark.parametrize("name", _UNROLLED)
def test_all_lowerings(tmp_path: Path, name: str, lowering: str, scheme: str) -> None:
    network = imported(name)
    if (lowering, scheme) == ("loop", "int8"):
        return  # refused, see test_export.py
    result = export(
        network, tmp_path / "m.tflite", lowering=lowering, scheme=scheme, dataset=labeled(network), max_drop=100
    )
    assert result.lowering == lowering


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
@pytest.mark.parametrize("name", ["conv-lstm", "residual", "cnn", "flattening-cnn"])
def test_dynamic_batch(tmp_path: Path, name: str, fmt: str) -> None:
    network = imported(name)
    result = export(network, tmp_path / f"m.{fmt}", batch=None, lowering="auto", dataset=labeled(network))
    assert result.batch is None


@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_a_module_is_imported_by_export(tmp_path: Path, name: str) -> None:
    """The CNN reads [batch, channels, time]."""
    dataset = labeled(imported(name))
    result = harexport.export(evaluated(name), tmp_path / "m.onnx", dataset=dataset)
    assert result.parity is not None
    assert result.parity.agreement == 1.0
    with pytest.raises(InputError, match="training mode"):
        harexport.export(torch.nn.Linear(9, 6), tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"not a torch\.nn\.Module"):
        harexport.export("module", tmp_path / "other.onnx")  # type: ignore[arg-type]


def _activated(kind: str, alpha: float = 1.0) -> Network:
    random = np.random.default_rng(0)
    first = Linear(random.normal(size=(8, 9)).astype(np.float32), np.zeros(8, np.float32))
    head = Linear(random.normal(size=(6, 8)).astype(np.float32), np.zeros(6, np.float32))
    return Network(128, 9, (first, Activation(kind, alpha), Reduce("max"), head))


@pytest.mark.parametrize(("fmt", "scheme"), [("onnx", "float32"), ("tflite", "float32"), ("tflite", "int8")])
@pytest.mark.parametrize("kind", ["relu", "sigmoid", "tanh", "elu", "gelu", "leaky_relu"])
def test_activations(tmp_path: Path, kind: str, fmt: str, scheme: str) -> None:
    network = _activated(kind, 0.1 if kind == "leaky_relu" else 1.0)
    result = export(network, tmp_path / f"m.{fmt}", scheme=scheme, dataset=labeled(network), max_drop=100)
    if fmt == "tflite":
        runtime = read_structure(result.path.read_bytes(), "tflite", "m").min_runtime
        assert runtime == ("2.9" if kind == "gelu" else "2.6")


@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_integer_gru_of_both_conventions(tmp_path: Path, relu: bool, reset_after: bool) -> None:
    network = random_gru(frame=16, hop=16, hidden=(12, 9), relu_candidate=relu, reset_after=reset_after, coarse=False)
    result = export(network, tmp_path / "m.tflite", scheme="int8", dataset=labeled(network), max_drop=100)
    assert result.checks.rms_logit_difference < 0.05


def test_int8_input_and_output(tmp_path: Path) -> None:
    network = imported("cnn")
    result = export(network, tmp_path / "m.tflite", scheme="int8", io="int8", dataset=labeled(network), max_drop=100)
    assert result.io == "int8"


def test_layers_that_int8_cannot_express_are_named(tmp_path: Path) -> None:
    gru = next(layer for layer in imported("gru").layers if isinstance(layer, Recurrent))
    layers = _activated("elu").layers
    head = Linear(np.ones((6, 8), np.float32), np.zeros(6, np.float32))
    network = Network(128, 9, (gru, *layers[1:2], head))
    with pytest.raises(InputError, match="int8 has no ELU in a network with unrolled"):
        export(network, tmp_path / "m.tflite", scheme="int8", dataset=labeled(network))
    network = _activated("elu", 0.5)
    with pytest.raises(InputError, match=r"no ELU with alpha 0\.5"):
        export(network, tmp_path / "m.tflite", scheme="int8", dataset=labeled(network))
    assert not list(tmp_path.iterdir())


def _onnx_file(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "mine.onnx"
    torch.onnx.export(evaluated(name), (example(name),), str(path), dynamo=False)
    return path


def _contract(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "contract.json"
    path.write_text(json.dumps({**Contract().to_dict(), **changes}))
    return path


def test_the_command_with_labels_of_its_own(tmp_path: Path) -> None:
    path = _onnx_file(tmp_path, "cnn")
    labels = "a,b,c,d,e,f"
    arguments = ["export", str(path), "--labels", labels, "--format", "all", "--quantize", "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 0, result.output
    assert "is [batch, channels, time]" in result.output.replace("\n", " ")
    written = {path.name for path in (tmp_path / "o").iterdir()}
    assert written == {
        "contract.json", "mine-float32.onnx", "mine-int8-weights.onnx", "mine-unrolled-float32.tflite",
        "mine-unrolled-int8-weights.tflite",
    }  # fmt: skip
    assert json.loads((tmp_path / "o" / "contract.json").read_text())["labels"] == labels.split(",")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "a,b"], "has 6 logits, the contract 2 labels. Give the labels of the model with --labels"),
        (["--labels", "a,a,b,c,d,e"], "labels"),
        (["--labels", "a,,b,c,d,e"], "labels"),
        (["--contract", "none.json"], "none.json"),
    ],
)
def test_the_command_rejects_labels_and_contracts_that_do_not_fit(
    tmp_path: Path, options: list[str], message: str
) -> None:
    path = _onnx_file(tmp_path, "cnn")
    result = CliRunner().invoke(cli.main, ["export", str(path), *options, "--out", str(tmp_path / "o")])
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")
    assert not (tmp_path / "o").exists()


def test_a_window_that_is_not_that_of_uci_har_needs_a_contract(tmp_path: Path) -> None:
    path = tmp_path / "short.onnx"
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(150, 6)).eval()
    torch.onnx.export(module, (torch.zeros(1, 50, 3),), str(path), dynamo=False)
    result = CliRunner().invoke(cli.main, ["export", str(path), "--out", str(tmp_path / "o")])
    assert result.exit_code == 2
    assert "takes windows of 50 samples and 3 channels" in result.output.replace("\n", " ")
    assert "--contract" in result.output
    contract = _contract(
        tmp_path, window=50, hop=25, channels=["total_acc_x", "total_acc_y", "total_acc_z"], units=["g"] * 3
    )
    arguments = ["export", str(path), "--contract", str(contract), "--format", "tflite", "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 0, result.output
    assert "Checked on synthetic windows only" in result.output
