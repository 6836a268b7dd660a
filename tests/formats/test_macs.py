"""MACs compared with values computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from harexport.formats import macs, read_model
from tests.inspection.build import File, dense, loop, onnx_model

Shape = tuple[int, ...]


def counted(model: bytes) -> macs.Macs:
    return macs.count_macs(read_model(model, "model"))


def _tflite(kind: str, shapes: list[Shape | None], output_shape: Shape, **options: Any) -> bytes:
    """Return a model of one operator; the first of `shapes` is its input, the others are constants or None."""
    file = File()
    graph = file.graph()
    inputs = []
    for k, shape in enumerate(shapes):
        if shape is None:
            inputs.append(-1)
        else:
            inputs.append(graph.tensor("x", shape) if k == 0 else graph.constant(f"c{k}", np.ones(shape)))
    y = graph.tensor("logits", output_shape)
    graph.op(kind, inputs, [y], 1, ("BatchMatMulOptions", options) if options else None)
    graph.inputs, graph.outputs = inputs[:1], [y]
    return file.bytes()


TFLITE: dict[str, tuple[bytes, int]] = {
    "FULLY_CONNECTED": (_tflite("FULLY_CONNECTED", [(7, 5), (3, 5)], (7, 3)), 7 * 5 * 3),
    "CONV_2D": (_tflite("CONV_2D", [(1, 128, 1, 9), (48, 32, 1, 9)], (1, 7, 1, 48)), 7 * 48 * 32 * 9),
    "DEPTHWISE_CONV_2D": (_tflite("DEPTHWISE_CONV_2D", [(1, 9, 9, 4), (1, 3, 3, 4)], (1, 7, 7, 4)), 7 * 7 * 4 * 9),
    "TRANSPOSE_CONV": (
        _tflite("TRANSPOSE_CONV", [(4,), (6, 2, 2, 3), (1, 5, 5, 3)], (1, 10, 10, 6)),
        5 * 5 * 3 * 2 * 2 * 6,
    ),
    "BATCH_MATMUL": (_tflite("BATCH_MATMUL", [(2, 4, 5), (2, 5, 3)], (2, 4, 3)), 2 * 4 * 5 * 3),
    "BATCH_MATMUL adjX": (_tflite("BATCH_MATMUL", [(2, 5, 4), (2, 5, 3)], (2, 4, 3), adjX=True), 2 * 4 * 5 * 3),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        _tflite("UNIDIRECTIONAL_SEQUENCE_LSTM", [(1, 7, 3), *[(2, 3)] * 4, *[(2, 2)] * 4], (1, 7, 2)),
        7 * (4 * 2 * 3 + 4 * 2 * 2),
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM without input gate": (
        _tflite("UNIDIRECTIONAL_SEQUENCE_LSTM", [(1, 7, 3), None, *[(2, 3)] * 3, None, *[(2, 2)] * 3], (1, 7, 2)),
        7 * (3 * 2 * 3 + 3 * 2 * 2),
    ),
    "ADD": (_tflite("ADD", [(7, 5), (7, 5)], (7, 5)), 0),
}


@pytest.mark.parametrize("case", TFLITE)
def test_tflite(case: str) -> None:
    model, expected = TFLITE[case]
    found = counted(model)
    assert found.kinds == ({case.split()[0]: expected} if expected else {})
    assert found.complete


def _onnx(
    kind: str, x: list[Any], constants: dict[str, Shape], output_shape: list[Any], outputs: int = 1, **of: Any
) -> bytes:
    names = ["logits", *["" for _ in range(outputs - 1)]]
    node = helper.make_node(kind, ["x", *constants], names, **of)
    arrays = {name: np.ones(shape, np.float32) for name, shape in constants.items()}
    return onnx_model([node], {"x": x}, {"logits": output_shape}, arrays).SerializeToString()


ONNX: dict[str, tuple[bytes, int]] = {
    "Gemm": (_onnx("Gemm", [7, 5], {"w": (3, 5)}, [7, 3], transB=1), 7 * 5 * 3),
    "Gemm transA": (_onnx("Gemm", [5, 7], {"w": (3, 5)}, [7, 3], transA=1, transB=1), 7 * 5 * 3),
    "MatMul": (_onnx("MatMul", [2, 4, 5], {"w": (5, 3)}, [2, 4, 3]), 2 * 4 * 5 * 3),
    "Conv": (_onnx("Conv", [1, 9, 128], {"w": (48, 9, 32)}, [1, 48, 97]), 97 * 48 * 9 * 32),
    "Conv grouped": (_onnx("Conv", [1, 8, 10], {"w": (8, 1, 3)}, [1, 8, 8], group=8), 8 * 8 * 3),
    "ConvTranspose": (_onnx("ConvTranspose", [1, 4, 10], {"w": (4, 6, 3)}, [1, 6, 12]), 4 * 10 * 6 * 3),
    "LSTM": (
        _onnx("LSTM", [7, 1, 3], {"W": (1, 8, 3), "R": (1, 8, 2)}, [7, 1, 1, 2], hidden_size=2),
        7 * 8 * (3 + 2),
    ),
    "GRU both ways": (
        _onnx(
            "GRU", [7, 1, 3], {"W": (2, 6, 3), "R": (2, 6, 2)}, [7, 2, 1, 2], hidden_size=2, direction="bidirectional"
        ),
        2 * 7 * 6 * (3 + 2),
    ),
}


@pytest.mark.parametrize("case", ONNX)
def test_onnx(case: str) -> None:
    model, expected = ONNX[case]
    found = counted(model)
    assert found.kinds == {case.split()[0]: expected}
    assert found.complete


def test_loop_body_counts_per_iteration() -> None:
    assert counted(loop(8).bytes()) == macs.Macs({"FULLY_CONNECTED": 8 * 9}, complete=True)


def test_loop_without_known_trip_count_is_incomplete() -> None:
    """A loop with step 0 has no trip count."""
    assert counted(loop(None).bytes()) == macs.Macs({"FULLY_CONNECTED": 9}, complete=False)


def test_larger_branch_counts() -> None:
    file = File()
    main = file.graph()
    x, y = main.tensor("x", (1, 4)), main.tensor("logits", (1, 3))
    flag = main.tensor("flag", (1,), "bool")
    main.op("IF", [flag, x], [y], 1, ("IfOptions", {"thenSubgraphIndex": 1, "elseSubgraphIndex": 2}))
    main.inputs, main.outputs = [flag, x], [y]
    for times in (1, 3):
        graph = file.graph()
        graph.inputs = [graph.tensor("x", (1, 4))]
        for _ in range(times):
            graph.outputs = [graph.tensor("y", (1, 3))]
            graph.op("FULLY_CONNECTED", [graph.inputs[0], graph.constant("w", np.ones((3, 4))), -1], graph.outputs)
    assert counted(file.bytes()).kinds == {"FULLY_CONNECTED": 3 * 12}


def test_recursive_graph_terminates() -> None:
    file = loop(2)
    file.graphs[0].ops[0].builtinOptions.bodySubgraphIndex = 0
    assert not counted(file.bytes()).complete


def test_dynamic_axis_counts_as_one() -> None:
    found = counted(dense(signature=[-1, 4]).bytes())
    assert (found.total, found.complete) == (12, False)
