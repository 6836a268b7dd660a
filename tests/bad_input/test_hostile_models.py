"""Model files that attack the reader or the runtime, and unusual files that must still be described correctly."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

import harexport
from harexport.cli import main
from harexport.errors import InputError
from harexport.formats import read_model, tflite_reader
from harexport.formats.macs import count_macs
from harexport.runtimes import describe_error, litert, sandbox, sandbox_worker
from harexport.runtimes.sandbox import run_sandboxed
from tests.inspection.build import dense, loop, onnx_dense, onnx_model, packed


def _inspect(content: bytes, path: Path, *options: str) -> Result:
    path.write_bytes(content)
    return CliRunner().invoke(main, ["inspect", str(path), *options])


def _findings(result: Result) -> dict[str, str]:
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    return {finding["id"]: finding["meaning"] for finding in found["traps"]}


def _calls_itself(branches: int = 8) -> bytes:
    """A graph whose IFs run the graph itself: 8^16 paths for a reader that follows them."""
    file = dense()
    graph = file.graphs[0]
    condition = graph.constant("condition", np.array([1], np.int32))
    for k in range(branches):
        output = graph.tensor(f"branch{k}", (1, 3))
        options = {"thenSubgraphIndex": 0, "elseSubgraphIndex": 0}
        graph.op("IF", [condition, graph.inputs[0]], [output], 1, ("IfOptions", options))
    return file.bytes()


def test_a_graph_that_calls_itself_is_counted_once() -> None:
    start = time.monotonic()
    macs = count_macs(read_model(_calls_itself(), "model.tflite"))
    assert not macs.complete
    assert time.monotonic() - start < 5


def test_an_operator_that_reads_its_own_output_ends() -> None:
    file = tflite_reader.unpack(loop(8).bytes(), "model")
    condition = file.subgraphs[1]
    file.operatorCodes.append(schema.OperatorCodeT(builtinCode=86, deprecatedBuiltinCode=86, version=1))  # LOGICAL_AND
    output = int(condition.outputs[0])
    condition.operators = [
        schema.OperatorT(opcodeIndex=len(file.operatorCodes) - 1, inputs=[output] * 64, outputs=[output])
    ]
    start = time.monotonic()
    assert not count_macs(read_model(packed(file), "model.tflite")).complete
    assert time.monotonic() - start < 5


def _nested_functions(depth: int) -> bytes:
    """ONNX functions that call the previous one twice: 2^depth nodes once inlined."""
    functions = []
    for k in range(depth):
        call = [f"f{k - 1}", "local"] if k else ["Relu", ""]
        nodes = [
            helper.make_node(call[0], ["x"], ["h"], domain=call[1]),
            helper.make_node(call[0], ["h"], ["y"], domain=call[1]),
        ]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
        functions.append(helper.make_function("local", f"f{k}", ["x"], ["y"], nodes, opsets))
    model = onnx_model(
        [helper.make_node(f"f{depth - 1}", ["window"], ["logits"], domain="local")],
        {"window": [1, 4]},
        {"logits": [1, 4]},
        {},
        domains=("local",),
    )
    model.functions.extend(functions)
    model.ir_version = 8
    return bytes(model.SerializeToString())


def test_native_work_without_end_is_stopped_in_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "_SECONDS", 60)
    result = run_sandboxed(_nested_functions(34), ".onnx", run=False, seconds=4)
    assert result.killed
    assert not result.is_readable
    monkeypatch.setattr(sandbox, "run_sandboxed", lambda *args, **options: result)
    result = _inspect(_nested_functions(2), tmp_path / "nested.onnx")
    assert result.exit_code == 2
    assert "nested.onnx is damaged: reading it takes too much time or memory" in result.stderr


def test_the_reading_child_has_limits() -> None:
    assert sandbox_worker._READ_SECONDS <= 20
    assert sandbox_worker._READ_MEMORY < sandbox_worker._MEMORY


def test_huge_dimensions_are_displayed(tmp_path: Path) -> None:
    file = tflite_reader.unpack(dense().bytes(), "model")
    for tensor in file.subgraphs[0].tensors:
        tensor.shape = [2**31 - 1] * 40
    result = _inspect(packed(file), tmp_path / "model.tflite", "--no-run")
    assert result.exit_code == 0, result.output
    assert "over 10^15 MACs" in result.stdout


def test_a_long_version_is_compared(tmp_path: Path) -> None:
    file = tflite_reader.unpack(dense(version=12).bytes(), "model")
    file.buffers.append(schema.BufferT(data=np.frombuffer(b"9" * 5000, np.uint8)))
    file.metadata = [schema.MetadataT(name="min_runtime_version", buffer=len(file.buffers) - 1)]
    assert _inspect(packed(file), tmp_path / "model.tflite", "--no-run").exit_code == 0


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_no_number_is_not_in_the_json(scale: float, tmp_path: Path) -> None:
    model = dense(dtype="int8", weight=np.eye(3, 4), scale=[scale]).bytes()
    found = _findings(_inspect(model, tmp_path / "model.tflite", "--no-run", "--json"))
    assert "quantised-input" not in found


def test_outputs_that_are_no_tensors_are_ignored(tmp_path: Path) -> None:
    """scikit-learn's converter returns labels, and probabilities as a sequence of maps (ZipMap)."""
    nodes = [
        helper.make_node("Flatten", ["window"], ["flat"], axis=1),
        helper.make_node("Softmax", ["flat"], ["scores"], axis=1),
        helper.make_node(
            "ZipMap", ["scores"], ["probabilities"], domain="ai.onnx.ml", classlabels_strings=["a", "b", "c", "d"]
        ),
    ]
    model = onnx_model(nodes, {"window": [1, 4]}, {"scores": [1, 4]}, {}, domains=("ai.onnx.ml",))
    maps = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    model.graph.output.append(helper.make_value_info("probabilities", helper.make_sequence_type_proto(maps)))
    for entry in model.opset_import:
        entry.version = 3 if entry.domain == "ai.onnx.ml" else 17
    result = run_sandboxed(model.SerializeToString(), ".onnx")
    assert (result.error, result.unexamined, result.change) == (None, None, 0.0)
    found = _findings(_inspect(model.SerializeToString(), tmp_path / "zipmap.onnx", "--json"))
    assert not {"does-not-run", "custom-ops"} & set(found)


def _open_time(steps: int) -> bytes:
    nodes = [
        helper.make_node("Flatten", ["window"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight"], ["logits"], transB=1),
    ]
    weight = np.ones((6, steps * 3), np.float32)
    model = onnx_model(nodes, {"window": ["n", "t", 3]}, {"logits": ["n", 6]}, {"weight": weight})
    return bytes(model.SerializeToString())


def test_the_length_of_an_open_axis_is_derived_from_the_weights() -> None:
    assert run_sandboxed(_open_time(173), ".onnx").error is None


def test_lengths_that_were_tried_are_listed() -> None:
    nodes = [
        helper.make_node("Reshape", ["window", "shape"], ["rows"]),
        helper.make_node("Relu", ["rows"], ["logits"]),
    ]
    shape = {"shape": np.array([1, 3 * 173], np.int64)}
    model = onnx_model(nodes, {"window": [1, "t", 3]}, {"logits": [1, 3 * 173]}, shape)
    error = run_sandboxed(model.SerializeToString(), ".onnx").error
    assert error is not None
    assert "lengths tried for its open axes: 16, 1, 128" in error


def test_the_reason_of_a_newer_ir_version_is_complete(tmp_path: Path) -> None:
    model = onnx_dense()
    model.ir_version = 99
    found = _findings(_inspect(model.SerializeToString(), tmp_path / "new.onnx", "--json"))
    assert "Unsupported model IR version: 99, max supported IR version" in found["does-not-run"]
    assert "newer than any ONNX Runtime that harexport knows" in found["new-runtime"]


def test_errors_of_onnx_runtime_lose_their_source_location() -> None:
    text = "[ONNXRuntimeError] : 1 : FAIL : /src/model.cc:256 ns::Model(ns::Proto&&, const f(int)&) Unsupported (x)"
    assert describe_error(RuntimeError(text)) == "Unsupported (x)"
    assert describe_error(RuntimeError("a\nb\nc\nthe reason\n")) == "the reason"
    assert describe_error(RuntimeError("")) == "RuntimeError"


def test_load_runs_a_file_in_a_child_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(dense().bytes())
    result = sandbox.SandboxResult("LiteRT", "LiteRT crashes while running it (SIGSEGV)", killed=True)
    monkeypatch.setattr(sandbox, "run_sandboxed", lambda *args, **options: result)
    monkeypatch.setattr(litert, "create_interpreter", lambda *args, **options: pytest.fail("loaded in this process"))
    with pytest.raises(InputError, match=r"model\.tflite: LiteRT crashes while running it \(SIGSEGV\)"):
        harexport.load(path)


@pytest.mark.parametrize("command", ["predict", "robustness", "inspect", "bench"])
def test_no_command_crashes(command: str, tmp_path: Path) -> None:
    """A flipped bit of this file ends LiteRT 2.3 with SIGSEGV."""
    content = bytearray((Path(__file__).parents[1] / "inspection" / "foreign" / "tf_keras-lstm.tflite").read_bytes())
    content[5744] ^= 1 << 5
    path = tmp_path / "deadly.tflite"
    path.write_bytes(bytes(content))
    (tmp_path / "walk.csv").write_text("time,ax,ay,az\n" + "\n".join(f"{k / 50},9.8,0,0" for k in range(500)))
    arguments = {
        "predict": ["predict", str(tmp_path / "walk.csv"), "--model", str(path)],
        "robustness": ["robustness", str(path), "--out", str(tmp_path / "out")],
        "inspect": ["inspect", str(path)],
        "bench": ["bench", str(path), "--out", str(tmp_path / "out")],
    }[command]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
