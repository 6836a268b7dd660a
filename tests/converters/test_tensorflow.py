"""Compare the reference and the exported files with TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harexport.exporters import checks, tflite
from harexport.formats import structure
from tests.helpers.networks import contract_of, random_network

NETWORK = random_network(frame=16, hop=16, units=12, hidden=(12, 12), relu=True)
FORMS = [(lowering, scheme) for lowering in ("fused", "unrolled") for scheme in ("float32", "int8-weights")]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tensorflow")
    contract = contract_of(NETWORK)
    windows = checks.synthetic_windows(contract, count=8)
    folded = NETWORK.fold_normalization().input
    frames = windows.reshape(len(windows), NETWORK.num_steps, -1).astype(np.float64)
    sequences = np.maximum(frames @ folded.weight.reshape(folded.out_channels, -1).T + folded.bias, 0).astype(
        np.float32
    )
    np.savez(folder / "given.npz", windows=windows, sequences=sequences, **NETWORK.arrays())
    for lowering, scheme in FORMS:
        (folder / f"{lowering}-{scheme}.tflite").write_bytes(tflite.build(NETWORK, contract, {}, lowering, scheme))  # type: ignore[arg-type]
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("tensorflow_check.py"), folder],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return {**json.loads(child.stdout.splitlines()[-1]), "reference": NETWORK.logits(windows)}


def test_keras_matches_the_reference(outputs: dict[str, Any]) -> None:
    np.testing.assert_allclose(outputs["keras"], outputs["reference"], atol=1e-5)


@pytest.mark.parametrize(("lowering", "scheme"), FORMS)
def test_tensorflow_interpreter_runs_the_files(outputs: dict[str, Any], lowering: str, scheme: str) -> None:
    difference = np.abs(np.array(outputs[f"{lowering}-{scheme}.tflite"]) - outputs["reference"])
    assert difference.max() < (1e-5 if scheme == "float32" else 0.2)


def test_only_the_converter_of_tensorflow_clips_the_cell(outputs: dict[str, Any]) -> None:
    """TensorFlow's converter sets cellClip = 10 in the fused LSTM."""
    assert outputs["converted_cell_clips"] == [10.0, 10.0]
    model = tflite.build(NETWORK, contract_of(NETWORK), {}, "fused", "float32")
    assert structure.read_structure(model, "tflite", "model").cell_clips == (0.0, 0.0)
