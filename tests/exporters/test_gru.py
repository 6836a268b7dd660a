"""Exported GRU networks match the reference, with both conventions of the reset gate."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from harexport.exporters import checks, tflite
from harexport.exporters import onnx as onnx_export
from harexport.model.network import Network
from tests.helpers.networks import GRU_SHAPES, contract_of, random_gru

SCHEMES = ("float32", "float16", "int8-weights")
OUTPUTS = {"head": "logits", "coarse": "coarse_logits"}
every_shape = pytest.mark.parametrize("shape", GRU_SHAPES)
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)
xnnpack = pytest.mark.parametrize("resolver", [OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES])
Outputs = dict[str, np.ndarray]


def tflite_of(network: Network, scheme: str = "float32") -> bytes:
    return tflite.build(network, contract_of(network), {}, "unrolled", scheme)


def onnx_of(network: Network, scheme: str = "float32") -> bytes:
    return onnx_export.build(network, contract_of(network), {}, scheme)


def windows_of(network: Network) -> np.ndarray:
    return checks.synthetic_windows(contract_of(network), count=8, seed=1)


def expected_of(network: Network) -> Outputs:
    return {OUTPUTS[head]: network.logits(windows_of(network), head=head) for head in network.heads()}


def run_tflite(model: bytes, windows: np.ndarray, resolver: OpResolverType = OpResolverType.AUTO) -> Outputs:
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=resolver, num_threads=1)
    signature = interpreter.get_signature_runner("serving_default")
    outputs = [signature(window=window[None]) for window in windows]
    return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}


def run_onnx(model: bytes, windows: np.ndarray) -> Outputs:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = [session.run(names, {"window": window[None]}) for window in windows]
    return {name: np.concatenate([output[k] for output in outputs]) for k, name in enumerate(names)}


@every_shape
@xnnpack
def test_tflite_matches_the_reference(shape: str, resolver: OpResolverType) -> None:
    network = GRU_SHAPES[shape]
    outputs = run_tflite(tflite_of(network), windows_of(network), resolver)
    for name, expected in expected_of(network).items():
        assert np.abs(outputs[name] - expected).max() < 1e-4


@every_shape
def test_onnx_matches_the_reference(shape: str) -> None:
    network = GRU_SHAPES[shape]
    outputs = run_onnx(onnx_of(network), windows_of(network))
    for name, expected in expected_of(network).items():
        assert np.abs(outputs[name] - expected).max() < 1e-4


@pytest.mark.parametrize("shape", [shape for shape, network in GRU_SHAPES.items() if network.num_steps > 1])
def test_reset_gate_conventions_differ(shape: str) -> None:
    """The logits of the other convention differ, so that the tests above detect it."""
    network = GRU_SHAPES[shape]
    plain = [dataclasses.replace(layer, recurrent_bias=np.zeros_like(layer.recurrent_bias)) for layer in network.gru]
    network = network.replace(recurrent_layers=tuple(plain))
    stack = tuple(dataclasses.replace(layer, reset_after=not layer.reset_after) for layer in plain)
    other = network.replace(recurrent_layers=stack)
    expected = network.logits(windows_of(network))
    for outputs in (run_tflite(tflite_of(other), windows_of(network)), run_onnx(onnx_of(other), windows_of(network))):
        assert np.abs(outputs["logits"] - expected).max() > 0.01


@every_shape
@xnnpack
@pytest.mark.parametrize(("scheme", "allowed"), [("float16", 0.002), ("int8-weights", 0.08)])
def test_quantized_tflite_is_close_to_the_reference(
    shape: str, resolver: OpResolverType, scheme: str, allowed: float
) -> None:
    network = GRU_SHAPES[shape]
    outputs = run_tflite(tflite_of(network, scheme), windows_of(network), resolver)
    for name, expected in expected_of(network).items():
        assert np.sqrt(np.mean((outputs[name] - expected) ** 2)) < allowed * np.sqrt(np.mean(expected**2))


@every_shape
@pytest.mark.parametrize("scheme", ["float16", "int8-weights"])
def test_quantized_onnx_is_close_to_the_reference(shape: str, scheme: str) -> None:
    network = GRU_SHAPES[shape]
    outputs = run_onnx(onnx_of(network, scheme), windows_of(network))
    for name, expected in expected_of(network).items():
        assert np.sqrt(np.mean((outputs[name] - expected) ** 2)) < 0.05 * np.sqrt(np.mean(expected**2))


def with_a_long_memory(reset_after: bool) -> Network:
    """Update gates near 1: small random weights forget fast enough to hide a persistent state."""
    network = random_gru(reset_after=reset_after, relu_candidate=False)
    (layer,) = network.gru
    bias = layer.bias.copy()
    bias[layer.hidden : 2 * layer.hidden] = 6.0
    return network.replace(recurrent_layers=(dataclasses.replace(layer, bias=bias),))


@every_scheme
@pytest.mark.parametrize("reset_after", [True, False])
def test_no_state_between_invocations(scheme: str, reset_after: bool) -> None:
    network = with_a_long_memory(reset_after)
    windows = windows_of(network)
    order = np.array([0, 1, 0, 7, 3, 3, 5, 1])
    poison = np.full_like(windows[:1], np.nan)
    for run, model in ((run_tflite, tflite_of(network, scheme)), (run_onnx, onnx_of(network, scheme))):
        in_order = run(model, windows)
        shuffled = run(model, np.concatenate([windows[order], poison, windows[:1]]))
        for name, outputs in in_order.items():
            np.testing.assert_array_equal(shuffled[name][:8], outputs[order])
            np.testing.assert_array_equal(shuffled[name][-1], outputs[0])


@every_shape
@every_scheme
def test_xnnpack_runs_the_whole_graph(shape: str, scheme: str) -> None:
    interpreter = Interpreter(model_content=tflite_of(GRU_SHAPES[shape], scheme))
    interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    assert [operator["op_name"] for operator in operators].count("DELEGATE") == 1
    named = {output["index"] for output in interpreter.get_output_details()}
    assert named <= set(operators[-1]["outputs"].tolist())


def operators_of(model: bytes) -> Counter[str]:
    file = schema.ModelT.InitFromPackedBuf(model, 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    return Counter(names[file.operatorCodes[record.opcodeIndex].builtinCode] for record in file.subgraphs[0].operators)


def test_number_of_operators_per_step() -> None:
    # input layer, projection and two heads; 127 steps of two products each, the first step of none
    before = operators_of(tflite_of(GRU_SHAPES["baseline-gru"]))
    assert (before["FULLY_CONNECTED"], before["LOGISTIC"], before["SOFTMAX"]) == (2 + 2 + 2 * 127, 128, 2)
    assert sum(before.values()) == 2 + 4 + 7 + 12 * 127
    # one product a step; a ReLU is part of its ADD, TANH is an operator
    after = operators_of(tflite_of(GRU_SHAPES["relu-after"]))
    assert (after["FULLY_CONNECTED"], after["LOGISTIC"], after["TANH"]) == (2 + 2 + 31, 32, 0)
    assert sum(after.values()) == 2 + 4 + 8 + 13 * 31
    assert operators_of(tflite_of(GRU_SHAPES["pytorch"]))["TANH"] == 2 * 7


@every_scheme
@pytest.mark.parametrize("shape", ["baseline-gru", "pytorch"])
def test_tensorflow_lite_2_6_has_all_operator_versions(shape: str, scheme: str) -> None:
    newest = {"FULLY_CONNECTED": 9, "DEQUANTIZE": 4}
    file = schema.ModelT.InitFromPackedBuf(tflite_of(GRU_SHAPES[shape], scheme), 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    for code in file.operatorCodes:
        assert code.version <= newest.get(names[code.builtinCode], 1), names[code.builtinCode]


def test_onnx_has_one_node_per_layer() -> None:
    for shape, reset_after, activation in (("baseline-gru", 0, b"Relu"), ("pytorch", 1, b"Tanh")):
        network = GRU_SHAPES[shape]
        model = onnx.load_from_string(onnx_of(network))
        onnx.checker.check_model(model, full_check=True)
        nodes = [node for node in model.graph.node if node.op_type == "GRU"]
        assert len(nodes) == len(network.recurrent_layers)
        for node in nodes:
            attributes = {attribute.name: attribute for attribute in node.attribute}
            assert attributes["linear_before_reset"].i == reset_after
            assert list(attributes["activations"].strings) == [b"Sigmoid", activation]
        assert [bool(node.output[0]) for node in nodes] == [True] * (len(nodes) - 1) + [False]
        assert "Transpose" not in {node.op_type for node in model.graph.node}


def test_onnx_reference_evaluator_agrees() -> None:
    """ONNX's evaluator shares no code with ONNX Runtime; it supports a GRU with tanh in one direction."""
    from onnx.reference import ReferenceEvaluator

    for reset_after in (True, False):
        network = random_gru(frame=8, hop=8, reset_after=reset_after, relu_candidate=False, coarse=False)
        window = windows_of(network)[:1]
        (logits,) = ReferenceEvaluator(onnx.load_from_string(onnx_of(network))).run(["logits"], {"window": window})
        assert np.abs(logits - network.logits(window)).max() < 1e-4


def test_compiled_model_runs_the_graph() -> None:
    """CompiledModel prints at the end of the process, hence the subprocess."""
    code = f"from {__name__} import ask_compiled_model; ask_compiled_model()"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr


def ask_compiled_model() -> None:
    from ai_edge_litert.compiled_model import CompiledModel

    for shape in ("baseline-gru", "pytorch"):
        network = GRU_SHAPES[shape]
        window = windows_of(network)[:1]
        compiled = CompiledModel.from_buffer(tflite_of(network))
        inputs, outputs = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
        inputs[0].write(window)
        compiled.run_by_index(0, inputs, outputs)
        outputs = outputs[0].read(network.num_labels, np.float32)
        assert np.abs(outputs - network.logits(window)[0]).max() < 1e-4
