"""Divergence: correct files have none, wrong ones are located by layer and step."""

from __future__ import annotations

from dataclasses import replace

import flatbuffers
import numpy as np
import onnx as onnx_package
import pytest

from harexport.bench import divergence
from harexport.errors import InputError
from harexport.exporters import checks, onnx, tflite
from harexport.formats import tflite_metadata, tflite_reader
from harexport.model.network import Network
from tests.helpers.networks import contract_of, random_gru, random_network

_NETWORK = random_network(frame=16, hop=8, units=12, hidden=(10, 8), relu=True)
_CONTRACT = contract_of(_NETWORK)
_WINDOW = checks.synthetic_windows(_CONTRACT, 1)


def _emitted(network: Network, form: str) -> tuple[bytes, str]:
    if form == "onnx":
        return onnx.build(network, _CONTRACT, {}), "onnx"
    lowering, scheme = form.split("/")
    return tflite.build(network, _CONTRACT, {}, lowering, scheme), "tflite"


_FORMS = (
    "onnx",
    "fused/float32",
    "unrolled/float32",
    "unrolled/float16",
    "fused/int8-weights",
    "unrolled/int8-weights",
)


@pytest.mark.parametrize("form", _FORMS)
def test_correct_files_have_no_divergence(form: str) -> None:
    scheme = form.split("/")[-1].replace("onnx", "float32")
    found = divergence.find_divergence(*_emitted(_NETWORK, form), scheme, _NETWORK, _WINDOW, 0)
    assert (found.layer, found.step) == (None, None), found.summary
    assert [len(errors) for errors in found.layers] == [15, 15]
    if scheme == "float32":
        assert max(max(errors) for errors in found.layers) < 1e-6
    assert "All states of all layers match" in found.summary


@pytest.mark.parametrize("form", _FORMS[:3])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_wrong_recurrent_weight_diverges_at_the_second_step(form: str, layer: int) -> None:
    """The state of the first step is zero."""
    stack = list(_NETWORK.lstm)
    stack[layer] = replace(stack[layer], recurrent_weight=-stack[layer].recurrent_weight)
    wrong = _NETWORK.replace(recurrent_layers=tuple(stack))
    found = divergence.find_divergence(*_emitted(wrong, form), "float32", _NETWORK, _WINDOW, 4)
    assert (found.layer, found.step) == (layer, 1), found.summary
    assert f"Layer {layer} diverges at step 1" in found.summary
    assert found.window == 4


def test_a_wrong_input_layer_diverges_at_the_first_step() -> None:
    wrong = _NETWORK.replace(mean=_NETWORK.mean + np.float32(0.5))
    found = divergence.find_divergence(*_emitted(wrong, "unrolled/float32"), "float32", _NETWORK, _WINDOW, 0)
    assert (found.layer, found.step) == (0, 0)
    assert "normalization" in found.summary


def test_a_wrong_head_has_no_divergence() -> None:
    wrong = _NETWORK.replace(head=replace(_NETWORK.head, bias=_NETWORK.head.bias + np.float32(1)))
    found = divergence.find_divergence(*_emitted(wrong, "onnx"), "float32", _NETWORK, _WINDOW, 0)
    assert found.layer is None
    assert "check the head" in found.summary


def test_a_cell_clip_diverges_where_a_cell_reaches_it() -> None:
    """TensorFlow's converter clips LSTM cells; with open forget gates they reach the clip after some steps."""
    network = random_network(units=12, hidden=(10,), forget_bias=6.0, seed=2)
    contract = contract_of(network)
    window = checks.synthetic_windows(contract, 1)
    file = tflite_reader.unpack(tflite.build(network, contract, {}, "fused"), "it")
    for operator in file.subgraphs[0].operators:
        if hasattr(operator.builtinOptions, "cellClip"):
            operator.builtinOptions.cellClip = 4.0
    builder = flatbuffers.Builder(1024)
    builder.Finish(file.Pack(builder), b"TFL3")
    model = tflite_metadata.append_files(bytes(builder.Output()), {"labels.txt": ""})
    found = divergence.find_divergence(model, "tflite", "float32", network, window, 0)
    assert found.layer == 0
    assert found.step is not None
    assert found.step > 2
    assert "its error jumps from" in found.summary
    whole = divergence.find_divergence(
        tflite.build(network, contract, {}, "fused"), "tflite", "float32", network, window, 0
    )
    assert whole.step is None


def test_gru_files() -> None:
    network = random_gru(frame=8, hop=8, hidden=(9, 7), relu_candidate=False, coarse=False)
    contract = contract_of(network)
    window = checks.synthetic_windows(contract, 1)
    for model, fmt in (
        (onnx.build(network, contract, {}), "onnx"),
        (tflite.build(network, contract, {}, "unrolled"), "tflite"),
    ):
        found = divergence.find_divergence(model, fmt, "float32", network, window, 0)
        assert found.layer is None, found.summary


def test_full_integer_files_are_refused() -> None:
    with pytest.raises(InputError, match="this file is int8"):
        divergence.find_divergence(b"", "tflite", "int8", _NETWORK, _WINDOW, 0)


def test_the_model_is_not_modified() -> None:
    model, _ = _emitted(_NETWORK, "onnx")
    before = onnx_package.load_from_string(model)
    divergence.find_divergence(model, "onnx", "float32", _NETWORK, _WINDOW, 0)
    assert onnx_package.load_from_string(model) == before


def test_states_inside_a_loop_cannot_be_read() -> None:
    with pytest.raises(InputError, match="in a loop"):
        divergence.find_divergence(*_emitted(_NETWORK, "loop/float32"), "float32", _NETWORK, _WINDOW, 0)
