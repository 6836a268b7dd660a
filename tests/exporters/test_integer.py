"""Full integer files: close to the reference, stateless, and integer between input and logits."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from harexport.data.dataset import Windows
from harexport.errors import InputError
from harexport.exporters import calibration as quantize
from harexport.exporters import checks, tflite_int8
from harexport.formats import structure, tflite_builder, tflite_reader
from harexport.model.network import Network
from harexport.runtimes.litert import LiteRtRunner
from tests.helpers.networks import SHAPES, contract_of, random_network

LSTM_SHAPES = [name for name, network in SHAPES.items() if network.kind == "lstm" and network.coarse_head is None]
REMEMBERING = {
    "128 steps": random_network(forget_bias=6.0),
    "7 steps": random_network(frame=32, hop=16, units=48, hidden=(48, 48), relu=True, forget_bias=6.0),
    "three layers": random_network(frame=16, hop=16, hidden=(24, 32, 16), forget_bias=6.0),
}
every_shape = pytest.mark.parametrize("shape", LSTM_SHAPES)
every_lowering = pytest.mark.parametrize("lowering", ["fused", "unrolled"])
every_io = pytest.mark.parametrize("io", ["float32", "int8"])
every_memory = pytest.mark.parametrize("memory", REMEMBERING)


def windows_of(network: Network, count: int = 16, seed: int = 1) -> np.ndarray:
    return checks.synthetic_windows(contract_of(network), count, seed)


@functools.cache
def calibration_of(name: str) -> quantize.Calibration:
    network = SHAPES[name] if name in SHAPES else REMEMBERING[name]
    windows = windows_of(network, 24, seed=2)
    zeros = np.zeros(len(windows), np.int64)
    return quantize.calibrate(network, Windows(windows, zeros, zeros))


def emitted(name: str, lowering: str, io: str = "float32", cell: str | None = None) -> bytes:
    network = SHAPES[name] if name in SHAPES else REMEMBERING[name]
    calibration = calibration_of(name)
    calibration = dataclasses.replace(calibration, cell=cell) if cell else calibration
    return tflite_int8.build(network, contract_of(network), {}, lowering, calibration, io)


def relative_error(logits: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((logits - expected) ** 2)) / np.sqrt(np.mean(expected**2)))


@every_io
@every_lowering
@every_shape
def test_matches_the_reference(shape, lowering, io):
    network = SHAPES[shape]
    windows = windows_of(network)
    assert (
        relative_error(LiteRtRunner(emitted(shape, lowering, io), shape).logits(windows), network.logits(windows))
        < 0.08
    )


@pytest.mark.parametrize("cell", ["int8", "int16"])
@pytest.mark.parametrize("shape", ["edge", "three-layers", "one-layer"])
def test_unrolled_with_int8_and_int16_cells(shape, cell):
    network = SHAPES[shape]
    windows = windows_of(network)
    error = relative_error(
        LiteRtRunner(emitted(shape, "unrolled", cell=cell), shape).logits(windows), network.logits(windows)
    )
    assert error < (0.08 if cell == "int8" else 0.02)


@every_lowering
@pytest.mark.parametrize("shape", ["edge", "seed"])
def test_reference_kernels_agree(shape, lowering):
    """Without XNNPACK, as on old phones."""
    network = SHAPES[shape]
    windows = windows_of(network, 6)
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=emitted(shape, lowering), experimental_op_resolver_type=resolver)
    run = interpreter.get_signature_runner("serving_default")
    logits = np.concatenate([run(window=window[None])["logits"] for window in windows])
    assert relative_error(logits, network.logits(windows)) < 0.12


class Embedder:
    """Run windows in order without a reset."""

    def __init__(self, model: bytes) -> None:
        self.runner = LiteRtRunner(model, "embedded")

    def __call__(self, window: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", over="ignore"):
            return self.runner.run_batch_keep_state(window[None])[0]


@every_io
@every_memory
@every_lowering
def test_no_state_between_invocations(memory, lowering, io):
    windows = windows_of(REMEMBERING[memory], 8)
    run = Embedder(emitted(memory, lowering, io))
    in_order = np.array([run(window) for window in windows])
    a, _, again = run(windows[0]), run(windows[1]), run(windows[0])
    assert np.array_equal(a, again)
    order = np.random.default_rng(0).permutation(len(windows))
    assert np.array_equal(np.array([run(windows[k]) for k in order]), in_order[order])


@every_memory
@every_lowering
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
def test_nan_window_does_not_persist(memory, lowering, poison):
    windows = windows_of(REMEMBERING[memory], 2)
    run = Embedder(emitted(memory, lowering))
    before = run(windows[0])
    for first in (0, windows.shape[1] - 1):  # all of it, and its last sample alone
        poisoned = windows[1].copy()
        poisoned[first:] = poison
        run(poisoned)
        assert np.array_equal(run(windows[0]), before)


@every_memory
def test_negative_control_without_zeroing_the_state_persists(memory, monkeypatch):
    """Without the operators that zero h and c, the tests above fail."""
    write = tflite_builder.TfliteBuilder.add_op

    def without_zeroing(self, operator, inputs, outputs, **options):
        if operator != "SLICE" or not self._tensors[outputs[0]].isVariable:
            write(self, operator, inputs, outputs, **options)

    monkeypatch.setattr(tflite_builder.TfliteBuilder, "add_op", without_zeroing)
    windows = windows_of(REMEMBERING[memory], 3)
    run = Embedder(emitted(memory, "fused"))
    first, _, again = (run(windows[k]) for k in (0, 1, 0))
    assert not np.array_equal(first, again)


def tensors_by_operator(model: bytes) -> list[tuple[str, list[str], list[str]]]:
    """Return all operators with the types of their inputs and outputs."""
    file = tflite_reader.unpack(model, "model")
    graph = file.subgraphs[0]
    types = {number: name for name, number in vars(schema.TensorType).items() if not name.startswith("_")}

    def dtypes(indices) -> list[str]:
        return [types[graph.tensors[k].type] for k in indices if k >= 0]

    names = [tflite_reader.operator_name(code) for code in file.operatorCodes]
    return [(names[op.opcodeIndex], dtypes(op.inputs), dtypes(op.outputs)) for op in graph.operators]


@every_io
@every_lowering
@every_shape
def test_inner_operators_are_integer(shape, lowering, io):
    operators = tensors_by_operator(emitted(shape, lowering, io))
    floating = [name for name, reads, writes in operators if "FLOAT32" in reads + writes]
    wide = lowering == "unrolled" and calibration_of(shape).cell == "int16"
    input_ops = ["MUL", "SUB", "QUANTIZE"]
    if not wide and not (lowering == "fused" and shape == "seed"):  # whose LSTM reads the window itself
        input_ops += ["DEQUANTIZE", "SUB", "QUANTIZE"]  # the low part
    if io == "float32":
        assert floating == [*input_ops, "DEQUANTIZE", "SOFTMAX"]
    else:
        assert floating == (["DEQUANTIZE", *input_ops] if wide else [])
    for name, reads, writes in operators:
        if name == "CONV_2D":
            assert (reads, writes) == (
                (["INT16", "INT8", "INT64"], ["INT16"]) if wide else (["INT8", "INT8", "INT32"], ["INT8"])
            )
        if name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            assert reads == ["INT8"] * 9 + ["INT32"] * 4 + ["INT8", "INT16"]  # rows, weights, biases, h, c
    held = structure.read_structure(emitted(shape, lowering, io), "tflite", shape)
    matrices = [weight for weight in held.weights if "weight" in weight.name]
    assert {weight.dtype for weight in matrices} == {"int8"}
    if lowering == "fused":
        assert held.ops["UNIDIRECTIONAL_SEQUENCE_LSTM"] == len(SHAPES[shape].lstm)
        assert held.cell_clips == (0.0,) * len(SHAPES[shape].lstm)


def test_steps_share_the_weights():
    file = tflite_reader.unpack(emitted("edge", "unrolled"), "edge")
    kernels = [t for t in file.subgraphs[0].tensors if t.name and t.name.endswith(b"_weight")]
    assert sorted(t.name.decode() for t in kernels) == [
        "head_weight", "input.fine_weight", "input_weight", "lstm.0.input_weight", "lstm.recurrent_weight"
    ]  # fmt: skip


def test_xnnpack_runs_the_whole_int8_graph():
    interpreter = Interpreter(model_content=emitted("edge", "unrolled", cell="int8"))
    interpreter.allocate_tensors()
    operators = [operator["op_name"] for operator in interpreter._get_ops_details()]
    assert operators.count("DELEGATE") == 1
    delegate = interpreter._get_ops_details()[-1]
    named = {output["index"] for output in interpreter.get_output_details()}
    assert named <= set(delegate["outputs"].tolist())


@every_lowering
@pytest.mark.parametrize("cell", ["int8", "int16"])
def test_tensorflow_lite_2_6_has_all_operator_versions(lowering, cell):
    newest = {"CONV_2D": 5, "UNIDIRECTIONAL_SEQUENCE_LSTM": 3, "DEQUANTIZE": 4, "ADD": 4, "SUB": 5, "MUL": 5}
    newest |= {"QUANTIZE": 2, "LOGISTIC": 3, "TANH": 3, "SPLIT": 4, "SLICE": 5, "SOFTMAX": 3, "RESHAPE": 1}
    file = tflite_reader.unpack(emitted("edge", lowering, cell=cell), "edge")
    for code in file.operatorCodes:
        assert code.version <= newest[tflite_reader.operator_name(code)], tflite_reader.operator_name(code)
    named = {entry.name: bytes(tflite_reader.buffer_data(file, entry.buffer)) for entry in file.metadata}
    assert named[b"min_runtime_version"].startswith(b"2.6.0\0")


@every_lowering
def test_int8_input_and_outputs_have_scales(lowering):
    interpreter = Interpreter(model_content=emitted("edge", lowering, "int8"))
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    assert (given["name"], given["dtype"], given["shape"].tolist()) == ("window", np.int8, [1, 128, 9])
    low, high = calibration_of("edge").ranges["window"]
    scale, zero = given["quantization"]
    assert ((-128 - zero) * scale, (127 - zero) * scale) == pytest.approx((low, high), abs=scale)
    outputs = {output["name"]: output for output in interpreter.get_output_details()}
    assert [outputs[name]["dtype"] for name in ("logits", "probabilities")] == [np.int8, np.int8]
    assert outputs["probabilities"]["quantization"] == (1 / 256, -128)
    assert outputs["logits"]["quantization"][0] > 0
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature == {"inputs": ["window"], "outputs": ["logits", "probabilities"]}


@every_lowering
def test_bytes_are_deterministic(lowering):
    assert emitted("edge", lowering) == emitted("edge", lowering)
    calibration_of.cache_clear()
    first = calibration_of("edge")
    calibration_of.cache_clear()
    assert calibration_of("edge") == first


def test_calibration_to_dict_is_json():
    calibration = calibration_of("edge")
    plain = json.loads(json.dumps(calibration.to_dict()))
    assert plain == calibration.to_dict()
    assert plain["indices"] == list(range(24))
    assert len(plain["sha256"]) == 64
    assert {"window", "window.8", "rows", "cell", "lstm.1.state", "logits"} <= set(plain["ranges"])


def test_choose_windows_is_balanced_and_deterministic():
    subjects = np.repeat([1, 2, 3], [700, 200, 100])
    labels = np.tile(np.arange(5), 200)
    train = Windows(np.zeros((1000, 2, 1), np.float32), labels, subjects)
    chosen = quantize.choose_windows(train, 150)
    assert np.array_equal(chosen, quantize.choose_windows(train, 150))
    assert not np.array_equal(chosen, quantize.choose_windows(train, 150, seed=1))
    assert len(np.unique(chosen)) == 150
    pairs = np.unique(np.stack([subjects[chosen], labels[chosen]]), axis=1, return_counts=True)[1]
    assert pairs.tolist() == [10] * 15
    assert len(quantize.choose_windows(train, 5000)) == 1000


def test_forward_with_intermediates():
    network = SHAPES["edge"]
    sequence = np.random.default_rng(0).normal(size=(3, 5, 48))
    passed = network.lstm[0].forward(sequence, return_intermediates=True)
    assert np.allclose(passed.states, network.lstm[0].forward(sequence), atol=1e-12)
    assert np.allclose(passed.projected, sequence @ network.lstm[0].input_weight.T + network.lstm[0].bias)


def test_invalid_calibration_windows_are_rejected():
    network = SHAPES["edge"]
    nothing = np.zeros(0, np.int64)
    with pytest.raises(InputError, match="at least one window"):
        quantize.calibrate(network, Windows(np.zeros((0, 128, 9), np.float32), nothing, nothing))
    one = np.zeros(1, np.int64)
    with pytest.raises(InputError, match="windows have shape"):
        quantize.calibrate(network, Windows(np.zeros((1, 64, 9), np.float32), one, one))
    with pytest.raises(InputError, match="NaN"):
        quantize.calibrate(network, Windows(np.full((1, 128, 9), np.nan, np.float32), one, one))
