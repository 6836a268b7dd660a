"""Compare the reference and the exported GRU files with TensorFlow 1, Keras and TensorFlow's interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harexport.exporters import checks, tflite
from harexport.model.layers import GruLayer
from tests.helpers.networks import contract_of, random_gru

NETWORK = random_gru(frame=16, hop=16, reset_after=True)
SEQUENCES = np.random.default_rng(0).normal(size=(4, 30, 16)).astype(np.float32)
SCHEMES = ("float32", "float16", "int8-weights")


def layer_of(relu: bool, reset_after: bool) -> GruLayer:
    (layer,) = NETWORK.gru
    return GruLayer(
        layer.input_weight, layer.recurrent_weight, layer.bias, layer.recurrent_bias, reset_after=reset_after, relu=relu
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tensorflow")
    contract = contract_of(NETWORK)
    (layer,) = NETWORK.gru
    arrays = {name: getattr(layer, name) for name in ("input_weight", "recurrent_weight", "bias", "recurrent_bias")}
    np.savez(folder / "given.npz", sequences=SEQUENCES, windows=checks.synthetic_windows(contract, count=8), **arrays)
    for scheme in SCHEMES:
        (folder / f"{scheme}.tflite").write_bytes(tflite.build(NETWORK, contract, {}, "unrolled", scheme))
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("gru_tensorflow_check.py"), folder],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    result: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("whose", "reset_after"), [("keras", True), ("keras", False), ("cell", False)])
def test_tensorflows_layers_answer_like_the_reference(
    outputs: dict[str, Any], whose: str, reset_after: bool, relu: bool
) -> None:
    expected = layer_of(relu, reset_after).forward(SEQUENCES.astype(np.float64))[:, -1]
    found = outputs[f"{whose} {'relu' if relu else 'tanh'} {reset_after}"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("scheme", "allowed"), [("float32", 1e-6), ("float16", 0.002), ("int8-weights", 0.08)])
def test_tensorflows_interpreter_reads_our_files(outputs: dict[str, Any], scheme: str, allowed: float) -> None:
    expected = NETWORK.logits(checks.synthetic_windows(contract_of(NETWORK), count=8))
    difference = np.array(outputs[f"{scheme}.tflite"]) - expected
    assert np.sqrt(np.mean(difference**2)) < allowed * np.sqrt(np.mean(expected**2))
