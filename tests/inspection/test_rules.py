"""Each finding has a small file that shows it; a file without problems has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper

from harexport import inspection
from harexport.formats import macs, read_model, tflite_reader
from harexport.inspection.inspector import Inspection, run_rules
from harexport.inspection.rules import SEVERITIES
from tests.inspection.build import File, dense, loop, onnx_dense, onnx_model, packed

FOREIGN = Path(__file__).with_name("foreign")
_NAN = np.array([[0.5] * 4, [np.nan] * 4, [0.5] * 4])
_INFINITE = np.array([[0.5] * 4, [np.inf] * 4, [0.5] * 4])


def static(model: bytes, name: str = "model.tflite") -> Inspection:
    """Inspect without running the file."""
    contents = read_model(model, name)
    counted = macs.count_macs(contents)
    return Inspection(contents, counted, None, run_rules(contents, counted, None))


def ids(found: Inspection) -> set[str]:
    return {finding.id for finding in found.findings}


def _op(kind: str, custom: bool = False) -> bytes:
    file = dense()
    graph = file.graphs[0]
    more = graph.tensor("probabilities", (1, 3))
    graph.op(kind, [graph.outputs[0]], [more])
    graph.outputs = [more]
    return file.bytes()


def _half() -> bytes:
    file = dense(weight=np.arange(12).reshape(3, 4), dtype="float16")
    return file.bytes()


def _mixed(wide: int = 4) -> bytes:
    """Two layers, [3, wide] in int8 and [3, 3] in float32."""
    file = dense(reads=(1, wide), weight=np.ones((3, wide)), dtype="int8")
    graph = file.graphs[0]
    hidden = graph.outputs[0]
    graph.tensors[hidden].name = "hidden"
    output = graph.tensor("logits", (1, 3))
    graph.op("FULLY_CONNECTED", [hidden, graph.constant("head", np.eye(3)), -1], [output])
    graph.outputs = [output]
    return file.bytes()


def _lstm(cell_clip: float = 0.0, dtype: str = "float32", variables: bool = True) -> bytes:
    file = File()
    graph = file.graph()
    x, y = graph.tensor("window", (1, 4, 3), dtype), graph.tensor("logits", (1, 4, 2), dtype)
    wide = [graph.constant(f"w{k}", np.ones((2, 3)), dtype if dtype == "int8" else "float32") for k in range(4)]
    back = [graph.constant(f"r{k}", np.ones((2, 2)), dtype if dtype == "int8" else "float32") for k in range(4)]
    bias = [graph.constant(f"b{k}", np.zeros(2)) for k in range(4)]
    states = [graph.tensor(f"state{k}", (1, 2), variable=variables) for k in range(2)]
    inputs = [x, *wide, *back, -1, -1, -1, *bias, -1, -1, *states]
    options = {"fusedActivationFunction": schema.ActivationFunctionType.TANH, "cellClip": cell_clip}
    graph.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [y], 1, ("UnidirectionalSequenceLSTMOptions", options))
    graph.inputs, graph.outputs = [x], [y]
    return file.bytes()


def _many() -> bytes:
    file = dense()
    graph = file.graphs[0]
    for k in range(1001):
        next_one = graph.tensor(f"t{k}", (1, 3))
        graph.op("NEG", [graph.outputs[0]], [next_one])
        graph.outputs = [next_one]
    return file.bytes()


def _repeated() -> bytes:
    file = dense()
    graph = file.graphs[0]
    for k in range(20):
        weight, output = graph.constant(f"again{k}", np.eye(64, 3)), graph.tensor(f"t{k}", (1, 64))
        graph.op("FULLY_CONNECTED", [graph.outputs[0], weight, -1], [output])
    return file.bytes()


def _onnx(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray] | None = None, **more: object) -> bytes:
    output = {nodes[-1].output[0]: [1, 3]}
    return onnx_model(nodes, {"window": [1, 4, 3]}, output, constants or {}, **more).SerializeToString()  # type: ignore[arg-type]


def _onnx_lstm(**attributes: float) -> bytes:
    node = helper.make_node("LSTM", ["window", "W", "R", "", "", "h0"], ["", "logits"], hidden_size=2, **attributes)
    constants = {"W": np.ones((1, 8, 3), np.float32), "R": np.ones((1, 8, 2), np.float32)}
    inputs = {"window": [4, 1, 3], "h0": [1, 1, 2]}
    return onnx_model([node], inputs, {"logits": [1, 1, 2]}, constants).SerializeToString()


def _onnx_loop() -> bytes:
    body = helper.make_graph(
        [helper.make_node("Identity", ["goes"], ["go on"]), helper.make_node("MatMul", ["h", "w"], ["h+1"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 3]),
        ],
        [
            helper.make_tensor_value_info("go on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h+1", TensorProto.FLOAT, [1, 3]),
        ],
    )
    node = helper.make_node("Loop", ["trips", "", "window"], ["logits"], body=body)
    constants = {"trips": np.int64(5), "w": np.eye(3, dtype=np.float32)}
    return onnx_model([node], {"window": [1, 3]}, {"logits": [1, 3]}, constants).SerializeToString()


def _by_uint8(largest: int, dtype: type = np.int8) -> bytes:
    """A window quantized to uint8, times weights of up to `largest`."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["window"], ["rounded", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["rounded", "weight", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["logits"], to=TensorProto.FLOAT),
    ]
    return _onnx(nodes, {"weight": np.linspace(0, largest, 9).reshape(3, 3).astype(dtype)})


# finding -> severity, key words of the message, a file that has it
STATIC: dict[str, tuple[str, str, Callable[[], bytes], str]] = {
    "flex-ops": ("danger", "FlexDet", lambda: _op("FlexDet"), "model.tflite"),
    "custom-ops": ("danger", "MyOp", lambda: _op("MyOp"), "model.tflite"),
    "contrib-ops": (
        "warning",
        "com.microsoft.Gelu",
        lambda: _onnx(
            [helper.make_node("Gelu", ["window"], ["logits"], domain="com.microsoft")], domains=("com.microsoft",)
        ),
        "model.onnx",
    ),
    "cell-clip": ("danger", "10", lambda: _lstm(cell_clip=10.0), "model.tflite"),
    "state-persists": ("danger", "2 variable tensors", _lstm, "model.tflite"),
    "state-inputs": ("warning", "h0", _onnx_lstm, "model.onnx"),
    "integer-lstm": ("danger", "2.6", lambda: _lstm(dtype="int8"), "model.tflite"),
    "float-weights": ("danger", "none of its weights are: weight", lambda: dense().bytes(), "har-int8.tflite"),
    "nan-weights": ("danger", "weight: there is NaN", lambda: dense(weight=_NAN).bytes(), "model.tflite"),
    "infinite-weights": ("danger", "infinity", lambda: dense(weight=_INFINITE).bytes(), "model.tflite"),
    "zero-weights": ("warning", "zero", lambda: dense(weight=np.zeros((3, 4))).bytes(), "model.tflite"),
    "loop": ("note", "1 loop", lambda: loop(8).bytes(), "model.tflite"),
    "unrolled": ("warning", "1,002 operators", _many, "model.tflite"),
    "repeated-weights": ("warning", "14.6 KB", _repeated, "model.tflite"),
    "float16-weights": ("note", "1 weight in float16", _half, "model.tflite"),
    "new-runtime": ("warning", "FULLY_CONNECTED 12: needs TensorFlow Lite 2.17", lambda: dense(version=12).bytes(), ""),
    "dynamic-shape": ("note", "[?, 4]", lambda: dense(signature=[-1, 4]).bytes(), "model.tflite"),
    "transposed-input": ("warning", "[1, 9, 128]", lambda: dense(reads=(1, 9, 128)).bytes(), "model.tflite"),
    "no-batch": ("note", "[128, 9]", lambda: dense(reads=(128, 9)).bytes(), "model.tflite"),
    "quantized-input": (
        "note",
        "value / 0.5 +3",
        lambda: dense(dtype="int8", weight=np.eye(3, 4), scale=[0.5]).bytes(),
        "model.tflite",
    ),
    "wide-input": ("warning", "int64", lambda: onnx_dense(dtype=TensorProto.INT64).SerializeToString(), "model.onnx"),
    "unnamed-output": ("note", "Identity is logits", lambda: dense(output="Identity").bytes(), "model.tflite"),
    "no-signature": ("note", "no signature", lambda: dense().bytes(signature=False), "model.tflite"),
    "no-contract": ("note", "rate, units", lambda: dense().bytes(), "model.tflite"),
    "shape-chains": (
        "note",
        "1 Transpose",
        lambda: _onnx([helper.make_node("Transpose", ["window"], ["logits"])]),
        "model.onnx",
    ),
    "saturates": ("warning", "weight: ONNX Runtime multiplies", lambda: _by_uint8(65), "model.onnx"),
    "invalid": ("warning", "checker", lambda: _onnx([helper.make_node("Relu", ["nowhere"], ["logits"])]), "model.onnx"),
}


@pytest.mark.parametrize("identifier", STATIC)
def test_each_finding_is_reported(identifier: str) -> None:
    severity, words, build, name = STATIC[identifier]
    found = static(build(), name or "model.tflite")
    (seen,) = [one for one in found.findings if one.id == identifier]
    assert seen.severity == severity
    assert words in seen.meaning
    assert seen.advice


@pytest.mark.parametrize("model", [dense().bytes(), onnx_dense().SerializeToString()], ids=["tflite", "onnx"])
def test_a_file_without_problems_has_no_findings(model: bytes) -> None:
    found = static(model, "model.tflite" if model[4:8] == b"TFL3" else "model.onnx")
    assert ids(found) == {"no-contract"}
    assert not found.problems


def test_loops_clips_and_versions_of_onnx_are_reported() -> None:
    found = static(_onnx_loop(), "model.onnx")
    assert {one.id: one.severity for one in found.findings}["loop"] == "warning"
    assert found.macs.kinds == {"MatMul": 5 * 9}
    assert "cell-clip" in ids(static(_onnx_lstm(clip=5.0), "model.onnx"))
    assert "new-runtime" in ids(static(onnx_dense(opset=21, ir=10).SerializeToString(), "model.onnx"))
    assert "shape-chains" not in ids(static(onnx_dense().SerializeToString(), "model.onnx"))
    shape = helper.make_node("Shape", ["window"], ["logits"])
    (chain,) = [one for one in static(_onnx([shape]), "m.onnx").findings if one.id == "shape-chains"]
    assert chain.severity == "warning"


def test_weights_that_cannot_saturate_are_not_reported() -> None:
    assert "saturates" not in ids(static(_by_uint8(64), "model.onnx"))
    assert "saturates" not in ids(static(_by_uint8(255, np.uint8), "model.onnx"))


def test_an_open_length_is_a_warning_an_open_batch_a_note() -> None:
    model = onnx_model(
        [helper.make_node("Relu", ["window"], ["logits"])], {"window": [1, "time", 9]}, {"logits": [1, "time", 9]}, {}
    )
    (seen,) = [one for one in static(model.SerializeToString(), "m.onnx").findings if one.id == "dynamic-shape"]
    assert (seen.severity, "[1, time, 9]" in seen.meaning) == ("warning", True)


def test_a_claim_of_int8_is_compared_with_the_weights() -> None:
    """The claim is in the file's name or description; partly quantized files are reported, too."""
    whole = dense(weight=np.eye(3, 4), dtype="int8").bytes()
    assert "float-weights" not in ids(static(whole, "model-int8.tflite"))
    (half,) = [one for one in static(_mixed(), "model-quantized.tflite").findings if one.id == "float-weights"]
    assert half.severity == "danger"
    assert "43% of its weights are not: head (float32)" in half.meaning
    (unasked,) = [one for one in static(_mixed(), "model.tflite").findings if one.id == "float-weights"]
    assert unasked.severity == "warning"
    (few,) = [one for one in static(_mixed(wide=100), "model-int8.tflite").findings if one.id == "float-weights"]
    assert few.severity == "note", "converters leave small tensors in floats"
    assert "float-weights" in ids(static(dense().bytes(description="dynamic-range quantized"), "model.tflite"))
    assert "float-weights" not in ids(static(dense().bytes(), "model.tflite"))


def test_an_understated_runtime_is_reported() -> None:
    file = tflite_reader.unpack(dense(version=12).bytes(), "model")
    file.buffers.append(schema.BufferT(data=np.frombuffer(b"1.5.0".ljust(16, b"\0"), np.uint8)))
    file.metadata = [schema.MetadataT(name="min_runtime_version", buffer=len(file.buffers) - 1)]
    found = static(packed(file))
    assert {"understated-runtime", "new-runtime"} <= ids(found)
    assert found.model.versions["min_runtime_version"] == "1.5.0"


def test_weights_in_another_file(tmp_path: Path) -> None:
    """torch.onnx writes weights there: without the file the model cannot be loaded."""
    path, data = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    onnx.save(onnx_dense(), path, save_as_external_data=True, location=data.name, size_threshold=0)
    found = inspection.inspect(path)
    assert found.run is not None
    assert found.run.error is None
    assert found.model.external == {"model.onnx.data": 48}
    (seen,) = [one for one in found.findings if one.id == "weights-elsewhere"]
    assert seen.severity == "warning"
    data.unlink()
    found = inspection.inspect(path)
    assert {("weights-elsewhere", "danger"), ("does-not-run", "danger")} <= {(t.id, t.severity) for t in found.findings}


def test_external_weights_are_read_from_the_folder_of_the_model_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    folder = tmp_path / "given"
    folder.mkdir()
    onnx.save(onnx_dense(), folder / "m.onnx", save_as_external_data=True, location="secret", size_threshold=0)
    model = onnx.load(folder / "m.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../secret"
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    assert inspection.inspect(folder / "m.onnx", run=False).model.external == {"../secret": None}


def test_dangers_come_first() -> None:
    order = [SEVERITIES.index(finding.severity) for finding in static(_lstm(cell_clip=10.0)).findings]
    assert order == sorted(order)
    assert order[0] == 0
