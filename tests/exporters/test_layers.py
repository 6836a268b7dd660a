"""Every layer in every format, scheme and lowering, and in PyTorch, against the float64 reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harexport.errors import InputError
from harexport.exporters.checks import check_exported_model, synthetic_windows
from harexport.exporters.export import build_model, export
from harexport.exporters.options import resolve
from harexport.formats import read_model
from harexport.model import checkpoint as checkpoints
from harexport.model import recipe as recipes
from harexport.model.checkpoint import Checkpoint
from harexport.model.folding import simplify
from harexport.model.layers import Activation, Conv1d, Linear, Reduce
from harexport.model.network import Network
from harexport.runtimes.litert import LiteRtRunner
from harexport.runtimes.torch import TorchRunner
from tests.helpers.networks import LAYERS, contract_of, conv, layer_network, random_network

every_layer = pytest.mark.parametrize("name", LAYERS)
_SCHEMES = (
    ("float32", 1),
    ("float32", 3),
    ("float32", None),
    ("float16", 1),
    ("int8-weights", 1),
    ("int8-weights", None),
)


def _forms(name: str) -> list[tuple[str, str, str]]:
    """Return the formats and lowerings that exist for the layer."""
    network = layer_network(name)
    lowerings = ["unrolled"]
    if network.recurrent_layers:
        lowerings.append("loop")
    if network.lstm and not network.gru:
        lowerings.append("fused")
    return [(name, "onnx", "auto"), *((name, "tflite", lowering) for lowering in lowerings)]


@pytest.mark.parametrize(("name", "fmt", "lowering"), [form for name in LAYERS for form in _forms(name)])
def test_exported_files_pass_their_checks(name: str, fmt: str, lowering: str) -> None:
    network = layer_network(name)
    contract = contract_of(network)
    for scheme, batch in _SCHEMES:
        needs_fixed_batch = lowering == "fused" or (fmt == "onnx" and scheme != "float32" and network.lstm)
        if batch is None and needs_fixed_batch:
            continue
        files = [resolve(network, fmt, each, lowering, batch) for each in ("float32", scheme)]
        float32, model = (build_model(network, contract, {}, options, None) for options in files)
        structure, _ = check_exported_model(model, network, contract, files[1], len(float32), None)
        if lowering == "fused":
            assert structure.ops["UNIDIRECTIONAL_SEQUENCE_LSTM"] == len(network.lstm)
        if lowering == "loop":
            assert structure.ops["WHILE"] > 0
            assert structure.min_runtime == ("2.9" if "DYNAMIC_UPDATE_SLICE" in structure.ops else "2.6")


@every_layer
def test_pytorch_and_simplified_layers_have_equal_logits(name: str) -> None:
    network = layer_network(name)
    windows = synthetic_windows(contract_of(network))
    expected = network.logits(windows)
    np.testing.assert_allclose(TorchRunner(network).logits(windows), expected, atol=2e-5 * np.abs(expected).max())
    folded = Network(network.window, network.num_channels, simplify(network.layers))
    np.testing.assert_allclose(folded.logits(windows), expected, atol=1e-10)


@every_layer
def test_a_checkpoint_keeps_the_layers(name: str, tmp_path: Path) -> None:
    network = layer_network(name)
    saved = Checkpoint(network, contract_of(network), recipes.load("cnn-lstm"), 0)
    checkpoints.save(saved, tmp_path / "x.safetensors")
    found = checkpoints.load(tmp_path / "x.safetensors")
    assert (found.digest, found.recipe) == (saved.digest, saved.recipe)
    windows = synthetic_windows(contract_of(network))
    np.testing.assert_array_equal(found.network.logits(windows), network.logits(windows))
    assert [type(layer) for layer in found.network.layers] == [type(layer) for layer in network.layers]


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
def test_the_last_layer_need_not_be_linear(fmt: str, tmp_path: Path) -> None:
    network = Network(24, 9, (conv(6, 5, 9), Reduce("mean")))
    for scheme in ("float32", "int8-weights"):
        export(network, tmp_path / f"{scheme}.{fmt}", scheme=scheme, contract=contract_of(network))


def test_a_layer_that_tflite_lacks_is_refused(tmp_path: Path) -> None:
    network = layer_network("gelu")
    other = Network(24, 9, (network.layers[0], Activation("elu", 0.5), *network.layers[2:]))
    with pytest.raises(InputError, match=r"no ELU with alpha 0\.5"):
        export(other, tmp_path / "x.tflite", contract=contract_of(other))
    assert not list(tmp_path.iterdir())


def test_hidden_convolutions_are_hybrid_with_a_scale_per_output() -> None:
    random = np.random.default_rng(0)
    first, second = (random.normal(size=shape).astype(np.float32) for shape in ((8, 5, 9), (8, 3, 8)))
    second[0] *= 1000  # with one scale for all outputs, the other ones would be rounded to zero
    zeros, head = (
        np.zeros(8, np.float32),
        Linear(random.normal(size=(6, 8)).astype(np.float32), np.zeros(6, np.float32)),
    )
    layers = (Conv1d(first, zeros, relu=True), Conv1d(second, zeros), Activation("tanh"), Reduce("mean"), head)
    network = Network(128, 9, layers)
    contract = contract_of(network)
    model = build_model(network, contract, {}, resolve(network, "tflite", "int8-weights", "unrolled"), None)
    graph = read_model(model, "model").main
    assert [op.version for op in graph.ops if op.kind == "CONV_2D"] == [1, 5]
    windows = synthetic_windows(contract)
    expected = network.logits(windows)
    assert np.abs(LiteRtRunner(model, "model").logits(windows) - expected).max() < 0.1 * np.abs(expected).max()


def test_a_loop_with_a_dynamic_batch_and_a_wider_second_layer() -> None:
    network = random_network(units=4, hidden=(4, 40))
    contract = contract_of(network)
    model = build_model(network, contract, {}, resolve(network, "tflite", "float32", "loop", None), None)
    windows = synthetic_windows(contract)
    np.testing.assert_allclose(LiteRtRunner(model, "model").logits(windows), network.logits(windows), atol=1e-5)
