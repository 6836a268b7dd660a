"""Models of other converters, without metadata and with other tensor names, and a small dataset for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from harexport.data.dataset import Dataset, Windows
from harexport.exporters import checks
from harexport.model.contract import Contract
from tests.inspection.build import File, onnx_model

WEIGHT = (np.random.default_rng(3).normal(size=(6, 128 * 9)) / 20).astype(np.float32)


def tflite(
    *,
    reads: tuple[int, ...] = (1, 128, 9),
    weight: Any = WEIGHT,
    softmax: bool = False,
    dtype: str = "float32",
    extra_input: bool = False,
    **of_input: Any,
) -> bytes:
    """Return a model of one FULLY_CONNECTED over all samples, with the tensor names of Keras."""
    file = File()
    graph = file.graph()
    x = graph.tensor("serving_default_keras_tensor:0", reads, dtype, **of_input)
    w = graph.constant("dense/kernel", weight)
    labels = len(weight)
    y = graph.tensor("StatefulPartitionedCall_1:0", (reads[0], labels))
    graph.op("FULLY_CONNECTED", [x, w, -1], [y], 1, ("FullyConnectedOptions", {}))
    if softmax:
        p = graph.tensor("Identity", (reads[0], labels))
        graph.op("SOFTMAX", [y], [p], 1, ("SoftmaxOptions", {"beta": 1.0}))
        y = p
    graph.inputs, graph.outputs = [x], [y]
    if extra_input:
        graph.inputs.append(graph.tensor("state", (1, 32)))
    return file.bytes()


def onnx(*, reads: tuple[int | str, ...] = ("batch", 128, 9), weight: Any = WEIGHT, softmax: bool = False) -> bytes:
    """Return a model of Flatten and Gemm, by default for any number of windows."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w"], ["output_0"], transB=1),
    ]
    if softmax:
        nodes[1].output[0] = "scores"
        nodes.append(helper.make_node("Softmax", ["scores"], ["output_0"], axis=1))
    model = onnx_model(nodes, {"x": list(reads)}, {"output_0": [reads[0], len(weight)]}, {"w": np.asarray(weight)})
    return bytes(model.SerializeToString())


def dataset(count: int = 48) -> Dataset:
    """Return windows of synthetic motion with labels that a model of WEIGHT predicts with an accuracy of 75 %."""
    signals = checks.synthetic_windows(Contract(), count, seed=1)
    labels = (signals.reshape(count, -1) @ WEIGHT.T).argmax(axis=1)
    labels[::4] = (labels[::4] + 1) % 6
    windows = Windows(signals, labels.astype(np.int64), np.ones(count, np.int64))
    return Dataset(windows, windows, "made up", "ab" * 32)
