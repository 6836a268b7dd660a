"""Exported files of all formats and lowerings match the reference."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from harexport.exporters import checks, tflite
from harexport.exporters import onnx as onnx_export
from harexport.formats import structure
from harexport.model.network import Network, softmax
from harexport.runtimes.litert import LiteRtRunner
from harexport.runtimes.onnx import OnnxRunner
from tests.helpers.networks import SHAPES, contract_of, random_network

METADATA = {"recipe": "random", "network_sha256": "0" * 64}
LOWERINGS = ("fused", "loop", "unrolled")
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_lowering = pytest.mark.parametrize("lowering", LOWERINGS)


def windows_of(network: Network) -> np.ndarray:
    return checks.synthetic_windows(contract_of(network), count=8, seed=1)


def tflite_of(shape: str, lowering: str, scheme: str = "float32") -> bytes:
    return tflite.build(SHAPES[shape], contract_of(SHAPES[shape]), METADATA, lowering, scheme)


def onnx_of(shape: str) -> bytes:
    return onnx_export.build(SHAPES[shape], contract_of(SHAPES[shape]), METADATA)


@every_shape
def test_onnx_matches_the_reference(shape):
    network = SHAPES[shape]
    model = onnx_of(shape)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    outputs = OnnxRunner(model, shape).logits(windows_of(network))
    assert np.abs(outputs - network.logits(windows_of(network))).max() < 1e-4


@every_lowering
@every_shape
def test_tflite_matches_the_reference(shape, lowering):
    network = SHAPES[shape]
    outputs = LiteRtRunner(tflite_of(shape, lowering), shape).logits(windows_of(network))
    assert np.abs(outputs - network.logits(windows_of(network))).max() < 1e-4


@every_lowering
@pytest.mark.parametrize("shape", ["edge", "seed"])
def test_tflite_without_xnnpack_matches_the_reference(shape, lowering):
    """Runtimes of old phones use TensorFlow Lite's own kernels."""
    from ai_edge_litert.interpreter import OpResolverType

    network = SHAPES[shape]
    windows = windows_of(network)
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    for scheme, allowed in (("float32", 1e-4), ("int8-weights", 0.5)):
        model = tflite_of(shape, lowering, scheme)
        interpreter = Interpreter(model_content=model, experimental_op_resolver_type=resolver)
        run = interpreter.get_signature_runner("serving_default")
        outputs = np.concatenate([run(window=window[None])["logits"] for window in windows])
        assert np.abs(outputs - network.logits(windows)).max() < allowed


@every_lowering
@every_shape
def test_int8_weights_are_close_to_the_reference(shape, lowering):
    network = SHAPES[shape]
    windows = windows_of(network)
    expected = network.logits(windows)
    outputs = LiteRtRunner(tflite_of(shape, lowering, "int8-weights"), shape).logits(windows)
    assert np.sqrt(np.mean((outputs - expected) ** 2)) < 0.08 * np.sqrt(np.mean(expected**2))


def test_onnx_int8_weights_do_not_saturate():
    """x86 without VNNI adds two products of uint8 and int8 in 16 bits, but not with uint8 weights.

    All recurrent weights are at the ends of their range, where sums are the largest.
    """
    network = random_network(hidden=(32,))
    (layer,) = network.recurrent_layers
    sign = np.where(np.arange(4 * 32) % 2, 1.0, -1.0)[:, None].astype(np.float32)
    stiff = dataclasses.replace(layer, recurrent_weight=0.5 * sign * np.ones_like(layer.recurrent_weight))
    network = network.replace(recurrent_layers=(stiff,))
    model = onnx_export.build(network, contract_of(network), {}, "int8-weights")
    held = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load_from_string(model).graph.initializer}
    for part, matrix in (("W", layer.input_weight), ("R", stiff.recurrent_weight)):
        stored, zero = held[f"lstm.0.{part}"], held[f"lstm.0.{part}.zero"]
        assert (stored.dtype, zero.dtype, set(zero.ravel().tolist())) == (np.uint8, np.uint8, {128})
        rows = (stored[0].astype(int) - 128).T * held[f"lstm.0.{part}.scale"].T
        i, o, f, g = np.split(rows, 4)  # ONNX's order
        np.testing.assert_allclose(np.concatenate([i, f, g, o]), matrix, atol=np.abs(matrix).max() / 250)
    windows = windows_of(network)
    difference = np.abs(OnnxRunner(model, "it").logits(windows) - network.logits(windows))
    assert difference.max() < 0.5  # saturated sums differ by 10


@every_lowering
def test_signature_has_logits_and_probabilities(lowering):
    network = SHAPES["edge"]
    window = windows_of(network)[:1]
    interpreter = Interpreter(model_content=tflite_of("edge", lowering))
    outputs = interpreter.get_signature_runner("serving_default")(window=window)
    assert set(outputs) == {"logits", "probabilities"}
    assert np.allclose(outputs["probabilities"], softmax(network.logits(window)), atol=1e-6)


def test_onnx_has_probabilities():
    import onnxruntime

    network = SHAPES["edge"]
    window = windows_of(network)[:1]
    session = onnxruntime.InferenceSession(onnx_of("edge"), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"window": window})
    assert np.allclose(probabilities, softmax(network.logits(window)), atol=1e-6)


@pytest.mark.parametrize("scheme", ["float32", "int8-weights"])
@every_lowering
def test_tflite_bytes_are_deterministic(lowering, scheme):
    assert tflite_of("edge", lowering, scheme) == tflite_of("edge", lowering, scheme)


def test_onnx_bytes_are_deterministic():
    assert onnx_of("edge") == onnx_of("edge")


def test_contract_and_metadata_are_stored():
    contract = contract_of(SHAPES["edge"]).to_dict()
    for lowering in LOWERINGS:
        model = tflite_of("edge", lowering)
        held = structure.read_structure(model, "tflite", "edge")
        assert (held.metadata, held.contract) == (METADATA, contract)
        assert LiteRtRunner(model, "edge").metadata == METADATA
    model = onnx_of("edge")
    held = structure.read_structure(model, "onnx", "edge")
    assert (held.metadata, held.contract) == (METADATA, contract)
    strings = OnnxRunner(model, "edge").metadata
    assert json.loads(strings.pop("contract")) == contract
    assert strings == METADATA


def test_number_of_operators():
    # the linear input layer of baseline-lstm is in its first LSTM's weights
    assert structure.read_structure(onnx_of("seed"), "onnx", "seed").ops == {
        "Reshape": 3,
        "Gemm": 1,
        "LSTM": 2,
        "Softmax": 1,
    }
    edge = structure.read_structure(onnx_of("edge"), "onnx", "edge").ops
    assert edge == {"Gather": 1, "Reshape": 4, "Gemm": 2, "Relu": 1, "LSTM": 2, "Softmax": 1}
    fused = structure.read_structure(tflite_of("seed", "fused"), "tflite", "seed").ops
    assert fused["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 2
    # four zeroed states, one slice, the head
    assert fused == {"SLICE": 5, "UNIDIRECTIONAL_SEQUENCE_LSTM": 2, "FULLY_CONNECTED": 1, "SOFTMAX": 1}
    unrolled = structure.read_structure(tflite_of("edge", "unrolled"), "tflite", "edge").ops
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" not in unrolled
    # 2 layers of 7 steps; the first step of a layer has no recurrent product, nothing to add and to forget
    assert (unrolled["FULLY_CONNECTED"], unrolled["TANH"], unrolled["LOGISTIC"]) == (2 * 6 + 2 + 1, 14, 14)
    assert sum(unrolled.values()) == 169
    # int8 weights: both layers side by side in 8 groups
    side_by_side = structure.read_structure(tflite_of("edge", "unrolled", "int8-weights"), "tflite", "edge").ops
    assert (side_by_side["FULLY_CONNECTED"], side_by_side["TANH"]) == (7 + 1 + 1, 8)
    assert sum(side_by_side.values()) == 97


@pytest.mark.parametrize("scheme", ["float32", "int8-weights"])
def test_xnnpack_runs_the_whole_unrolled_graph(scheme):
    interpreter = Interpreter(model_content=tflite_of("edge", "unrolled", scheme))
    interpreter.allocate_tensors()
    operators = [operator["op_name"] for operator in interpreter._get_ops_details()]
    assert operators.count("DELEGATE") == 1
    delegate = interpreter._get_ops_details()[-1]
    named = {output["index"] for output in interpreter.get_output_details()}
    assert named <= set(delegate["outputs"].tolist())


@every_lowering
@pytest.mark.parametrize("scheme", ["float32", "int8-weights"])
def test_tensorflow_lite_2_6_has_all_operator_versions(lowering, scheme):
    newest = {"FULLY_CONNECTED": 9, "UNIDIRECTIONAL_SEQUENCE_LSTM": 3, "DEQUANTIZE": 4}  # of TensorFlow Lite 2.6
    model = schema.ModelT.InitFromPackedBuf(tflite_of("edge", lowering, scheme), 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    for code in model.operatorCodes:
        assert code.builtinCode == code.deprecatedBuiltinCode
        assert code.version <= newest.get(names[code.builtinCode], 1), names[code.builtinCode]
    assert [entry.name for entry in model.metadata] == [b"harexport", b"min_runtime_version", b"TFLITE_METADATA"]


def test_buffers_are_aligned():
    model = tflite_of("edge", "fused")
    start = np.frombuffer(model, np.uint8).__array_interface__["data"][0]
    file = schema.Model.GetRootAs(model, 0)
    for k in range(file.BuffersLength()):
        if file.Buffers(k).DataLength():
            address = file.Buffers(k).DataAsNumpy().__array_interface__["data"][0]
            assert (address - start) % 16 == 0


def test_steps_share_the_weights():
    held = structure.read_structure(tflite_of("edge", "unrolled"), "tflite", "edge")
    assert sorted(weight.name for weight in held.weights) == [
        "head.weight", "input.weight", "lstm.0.input_weight", "lstm.0.recurrent_weight",
        "lstm.1.input_weight", "lstm.1.recurrent_weight",
    ]  # fmt: skip


def test_synthetic_windows_have_physical_amplitudes():
    contract = contract_of(SHAPES["edge"])
    windows = checks.synthetic_windows(contract)
    assert windows.shape == (16, 128, 9)
    assert windows.dtype == np.float32
    assert np.array_equal(windows, checks.synthetic_windows(contract))
    gravity = np.linalg.norm(windows[1::2, :, 6:].mean(axis=1), axis=1)  # windows with little motion
    assert np.abs(gravity - 1.0).max() < 0.1
    assert 0.3 < windows[::2, :, :6].std() < 1.5
