"""Files with an explicit state: a window in parts equals the window at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harexport.data import Dataset
from harexport.errors import InputError
from harexport.exporters.checks import check_exported_model, synthetic_windows
from harexport.exporters.export import ExportFailure, build_model, export, export_checkpoint
from harexport.exporters.options import resolve
from harexport.exporters.stream import StreamRunner, resolve_stream, split
from harexport.model import checkpoint as checkpoints
from harexport.model.contract import Contract
from harexport.model.network import Network
from harexport.runtimes.model import load_model
from tests.helpers.networks import GRU_SHAPES, SHAPES, contract_of, conv, gru, layer_network, linear, lstm

_EDGE = Path(__file__).resolve().parents[2] / "artifacts" / "edge" / "edge.safetensors"
_MIXED = Network(
    24, 9, (conv(8, 3, 9), conv(8, 3, 8, dilation=2), lstm(6, 8), linear(7, 6), gru(5, 7, sequence=False), linear(6, 5))
)
NETWORKS = {
    "edge": (SHAPES["edge"], 1),
    "three-layers": (SHAPES["three-layers"], 4),
    "gru": (GRU_SHAPES["three-layers"], 2),
    "gru with a second head": (GRU_SHAPES["relu-after"], 16),
    "other layers": (_MIXED, 9),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
def test_a_window_in_parts_equals_the_window_at_once(name: str, fmt: str) -> None:
    network, steps = NETWORKS[name]
    contract = contract_of(network)
    for scheme in ("float32", "float16", "int8-weights"):
        files = [resolve_stream(network, resolve(network, fmt, each), steps) for each in ("float32", scheme)]
        float32, model = (build_model(network, contract, {}, options, None) for options in files)
        check_exported_model(model, network, contract, files[1], len(float32), None)


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
def test_the_state_is_used(fmt: str) -> None:
    """Without the state of the part before, the logits differ: the check would find it."""
    network = SHAPES["side-by-side"]
    contract = contract_of(network)
    options = resolve_stream(network, resolve(network, fmt), 2)
    model = build_model(network, contract, {}, options, None)
    _, part = split(network, contract, 2)
    runner = StreamRunner(model, fmt, "x", part, network.window)
    windows = synthetic_windows(contract, 2)
    whole = runner.logits(windows)
    np.testing.assert_allclose(whole, network.logits(windows), atol=1e-3)
    last = np.concatenate([windows[:, -part.window :]] * 4, axis=1)
    assert np.abs(runner.logits(last) - whole).max() > 0.01


def test_contract_and_files(tmp_path: Path, dataset: Dataset) -> None:
    checkpoint = checkpoints.load(_EDGE)
    results = export_checkpoint(checkpoint, tmp_path, dataset, "tflite", ["float32"], stream=7)
    assert not any(isinstance(result, ExportFailure) for result in results)
    contract = json.loads((tmp_path / "contract-stream7.json").read_text())
    assert contract["stream"] == {
        "steps": 7, "runs": 1, "state_size": 192, "input": "state", "output": "new_state", "initial": 0.0
    }  # fmt: skip
    assert (contract["window"], contract["hop"]) == (128, 112)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "contract-stream7.json", "edge-stream7-unrolled-float32.tflite"
    ]  # fmt: skip
    assert Contract.from_dict(contract, "x").to_dict() == contract
    with pytest.raises(InputError, match="expected one input"):
        load_model(tmp_path / "edge-stream7-unrolled-float32.tflite")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lstm, both directions", "layer 0, Branches"),
        ("lstm, two runs", "layer 1, backward LSTM"),
        ("lstm, all steps", "layer 2, Reduce"),
        ("conv, padding and dilation", "layer 1, Conv1d"),
        ("linear at every step", "layer 2, Reduce"),
    ],
)
def test_layers_that_do_not_run_forward_are_refused(name: str, words: str, tmp_path: Path) -> None:
    network = layer_network(name)
    with pytest.raises(InputError, match=words):
        export(network, tmp_path / "x.tflite", contract=contract_of(network), stream=1)
    assert not list(tmp_path.iterdir())


def test_options_that_do_not_fit_are_refused() -> None:
    network = SHAPES["edge"]
    for keys, words in (
        ({"scheme": "int8"}, "leave out int8"),
        ({"batch": 2}, "leave out int8 and batch"),
        ({"lowering": "fused"}, "needs the lowering unrolled"),
        ({"lowering": "loop"}, "needs the lowering unrolled"),
    ):
        with pytest.raises(InputError, match=words):
            resolve_stream(network, resolve(network, "tflite", **keys), 1)
    with pytest.raises(InputError, match="a window has 7 steps, which 5 does not divide; give one of 1, 7"):
        resolve_stream(network, resolve(network, "tflite"), 5)
