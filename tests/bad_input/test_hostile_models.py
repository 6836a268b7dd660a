"""Model files that attack the reader or the runtime, and unusual files that must still be described correctly."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import onnx.inliner
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

import harexport
from harexport import inspection
from harexport.bench import cold_start
from harexport.bench.discovery import load_model_under_test
from harexport.cli import main
from harexport.errors import InputError
from harexport.evaluation.latency import measure
from harexport.formats import read_model, tflite_reader
from harexport.formats.macs import count_macs
from harexport.model.contract import Contract
from harexport.runtimes import litert, sandbox, worker, worker_main
from harexport.runtimes import onnx as onnx_runner
from harexport.runtimes.runner import describe_error
from harexport.runtimes.sandbox import run_sandboxed
from tests.inspection.build import File, dense, loop, onnx_dense, onnx_model, packed


def _inspect(content: bytes, path: Path, *options: str) -> Result:
    path.write_bytes(content)
    return CliRunner().invoke(main, ["inspect", str(path), *options])


def _findings(result: Result) -> dict[str, str]:
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    return {finding["id"]: finding["meaning"] for finding in found["findings"]}


def _deadly() -> bytes:
    """A file with a flipped bit that ends LiteRT 2.3 with SIGSEGV."""
    content = bytearray((Path(__file__).parents[1] / "inspection" / "foreign" / "tf_keras-lstm.tflite").read_bytes())
    content[5744] ^= 1 << 5
    return bytes(content)


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
    monkeypatch.setattr(sandbox, "_examine", lambda *args: (result, None, b""))
    result = _inspect(_nested_functions(2), tmp_path / "nested.onnx")
    assert result.exit_code == 2
    assert "nested.onnx is damaged: reading it takes too much time or memory" in result.stderr


def test_the_reading_child_has_limits() -> None:
    assert worker_main._READ_SECONDS <= 20
    assert worker_main._READ_MEMORY < worker_main._MEMORY


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
    assert "quantized-input" not in found


@pytest.mark.parametrize(
    "change", [{"rate_hz": 10**400}, {"rate_hz": float("nan")}, {"hop": float("inf")}, {"labels": ["\x1b[2J", "b"]}]
)
def test_an_invalid_contract_is_displayed(change: dict[str, object], tmp_path: Path) -> None:
    contract = json.dumps({**Contract().to_dict(), **change})
    model = onnx_dense(metadata={"contract": contract}).SerializeToString()
    assert "\x1b" not in _inspect(model, tmp_path / "model.onnx", "--no-run").stdout
    _findings(_inspect(model, tmp_path / "model.onnx", "--no-run", "--json"))
    with pytest.raises(InputError, match=r"contract is invalid|expected one float input"):
        harexport.load(tmp_path / "model.onnx")


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


def test_a_model_that_reads_text_is_not_called_unrunnable(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["text"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Softmax", ["numbers"], ["probabilities"], axis=1),
    ]
    model = onnx_model(nodes, {"text": [1, 4]}, {"probabilities": [1, 4]}, {}, dtype=TensorProto.STRING)
    path = tmp_path / "text.onnx"
    result = _inspect(model.SerializeToString(), path)
    assert "Its outputs were not examined: an input of dtype object cannot be generated" in " ".join(
        result.stdout.split()
    )
    assert "does-not-run" not in result.stdout


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


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32"])
def test_rounded_probabilities_are_recognized(dtype: str) -> None:
    """A softmax in integers of 1/256 rarely sums to 1."""
    file = dense(weight=np.array([[0.3, 0.1, 0, 0], [0.1, 0.2, 0, 0], [0, 0, 0.2, 0.1]]), output="scores")
    graph = file.graphs[0]
    softmax = graph.tensor("softmax", (1, 3))
    graph.op("SOFTMAX", graph.outputs, [softmax], 1, ("SoftmaxOptions", {"beta": 1.0}))
    graph.outputs = [softmax]
    if dtype != "float32":
        output = graph.tensor("Identity", (1, 3), dtype, scale=[1 / 256])
        graph.tensors[output].quantization.zeroPoint = [-128 if dtype == "int8" else 0]
        graph.op("QUANTIZE", [softmax], [output])
        graph.outputs = [output]
    result = run_sandboxed(file.bytes(), ".tflite")
    assert result.error is None
    assert result.probabilities == (("softmax",) if dtype == "float32" else ("Identity",))


def test_logits_in_integers_are_not_probabilities() -> None:
    file = dense()
    graph = file.graphs[0]
    output = graph.tensor("logits8", (1, 3), "int8", scale=[0.05])
    graph.op("QUANTIZE", graph.outputs, [output])
    graph.outputs = [output]
    assert run_sandboxed(file.bytes(), ".tflite").probabilities == ()


@pytest.mark.parametrize("time_first", [True, False])
def test_the_batch_axis_is_certain(time_first: bool, tmp_path: Path) -> None:
    """[128, batch, 9] accepts 128 windows of 128 samples, but mixes them."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0 if time_first else 1], keepdims=0),
        helper.make_node("Gemm", ["mean", "w"], ["logits"], transB=1),
    ]
    weight = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    shape = [128, "batch", 9] if time_first else ["batch", 128, 9]
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_model(nodes, {"x": shape}, {"logits": ["batch", 6]}, {"w": weight}).SerializeToString())
    if time_first:
        with pytest.raises(InputError, match=r"model\.onnx: .* its first axis is not the batch"):
            load_model_under_test(path, path.name, {}, Contract(), True)
    else:
        assert load_model_under_test(path, path.name, {}, Contract(), True).batch is None


def _with_training(assigns_in_main: bool = False) -> bytes:
    """Weights in a resource variable, which a second signature trains."""
    file = File()
    graphs = main_graph, training, initialization = [file.graph() for _ in range(3)]
    kernel = np.random.default_rng(0).normal(size=(6, 128 * 9)).astype(np.float32) / 20
    handles = []
    for graph in graphs:
        handle = graph.tensor("handle", ())
        graph.tensors[handle].type = schema.TensorType.RESOURCE
        handles.append(handle)
    variable = ("VarHandleOptions", {"container": "", "sharedName": "kernel"})
    initial = initialization.constant("initial", kernel)
    initialization.op("VAR_HANDLE", [], [handles[2]], 1, variable)
    initialization.op("ASSIGN_VARIABLE", [handles[2], initial], [])
    for graph, handle in ((main_graph, handles[0]), (training, handles[1])):
        window = graph.tensor("window", (1, 128, 9))
        weight, logits = graph.tensor("weight", (6, 128 * 9)), graph.tensor("logits", (1, 6))
        graph.op("CALL_ONCE", [], [], 1, ("CallOnceOptions", {"initSubgraphIndex": 2}))
        graph.op("VAR_HANDLE", [], [handle], 1, variable)
        graph.op("READ_VARIABLE", [handle], [weight])
        graph.op("FULLY_CONNECTED", [window, weight, -1], [logits], 1, ("FullyConnectedOptions", {}))
        if graph is training or assigns_in_main:
            graph.op("ASSIGN_VARIABLE", [handle, weight], [])
        graph.inputs, graph.outputs = [window], [logits]
    return file.bytes()


def test_weights_in_resource_variables_are_not_state(tmp_path: Path) -> None:
    content = _with_training()
    found = _findings(_inspect(content, tmp_path / "model.tflite", "--json"))
    assert not {"does-not-run", "state-persists", "state-reset"} & set(found)
    assert "state-persists" in _findings(
        _inspect(_with_training(True), tmp_path / "state.tflite", "--no-run", "--json")
    )
    model = load_model_under_test(tmp_path / "model.tflite", "model.tflite", {}, Contract(), True)
    assert model.load().logits(np.zeros((2, 128, 9), np.float32)).shape == (2, 6)
    assert litert.arena_bytes(content) >= 128 * 9 * 4
    figures = cold_start.measure(tmp_path / "model.tflite", (128, 9), name="model", fmt="tflite", output=0, processes=1)
    assert figures[0]["arena"] is not None


@pytest.fixture
def no_native_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail if a runtime, or ONNX's native code, gets a file in this process."""
    for module, name in (
        (litert, "create_interpreter"),
        (onnx_runner, "create_session"),
        (onnx.checker, "check_model"),
        (onnx.shape_inference, "infer_shapes"),
        (onnx.inliner, "inline_local_functions"),
    ):
        monkeypatch.setattr(module, name, lambda *args, **options: pytest.fail("loaded in this process"))


@pytest.mark.parametrize("name", ["edge-fused-float32.tflite", "edge-float32.onnx"])
@pytest.mark.usefixtures("no_native_load")
def test_no_file_is_loaded_in_this_process(name: str, tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "artifacts" / "edge" / name
    windows = np.random.default_rng(0).normal(size=(3, 128, 9)).astype(np.float32)
    assert harexport.load(path).logits(windows).shape == (3, 6)
    assert inspection.inspect(path).run is not None
    model = load_model_under_test(path, path.name, {}, Contract(), True)
    assert model.load().logits(windows).shape == (3, 6)
    assert len(measure(lambda: {"it": model.load()}, windows, 25).by_model["it"].ravel()) == 25
    assert sandbox.read_intermediate_values(path.read_bytes(), path.suffix, path.name, windows[:1])


def test_a_crash_is_the_error_of_its_file_alone(tmp_path: Path) -> None:
    """The worker runs many models; one that ends it is reported, and the others are loaded again."""
    path = Path(__file__).parents[2] / "artifacts" / "edge" / "edge-fused-float32.tflite"
    model, window = harexport.load(path), np.ones((1, 128, 9), np.float32)
    logits = model.logits(window)
    assert isinstance(model.runner, sandbox.SandboxedRunner)
    with worker.use_worker() as first:
        pid = first._process.pid
    result = run_sandboxed(_deadly(), ".tflite")
    assert result.error is not None
    assert "SIGSEGV" in result.error
    np.testing.assert_array_equal(model.logits(window), logits)
    with worker.use_worker() as second:
        assert second._process.pid != pid
        second._process.kill()  # for instance by the system, for lack of memory
        second._process.wait()
    np.testing.assert_array_equal(model.logits(window), logits)


def test_a_runner_that_ends_its_process_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(__file__).parents[2] / "artifacts" / "edge" / "edge-fused-float32.tflite"
    model = harexport.load(path)
    end = worker.WorkerEnded("run", "SIGSEGV", is_late=False, can_retry=False)

    def crash(*arguments: object) -> None:
        raise end

    monkeypatch.setattr(worker.Worker, "request", crash)
    with pytest.raises(InputError, match=r"LiteRT \S+ crashes while running it \(SIGSEGV\); export it again"):
        model.logits(np.ones((1, 128, 9), np.float32))


@pytest.mark.parametrize("command", ["predict", "robustness", "inspect", "bench"])
def test_no_command_crashes(command: str, tmp_path: Path) -> None:
    path = tmp_path / "deadly.tflite"
    path.write_bytes(_deadly())
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_pipes_and_devices_are_refused(suffix: str, tmp_path: Path) -> None:
    pipe, device = tmp_path / f"pipe{suffix}", tmp_path / f"device{suffix}"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        for read in (harexport.load, inspection.inspect):
            with pytest.raises(InputError, match="is no regular file"):
                read(path)
        with pytest.raises(InputError, match="is no regular file"):
            load_model_under_test(path, path.name, {}, Contract(), True)


def test_weights_in_a_device_are_not_read(tmp_path: Path) -> None:
    onnx.save(onnx_dense(), tmp_path / "m.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    (tmp_path / "w.data").unlink()
    (tmp_path / "w.data").symlink_to("/dev/zero")
    start = time.monotonic()
    model = read_model((tmp_path / "m.onnx").read_bytes(), "m.onnx", tmp_path)
    assert model.external == {"w.data": None}
    assert time.monotonic() - start < 5


def test_shared_tables_are_refused_before_they_are_unpacked() -> None:
    """2,000 graphs that are one table, with 2,000 tensors that are one table: 16 GB in 21 kB."""
    builder = flatbuffers.Builder(1 << 16)
    tensor = schema.TensorT(name=b"x" * 1000, shape=[1] * 1000).Pack(builder)
    schema.SubGraphStartTensorsVector(builder, 2000)
    for _ in range(2000):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, 2000)
    for _ in range(2000):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    start = time.process_time()
    with pytest.raises(InputError, match=r"m\.tflite is damaged: its tables share their content"):
        read_model(bytes(builder.Output()), "m.tflite")
    assert time.process_time() - start < 2
