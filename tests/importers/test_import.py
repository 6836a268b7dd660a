"""Networks of torch.onnx's exporters and of harexport are imported, with the logits of the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harexport.exporters import onnx as onnx_exporter
from harexport.exporters.checks import synthetic_windows
from harexport.importers.onnx import from_onnx, load_onnx
from harexport.model.contract import Contract
from tests.helpers.networks import GRU_SHAPES, SHAPES, contract_of
from tests.helpers.requirements import requires
from tests.importers.modules import MODULES, evaluated, example, expected_outputs, imported, outputs, torch

_WINDOWS = synthetic_windows(Contract(), 5, seed=3)


def _check(network: Any, name: str) -> None:
    expected = expected_outputs(name, _WINDOWS)
    tolerance = 1e-4 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(outputs(network, name, _WINDOWS), expected, atol=tolerance)


@pytest.mark.parametrize("name", MODULES)
def test_from_torch(name: str) -> None:
    _check(imported(name), name)


@pytest.mark.parametrize(
    ("name", "opset", "batch"),
    [
        ("conv-lstm", 9, 1),
        ("conv-lstm", 17, "dynamic"),
        ("bilstm-final-states", 9, "dynamic"),
        ("bilstm-final-states", 13, 1),
        ("directions", 11, 1),  # opset 9 cannot flip
        ("residual", 11, "dynamic"),
        ("residual", 20, 1),
        ("cnn", 9, 1),
        ("cnn", 18, "dynamic"),
        ("time-first", 9, 1),
        ("time-first", 18, "dynamic"),
        ("gru", 15, "dynamic"),
    ],
)
def test_torchscript_exporter(tmp_path: Path, name: str, opset: int, batch: int | str) -> None:
    path, axis = tmp_path / "model.onnx", MODULES[name][1].index(0)
    dynamic = {"x": {axis: "windows"}} if batch == "dynamic" else None
    torch.onnx.export(
        evaluated(name), (example(name),), str(path), dynamo=False, opset_version=opset, input_names=["x"],
        dynamic_axes=dynamic,
    )  # fmt: skip
    _check(from_onnx(path), name)


@requires("onnx-exporters")
@pytest.mark.parametrize(
    ("name", "opset"),
    [
        ("bilstm", 18),
        ("cnn", 18),
        ("gru", 21),
        ("time-first", 21),
        ("conv-lstm", 23),
        ("directions", 23),
        ("residual", 23),
        ("flattening-cnn", 23),
    ],
)
def test_dynamo_exporter(tmp_path: Path, name: str, opset: int) -> None:
    path = tmp_path / "model.onnx"
    torch.onnx.export(evaluated(name), (example(name),), str(path), dynamo=True, opset_version=opset, verbose=False)
    _check(from_onnx(path), name)


def test_turned_axes_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    torch.onnx.export(evaluated("cnn"), (example("cnn"),), str(path), dynamo=False)
    (note,) = load_onnx(path).notes
    assert "[batch, channels, time]" in note


def test_a_network_of_lstm_layers_is_a_stack() -> None:
    """Stacks have the most compact files."""
    assert imported("lstm").is_stack
    assert imported("gru").is_stack
    assert not imported("bilstm").is_stack


@pytest.mark.parametrize(("scheme", "batch"), [("float32", 1), ("float16", 1), ("float32", None)])
@pytest.mark.parametrize("name", [name for name in (*SHAPES, *GRU_SHAPES) if not name.startswith("one-step")])
def test_files_of_harexport(tmp_path: Path, name: str, scheme: str, batch: int | None) -> None:
    """Their overlapping steps are a Gather with a matrix of indices, adjacent steps a Reshape."""
    network = SHAPES.get(name) or GRU_SHAPES[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_exporter.build(network, contract_of(network), {}, scheme, batch))
    found = from_onnx(path)
    assert found.is_stack
    windows = synthetic_windows(contract_of(network), 4)
    atol = 1e-5 if scheme == "float32" else 0.02
    np.testing.assert_allclose(found.logits(windows), network.logits(windows), atol=atol, rtol=1e-3)
