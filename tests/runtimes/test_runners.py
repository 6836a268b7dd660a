"""Runners: one interface, equal logits, clear errors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper

from harexport import runtimes
from harexport.errors import InputError
from harexport.exporters import checks, tflite
from harexport.exporters import onnx as onnx_export
from harexport.formats.tflite_builder import TfliteBuilder
from harexport.runtimes.litert import LiteRtRunner
from harexport.runtimes.onnx import OnnxRunner
from harexport.runtimes.runner import SUFFIXES, ReferenceRunner, Runner, in_batches
from harexport.runtimes.torch import TorchRunner
from tests.helpers.networks import SHAPES, contract_of

EDGE = SHAPES["edge"]
CONTRACT = contract_of(EDGE)


def every_runner() -> list[Runner]:
    return [
        ReferenceRunner(EDGE),
        TorchRunner(EDGE),
        OnnxRunner(onnx_export.build(EDGE, CONTRACT, {}), "edge.onnx"),
        LiteRtRunner(tflite.build(EDGE, CONTRACT, {}, "fused"), "fused.tflite"),
        LiteRtRunner(tflite.build(EDGE, CONTRACT, {}, "unrolled"), "unrolled.tflite"),
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_torch_matches_the_reference(shape):
    network = SHAPES[shape]
    windows = checks.synthetic_windows(contract_of(network))
    assert np.abs(TorchRunner(network).logits(windows) - network.logits(windows)).max() < 1e-5


@pytest.mark.parametrize("runner", every_runner(), ids=lambda runner: f"{runner.runtime} {runner.name}")
def test_all_runners_have_one_interface(runner):
    windows = checks.synthetic_windows(CONTRACT, count=5)
    expected = EDGE.logits(windows)
    assert runner.window_shape == (128, 9)
    assert runner.metadata.get("scheme") is None  # built without metadata
    assert np.abs(runner.logits(windows) - expected).max() < 1e-4
    assert np.abs(runner.logits(windows.astype(np.float64)) - expected).max() < 1e-4
    assert np.abs(runner.logits(windows[::-1]) - expected[::-1]).max() < 1e-4
    assert np.abs(runner.run_batch(windows[2:3]) - expected[2:3]).max() < 1e-4
    assert runner.logits(windows).shape == (5, 6)
    assert runner.logits(windows[:0]).shape == (0, 6)


@pytest.mark.parametrize("runner", every_runner(), ids=lambda runner: f"{runner.runtime} {runner.name}")
def test_all_runners_reject_wrong_windows(runner):
    windows = checks.synthetic_windows(CONTRACT, count=2)
    for wrong in (windows.transpose(0, 2, 1), windows[0], windows[:, :64], windows[:, :, :6]):
        with pytest.raises(InputError, match="the model expects"):
            runner.logits(wrong)
    with pytest.raises(InputError, match="floating point"):
        runner.logits(windows.astype(np.int32))
    windows[1, 7, 3] = np.nan
    with pytest.raises(InputError, match="window 1 contains NaN"):
        runner.logits(windows)


def test_load_by_suffix(tmp_path):
    (tmp_path / "edge.ONNX").write_bytes(onnx_export.build(EDGE, CONTRACT, {"recipe": "edge"}))
    (tmp_path / "edge.tflite").write_bytes(tflite.build(EDGE, CONTRACT, {"recipe": "edge"}, "unrolled"))
    for name in ("edge.ONNX", "edge.tflite"):
        runtimes.prepare(tmp_path / name)
        runner = runtimes.load(tmp_path / name)
        assert runner.metadata["recipe"] == "edge"
        assert runner.name == str(tmp_path / name)


@pytest.mark.parametrize(("name", "reason"), [("model.h5", "ends in .h5"), ("model", "has no suffix")])
def test_load_lists_supported_suffixes(tmp_path, name, reason):
    with pytest.raises(InputError, match=rf"{reason}.*choose one of \.onnx, \.tflite"):
        runtimes.load(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_load_of_a_missing_file(tmp_path, suffix):
    with pytest.raises(InputError, match="model not found"):
        runtimes.load(tmp_path / f"model{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        runtimes.load(tmp_path / f"folder{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"no model", bytes(5000), b"\x20\0\0\0TFL3" + bytes(64)])
def test_load_of_other_files(tmp_path, suffix, content):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.(onnx|tflite).*(cannot load|expected one)"):
        runtimes.load(path)


def test_a_model_that_loads_but_does_not_run():
    def one(window):
        raise RuntimeError("indices out of range")

    with pytest.raises(InputError, match=r"x\.onnx can be loaded but not run \(indices out of range\)"):
        in_batches(one, np.zeros((2, 128, 9)), 6, 1, "x.onnx")


def test_truncated_onnx(tmp_path):
    whole = onnx_export.build(EDGE, CONTRACT, {})
    for size in [1, 10, 100, *(len(whole) * k // 8 for k in range(1, 8)), len(whole) - 200]:
        with pytest.raises(InputError, match="cut"):
            OnnxRunner(whole[:size], "cut")


def test_an_onnx_model_without_our_names_is_refused():
    value = helper.make_tensor_value_info
    for shape in ([1, 128, 9], [1, "n", 9], [1, 1152]):
        graph = helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"])], "g", [value("x", 1, shape)], [value("y", 1, shape)]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
        onnx.checker.check_model(model)
        with pytest.raises(InputError, match=r"expected one float input \[windows, window, channels\]"):
            OnnxRunner(model.SerializeToString(), "foreign")


def test_a_tflite_model_without_our_names_is_refused():
    for shape in ((1, 128, 9), (1, 1152)):
        graph = TfliteBuilder()
        window = graph.tensor(shape)
        model = graph.finish({"x": window}, {"y": graph.op("TANH", [window], shape)}, "foreign", {})
        with pytest.raises(InputError, match=r"expected one input \[windows, window, channels\]"):
            LiteRtRunner(model, "foreign")


def test_missing_torch_is_reported():
    script = """
import sys
sys.modules["torch"] = None
from harexport.errors import MissingExtraError
try:
    import harexport.runtimes.torch
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "'.[train]'" in done.stdout


def test_importing_the_runtimes_imports_none_of_them():
    script = """
import sys
import harexport.runtimes, harexport.exporters, harexport.exporters.export
print(sorted({"torch", "tensorflow", "onnx", "onnxruntime", "ai_edge_litert"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_native_output_is_kept_off_standard_output():
    script = """
import os
from harexport.runtimes.runner import redirect_native_stdout
with redirect_native_stdout():
    os.write(1, b"a banner\\n")
os.write(1, b"result\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("result\n", "a banner\n")


def test_errors_of_the_runtime_still_reach_standard_error():
    script = """
import os
from harexport.runtimes.litert import filter_info_lines
with filter_info_lines():
    os.write(2, b"INFO: chatter\\nERROR: trouble\\n")
os.write(2, b"after\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["ERROR: trouble", "after"]
