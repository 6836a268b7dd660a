"""GPTQ rounding reduces the error of int8 weights."""

from __future__ import annotations

import numpy as np
import pytest

from harexport.exporters import checks, gptq, onnx, tflite
from harexport.exporters.tflite_ops import fake_quantize
from harexport.model.network import Network
from harexport.runtimes.litert import LiteRtRunner
from harexport.runtimes.onnx import OnnxRunner
from tests.helpers.networks import SHAPES, contract_of

LSTM_SHAPES = [name for name, network in SHAPES.items() if network.kind == "lstm" and network.coarse_head is None]
every_lowering = pytest.mark.parametrize("lowering", ["fused", "loop", "unrolled", None])


def windows_of(network: Network, seed: int, count: int = 48) -> np.ndarray:
    return checks.synthetic_windows(contract_of(network), count, seed)


def error_of(network: Network, emitted: Network, lowering: str | None, windows: np.ndarray) -> float:
    contract = contract_of(network)
    if lowering is None:
        runner = OnnxRunner(onnx.build(emitted, contract, {}, "int8-weights"), "model")
    else:
        runner = LiteRtRunner(tflite.build(emitted, contract, {}, lowering, "int8-weights"), "model")
    difference = runner.logits(windows) - network.logits(windows)
    return float(np.sqrt(np.mean(difference**2)))


@every_lowering
@pytest.mark.parametrize("shape", ["edge", "three-layers", "side-by-side"])
def test_error_on_unseen_windows_is_smaller(shape, lowering):
    network = SHAPES[shape]
    rounded = gptq.round_weights(network, windows_of(network, 1), lowering)
    unseen = windows_of(network, 2, count=24)
    assert error_of(network, rounded, lowering, unseen) < 0.8 * error_of(network, network, lowering, unseen)


@pytest.mark.parametrize("shape", LSTM_SHAPES)
def test_export_changes_no_rounded_weight(shape):
    network = SHAPES[shape]
    rounded = gptq.round_weights(network, windows_of(network, 1, count=8), "fused")
    matrices = [rounded.head.weight, rounded.fold_normalization().input.weight]
    matrices += [gate for layer in rounded.lstm for gate in np.split(layer.input_weight, 4)]
    matrices += [gate for layer in rounded.lstm for gate in np.split(layer.recurrent_weight, 4)]
    for matrix in matrices:
        assert np.abs(fake_quantize(matrix) - matrix).max() < 1e-5 * np.abs(matrix).max()


@every_lowering
def test_weights_change_little(lowering):
    network = SHAPES["edge"]
    rounded = gptq.round_weights(network, windows_of(network, 1), lowering)
    for name, array in network.arrays().items():
        moved = np.abs(rounded.arrays()[name] - array)
        scale = (network.std / network.std.min()).max() if name == "input.weight" else 1.0
        assert moved.max() < 0.1 * scale * np.abs(array).max(), name
        if array.ndim == 1:
            assert not moved.any(), name


def test_is_deterministic():
    network = SHAPES["edge"]
    first, second = (gptq.round_weights(network, windows_of(network, 1), "fused").arrays() for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
