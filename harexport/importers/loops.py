"""Reads the loop that tf2onnx, and with it Keras 3, writes for a GRU whose reset gate follows the recurrent product.

ONNX has an operator for it, but tf2onnx only knows that of the other convention. The body is recognized by its
operators; the comparison of the imported network with the original detects any other function.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from harexport.importers.nodes import gru_layer
from harexport.importers.values import Constant, UnsupportedError, Value
from harexport.model.layers import Recurrent

_BODY = {"MatMul": 2, "Sigmoid": 2, "Tanh": 1, "Gather": 1}
_OTHER = {
    "Add", "And", "Cast", "Identity", "Less", "Mul", "Slice", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip


def read_loop(node: Any, found: Mapping[str, Value | Constant | None]) -> list[Value | Constant | None]:
    """Return the outputs of a Loop node: the final values of its variables, and all states.

    Args:
        node: The onnx.NodeProto.
        found: Values and constants of the graph by name.

    Raises:
        UnsupportedError: The loop is not a GRU of Keras.
    """
    body = next(entry.g for entry in node.attribute if entry.name == "body")
    counts = Counter(inner.op_type for inner in body.node)
    if {kind: count for kind, count in counts.items() if kind not in _OTHER} != _BODY:
        raise UnsupportedError("the only supported loop is a GRU of Keras; export other layers as an LSTM or GRU node")
    # the first inputs are the number of iterations and the condition, of the body their current values
    outer = dict(zip((value.name for value in body.input[2:]), node.input[2:], strict=True))

    def resolve(name: str) -> Any:
        return found.get(outer.get(name, name))

    (gather,) = (inner for inner in body.node if inner.op_type == "Gather")
    value, count = resolve(gather.input[0]), found.get(node.input[0])
    if not isinstance(value, Value) or value.axes != ("t", "b", "c") or not value.is_plain:
        raise UnsupportedError("its input is not a sequence")
    if not isinstance(count, np.ndarray) or count.size != 1 or int(count.ravel()[0]) != value.sizes()[0]:
        raise UnsupportedError("its number of iterations is not that of the steps")
    products = [inner for inner in body.node if inner.op_type == "MatMul"]
    kernels = [resolve(inner.input[1]) for inner in products if inner.input[0] == gather.output[0]]
    recurrent = [(inner.input[0], resolve(inner.input[1])) for inner in products if inner.input[0] != gather.output[0]]
    if len(kernels) != 1 or not isinstance(kernels[0], np.ndarray) or not isinstance(recurrent[0][1], np.ndarray):
        raise UnsupportedError("its matrices are not constant")
    kernel, (state, matrix) = kernels[0], recurrent[0]
    initial = resolve(state)
    if not isinstance(initial, np.ndarray) or initial.any():
        raise UnsupportedError("its initial state is not zero; supported are zeros")
    used = {name for inner in body.node for name in inner.input}
    constants = [resolve(name) for name in sorted(used)]
    bias = [array for array in constants if isinstance(array, np.ndarray) and array.shape == (2, kernel.shape[1])]
    offset = bias[0].ravel() if bias else np.zeros(2 * kernel.shape[1], np.float32)
    layer = gru_layer(kernel.T, matrix.T, offset, reset_after=True, relu=False)
    backward = value.is_reversed
    outputs: list[Value | Constant | None] = [None] * len(outer)  # of other variables, which have no use
    last = dataclasses.replace(
        value.add_layer(Recurrent(layer, backward, sequence=False), ("b", "c")), is_reversed=False
    )
    outputs[[value.name for value in body.input[2:]].index(state)] = last
    states = value.add_layer(Recurrent(layer, backward), ("t", "b", "c"))
    return [*outputs, *[states] * (len(node.output) - len(outputs))]
