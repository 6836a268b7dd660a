"""Imported networks are exported in every format and scheme, and pass their checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harexport.errors import InputError
from harexport.exporters.export import export
from harexport.formats.structure import read_structure
from harexport.model.layers import Activation, Linear, Reduce
from harexport.model.network import Network
from tests.importers.modules import MODULES, imported, labeled


@pytest.mark.parametrize("scheme", ["float32", "float16", "int8-weights"])
@pytest.mark.parametrize(("fmt", "lowering"), [("onnx", "auto"), ("tflite", "fused"), ("tflite", "unrolled")])
@pytest.mark.parametrize("name", MODULES)
def test_every_file_passes_its_checks(tmp_path: Path, name: str, fmt: str, lowering: str, scheme: str) -> None:
    network = imported(name)
    if name.startswith("bilstm") and lowering == "unrolled":
        pytest.skip("a graph of 6000 operators; the residual network covers it")
    if lowering == "fused" and not network.lstm:
        with pytest.raises(InputError, match="fused"):
            export(network, tmp_path / "m.tflite", lowering=lowering, scheme=scheme)
        return
    result = export(
        network, tmp_path / f"m.{fmt}", lowering=lowering, scheme=scheme, dataset=labeled(network), max_drop=100
    )
    assert result.parity is not None
    if scheme == "float32":
        assert result.parity.agreement == 1.0


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
@pytest.mark.parametrize("name", ["conv-lstm", "residual", "cnn", "flattening-cnn", "gru"])
def test_dynamic_batch(tmp_path: Path, name: str, fmt: str) -> None:
    network = imported(name)
    result = export(network, tmp_path / f"m.{fmt}", batch=None, dataset=labeled(network))
    assert result.batch is None


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "gelu"])
def test_activations(tmp_path: Path, kind: str, fmt: str) -> None:
    random = np.random.default_rng(0)
    first = Linear(random.normal(size=(8, 9)).astype(np.float32), np.zeros(8, np.float32))
    head = Linear(random.normal(size=(6, 8)).astype(np.float32), np.zeros(6, np.float32))
    network = Network(128, 9, (first, Activation(kind), Reduce("max"), head))
    result = export(network, tmp_path / f"m.{fmt}", dataset=labeled(network))
    assert result.parity is not None
    assert result.parity.agreement == 1.0
    if fmt == "tflite":
        assert read_structure(result.path.read_bytes(), "tflite", "m").min_runtime == (
            "2.9" if kind == "gelu" else "2.6"
        )
