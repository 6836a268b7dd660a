"""TensorFlow's calibrator and harexport's calibration agree for the same LSTM and windows."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from harexport.data.dataset import Windows
from harexport.exporters import calibration as quantize
from harexport.exporters import checks, tflite_int8
from harexport.formats import tflite_reader
from harexport.formats.tflite_builder import TfliteBuilder
from harexport.model.layers import Conv1d
from harexport.model.network import Network
from harexport.runtimes.litert import LiteRtRunner
from tests.helpers.networks import contract_of, random_network

HIDDEN = (12, 8)
NAMES = {0: "input", 18: "state", 19: "cell"} | {
    first + k: f"{what}.{gate}"
    for what, first in (("input_weight", 1), ("recurrent_weight", 5), ("bias", 12))
    for k, gate in enumerate("ifgo")
}


def bare_network() -> Network:
    """Return a network of two LSTM layers without an input layer."""
    drawn = random_network(units=9, hidden=HIDDEN, window=16)
    passing = Conv1d(np.eye(9, dtype=np.float32).reshape(9, 1, 9), np.zeros(9, np.float32), stride=1, relu=False)
    return drawn.replace(mean=np.zeros(9, np.float32), std=np.ones(9, np.float32), input=passing)


def float_file(network: Network) -> bytes:
    """Return the network as TensorFlow's converter writes it, with five intermediate tensors for the calibrator."""
    graph = TfliteBuilder()
    window = rows = graph.tensor((1, network.window, network.num_channels))
    for layer in network.lstm:
        inputs = [rows] + [-1] * 23
        for first, array in ((1, layer.input_weight), (5, layer.recurrent_weight), (12, layer.bias)):
            for k, part in enumerate(np.split(array, 4)):
                inputs[first + k] = graph.constant(part.astype(np.float32), f"{NAMES[first + k]}.{len(graph.shapes)}")
        inputs[18:20] = [graph.tensor((1, layer.hidden), f"state.{k}.{rows}", variable=True) for k in range(2)]
        rows = graph.op(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            inputs,
            (1, network.window, layer.hidden),
            intermediates=[graph.tensor((0,), f"intermediate.{k}.{rows}") for k in range(5)],
            fusedActivationFunction=schema.ActivationFunctionType.TANH,
        )
    begin, size = (np.array(values, np.int32) for values in ((0, network.window - 1, 0), (1, 1, HIDDEN[-1])))
    state = graph.op("SLICE", [rows, graph.constant(begin), graph.constant(size)], (1, 1, HIDDEN[-1]))
    head = [graph.constant(array.astype(np.float32)) for array in (network.head.weight, network.head.bias)]
    logits = graph.op("FULLY_CONNECTED", [state, *head], (1, network.num_labels))
    return graph.finish({"window": window}, {"logits": logits}, "", {})


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("integer")
    network = bare_network()
    windows = checks.synthetic_windows(contract_of(random_network()), count=32)[:, :16]
    np.save(folder / "windows.npy", windows)
    (folder / "float.tflite").write_bytes(float_file(network))
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("integer_check.py"), folder],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    # TensorFlow's calibrator keeps the LSTM's state between windows, so that they form one long window.
    zeros = np.zeros(1, np.int64)
    long = dataclasses.replace(network, window=windows.shape[0] * windows.shape[1])
    calibration = quantize.calibrate(long, Windows(windows.reshape(1, long.window, 9), zeros, zeros))
    whole = {  # TensorFlow clips nothing, and its logits are per window
        name: (float(values.min()), float(values.max()))
        for name, values in (("window", windows), ("logits", network.logits(windows)))
    }
    calibration = dataclasses.replace(calibration, ranges=calibration.ranges | whole)
    ours = tflite_int8.build(network, contract_of(network), {}, "fused", calibration, "int8")
    return {
        "ours": ours,
        "theirs": (folder / "theirs.tflite").read_bytes(),
        "their logits": np.array(json.loads(child.stdout.splitlines()[-1])),
        "our logits": LiteRtRunner(ours, "ours").logits(windows),
        "reference": network.logits(windows),
    }


def lstms(model: bytes) -> list[dict[str, Any]]:
    """Return type, scale, zero point and values of the tensors, version and options of each fused operator."""
    file = tflite_reader.unpack(model, "model")
    graph = file.subgraphs[0]
    found = []
    for record in graph.operators:
        code = file.operatorCodes[record.opcodeIndex]
        if tflite_reader.operator_name(code) != "UNIDIRECTIONAL_SEQUENCE_LSTM":
            continue
        tensors = {name: graph.tensors[record.inputs[k]] for k, name in NAMES.items()}
        tensors |= {"output": graph.tensors[record.outputs[0]], "hidden": graph.tensors[record.intermediates[4]]}
        values = {
            name: (
                t.type,
                list(t.quantization.scale),
                list(t.quantization.zeroPoint),
                tflite_reader.buffer_data(file, t.buffer),
            )
            for name, t in tensors.items()
        }
        options = record.builtinOptions
        absent = [k for k, index in enumerate(record.inputs) if index == -1]
        found.append(
            {"tensors": values, "version": code.version, "absent": absent}
            | {"options": (options.fusedActivationFunction, options.cellClip, options.projClip, options.timeMajor)}
        )
    return found


def test_fused_operators_have_equal_parameters(both: dict[str, Any]) -> None:
    ours, theirs = lstms(both["ours"]), lstms(both["theirs"])
    assert len(ours) == len(theirs) == 2
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["options"] == other["options"]
        assert mine["absent"] == other["absent"]
        for name, (dtype, scale, zero, integers) in mine["tensors"].items():
            expected = other["tensors"][name]
            assert dtype == expected[0], name
            np.testing.assert_allclose(scale, expected[1], rtol=2e-3, err_msg=name)
            np.testing.assert_allclose(zero, expected[2], atol=1, err_msg=name)
            if "weight" in name:
                difference = integers.view(np.int8).astype(int) - expected[3].view(np.int8)
                assert np.abs(difference).max() <= 1, name
            elif "bias" in name:
                np.testing.assert_allclose(integers.view(np.int32), expected[3].view(np.int32), rtol=2e-3, atol=1)


def test_errors_are_similar(both: dict[str, Any]) -> None:
    def error(logits: np.ndarray) -> float:
        return float(np.sqrt(np.mean((logits - both["reference"]) ** 2)))

    size = float(np.sqrt(np.mean(both["reference"] ** 2)))
    assert error(both["our logits"]) < 1.2 * error(both["their logits"]) < 0.02 * size
