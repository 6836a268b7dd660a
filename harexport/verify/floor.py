"""The machine's own floor: a model of each runtime that only hands a few numbers of its window back.

What calling a runtime costs here, whatever the model; nothing in that runtime can be faster. It is run among the
models, so that how it drifts shows how the machine does.
"""

from __future__ import annotations

import numpy as np

from harexport.contract import INPUT_NAME, LOGITS_NAME

_HANDED_BACK = 6  # numbers of the first sample: as many as there are activities, or as the data have channels


def tflite(window: int, channels: int) -> bytes:
    """A .tflite of one SLICE: window [1, window, channels] -> logits [1, 1, 6]."""
    from harexport.exporting.flat import Graph

    graph, sliced = Graph(), (1, 1, min(_HANDED_BACK, channels))
    given = graph.tensor((1, window, channels))
    begin, size = (graph.constant(np.array(values, np.int32)) for values in ((0, 0, 0), sliced))
    answer = graph.op("SLICE", [given, begin, size], sliced)
    return graph.finish({INPUT_NAME: given}, {LOGITS_NAME: answer}, "the floor: no arithmetic", {})


def onnx(window: int, channels: int) -> bytes:
    """A .onnx of one Slice: window [1, window, channels] -> logits [1, 1, 6]."""
    from onnx import TensorProto, helper, numpy_helper

    size = (1, 1, min(_HANDED_BACK, channels))
    constants = {"starts": (0, 0, 0), "ends": size}
    graph = helper.make_graph(
        [helper.make_node("Slice", [INPUT_NAME, *constants], [LOGITS_NAME])],
        "floor",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, (1, window, channels))],
        [helper.make_tensor_value_info(LOGITS_NAME, TensorProto.FLOAT, size)],
        [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


FILES = {"LiteRT": tflite, "ONNX Runtime": onnx}
