"""GRU layers as nodes of ONNX's operator GRU (opset 7 and later), which knows both conventions of the reset gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from harexport.layers import GruLayer

if TYPE_CHECKING:  # onnx.py imports this module
    from harexport.exporting.onnx import Nodes


def gru(graph: Nodes, layer: GruLayer, rows: str, steps: int, name: str, last: bool) -> str:
    """[steps, batch, inputs] -> every state [steps, batch, hidden], or, of the `last` layer, the last [batch, hidden].

    The operator's gates are z, r, h and its update is ours; B holds Wb and Rb, one after the other. A gate adds
    both, so only the candidate's Rbh matters. linear_before_reset = 0: act(W x + R (r h) + Rbh + Wbh), where Rbh
    has nothing to add; 1: act(W x + r (R h + Rbh) + Wbh).
    """
    recurrent_bias = np.zeros_like(layer.bias)
    if layer.reset_after:
        recurrent_bias[2 * layer.hidden :] = layer.recurrent_bias
    arrays = [
        rows,
        graph.weight(_onnx_order(layer.input_weight)[None], f"{name}.W"),
        graph.weight(_onnx_order(layer.recurrent_weight)[None], f"{name}.R"),
        graph.constant(np.concatenate([_onnx_order(layer.bias), _onnx_order(recurrent_bias)])[None], f"{name}.B"),
    ]
    outputs = ["", f"{name}.Y_h"] if last else [f"{name}.Y"]
    node = helper.make_node(
        "GRU",
        arrays,
        outputs,
        name=name,
        hidden_size=layer.hidden,
        linear_before_reset=int(layer.reset_after),
        activations=["Sigmoid", "Relu" if layer.relu else "Tanh"],
    )
    graph.nodes.append(node)
    # a Reshape that only drops the direction's axis: no data moves
    shape = graph.constant([-1, layer.hidden] if last else [steps, -1, layer.hidden], f"{name}.shape")
    return graph.op("Reshape", [outputs[-1], shape], f"{name}.h")


def _onnx_order(gates: NDArray[np.floating]) -> NDArray[np.floating]:
    r, z, n = np.split(gates, 3)
    return np.concatenate([z, r, n])
