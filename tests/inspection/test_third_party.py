"""Files of other converters (foreign/README.md), with findings verified by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper

from harexport import inspection
from harexport.exporters import tflite, tflite_lstm
from harexport.formats import macs, read_model, tflite_reader
from harexport.inspection.inspector import run_rules
from harexport.runtimes import sandbox
from tests.helpers.networks import contract_of, random_network, variable_state
from tests.inspection.build import dense, onnx_model, packed

FOREIGN = Path(__file__).with_name("foreign")
FILES = {
    # MACs by hand: 16 steps x 4 x 8 x (9 + 8), the same of 8 + 8, the head's 8 x 6
    "tf_keras-lstm.tflite": (
        "2.6",
        {"UNIDIRECTIONAL_SEQUENCE_LSTM": 16 * 32 * (9 + 8) + 16 * 32 * (8 + 8), "FULLY_CONNECTED": 48},
        {"state-persists": "danger", "cell-clip": "danger", "unnamed-output": "note", "no-contract": "note"},
    ),
    "keras3-lstm.tflite": (
        "2.6",
        {"FULLY_CONNECTED": 16 * 32 * (9 + 8) + 16 * 32 * (8 + 8) + 48},
        {"loop": "note", "unnamed-output": "note", "no-contract": "note"},
    ),
    "torch-lstm.onnx": (
        "1.17",
        {"LSTM": 2 * 16 * 32 * (8 + 8), "MatMul": 16 * 8 * 9, "Gemm": 48},
        {"new-runtime": "warning", "shape-chains": "warning", "unnamed-output": "note", "no-contract": "note"},
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_contents_and_findings(name: str) -> None:
    needs, macs, findings = FILES[name]
    found = inspection.inspect(FOREIGN / name)
    assert found.model.min_runtime[1] == needs
    assert found.macs.kinds == macs
    assert found.macs.complete
    assert {finding.id: finding.severity for finding in found.findings} == findings
    assert sum(part.size_bytes for part in found.model.size_breakdown) == found.model.size_bytes
    assert found.run is not None
    assert found.run.error is None


def test_persistent_state_is_measured() -> None:
    """LiteRT keeps LSTM state between invoke() calls; a forget bias of 6 makes it visible."""
    found = inspection.inspect(FOREIGN / "tf_keras-lstm.tflite")
    assert found.run is not None
    assert found.run.change == pytest.approx(0.595, abs=0.01)
    (finding,) = [finding for finding in found.findings if finding.id == "state-persists"]
    assert finding.meaning == (
        "It keeps state: its output for a window changed by 0.59 after another window and a window of "
        "NaN still affects the output three windows later."
    )
    keras3 = inspection.inspect(FOREIGN / "keras3-lstm.tflite").run
    assert keras3 is not None
    assert (keras3.change, keras3.nan_persists) == (0.0, False)
    assert keras3.probabilities == ("StatefulPartitionedCall_1:0",)


def test_state_without_effect_on_random_windows_is_reported() -> None:
    """Many trained models forget a window within a few steps, but their variables still change."""
    file = tflite_reader.unpack((FOREIGN / "tf_keras-lstm.tflite").read_bytes(), "model")
    biases = [k for op in file.subgraphs[0].operators for k in op.inputs[13:14] if len(op.inputs) > 20]
    assert len(biases) == 2
    for index in biases:
        buffer = file.buffers[file.subgraphs[0].tensors[index].buffer]
        buffer.data = np.full(8, -30.0, np.float32).view(np.uint8)  # the forget gates closed
    examined = sandbox.run_sandboxed(packed(file), ".tflite")
    assert examined.change is not None
    assert examined.change < 0.6
    assert examined.state_residual is not None
    assert examined.state_residual > 0.01
    assert examined.is_stateful


def test_variables_that_the_graph_resets_are_a_note() -> None:
    """A SLICE of zeros into each state before the LSTM reads it."""
    file = tflite_reader.unpack((FOREIGN / "tf_keras-lstm.tflite").read_bytes(), "model")
    graph = file.subgraphs[0]
    variables = [k for k, tensor in enumerate(graph.tensors) if tensor.isVariable]
    places = []
    for values in ([0, 0], [1, 8]):
        file.buffers.append(schema.BufferT(data=np.array(values, np.int32).view(np.uint8)))
        graph.tensors.append(schema.TensorT(shape=[2], type=schema.TensorType.INT32, buffer=len(file.buffers) - 1))
        places.append(len(graph.tensors) - 1)
    file.buffers.append(schema.BufferT(data=np.zeros(32, np.uint8)))
    graph.tensors.append(schema.TensorT(shape=[1, 8], type=schema.TensorType.FLOAT32, buffer=len(file.buffers) - 1))
    file.operatorCodes.append(schema.OperatorCodeT(builtinCode=65, deprecatedBuiltinCode=65, version=1))
    for variable in variables:
        inputs = [len(graph.tensors) - 1, *places]
        slice_ = schema.OperatorT(opcodeIndex=len(file.operatorCodes) - 1, inputs=inputs, outputs=[variable])
        graph.operators.insert(0, slice_)
    reset = packed(file)
    contents = read_model(reset, "model.tflite")
    examined = sandbox.run_sandboxed(reset, ".tflite")
    assert (examined.error, examined.change, examined.state_residual, examined.is_stateful) == (None, 0.0, None, False)
    for run in (None, examined):
        assert "state-reset" in {finding.id for finding in run_rules(contents, macs.count_macs(contents), run)}


def test_persistent_nan_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own fused graph without its zero_state: one window of NaN persists."""
    network = random_network(frame=16, hop=16, units=8, hidden=(8,), forget_bias=6.0)
    whole = sandbox.run_sandboxed(tflite.build(network, contract_of(network), {}, "fused"), ".tflite")
    assert (whole.change, whole.nan_persists, whole.is_stateful) == (0.0, False, False)
    monkeypatch.setattr(tflite_lstm, "zero_state", variable_state)
    examined = sandbox.run_sandboxed(tflite.build(network, contract_of(network), {}, "fused"), ".tflite")
    assert examined.nan_persists
    assert examined.is_stateful


def test_random_outputs_are_not_state() -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["window"], ["noise"]),
        helper.make_node("Add", ["window", "noise"], ["logits"]),
    ]
    model = onnx_model(nodes, {"window": [1, 4]}, {"logits": [1, 4]}, {}).SerializeToString()
    examined = sandbox.run_sandboxed(model, ".onnx")
    assert examined.is_random
    assert not examined.is_stateful


def test_non_finite_outputs_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(dense(weight=np.full((3, 4), np.nan)).bytes())
    found = inspection.inspect(path)
    assert {"no-numbers", "nan-weights"} <= {finding.id for finding in found.findings}
