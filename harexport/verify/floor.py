"""The machine's own floor: a model of each runtime that only hands six numbers of its window back.

What calling a runtime costs here, whatever the model; nothing in that runtime can be faster. It is run among the
models, so that how it drifts shows how the machine does.
"""

from __future__ import annotations

import numpy as np

from harexport.contract import INPUT_NAME, LOGITS_NAME, Contract

_SLICED = (0, 0, 0), (1, 1, 6)  # begin and size; a contract has more than six channels


def tflite(contract: Contract) -> bytes:
    """A .tflite of one SLICE: window [1, window, channels] -> logits [1, 1, 6]."""
    from harexport.exporting.flat import Graph

    graph = Graph()
    window = graph.tensor((1, contract.window, len(contract.channels)))
    begin, size = (graph.constant(np.array(values, np.int32)) for values in _SLICED)
    answer = graph.op("SLICE", [window, begin, size], _SLICED[1])
    return graph.finish({INPUT_NAME: window}, {LOGITS_NAME: answer}, "the floor: no arithmetic", {})


def onnx(contract: Contract) -> bytes:
    """A .onnx of one Slice: window [1, window, channels] -> logits [1, 1, 6]."""
    from onnx import TensorProto, helper, numpy_helper

    begin, size = _SLICED
    constants = {"starts": begin, "ends": size}
    graph = helper.make_graph(
        [helper.make_node("Slice", [INPUT_NAME, *constants], [LOGITS_NAME])],
        "floor",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, (1, contract.window, len(contract.channels)))],
        [helper.make_tensor_value_info(LOGITS_NAME, TensorProto.FLOAT, size)],
        [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


FILES = {"LiteRT": tflite, "ONNX Runtime": onnx}
