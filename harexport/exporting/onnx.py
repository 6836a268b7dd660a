"""Network -> .onnx: as few nodes as it takes, no Transpose and no Shape chains."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from harexport.contract import INPUT_NAME, LOGITS_NAME, PROBABILITIES_NAME, Contract
from harexport.layers import LstmLayer
from harexport.network import Network

# Opset 13 and IR 7 belong together (ONNX 1.8): read by ONNX Runtime from 1.6 (2020) on.
_OPSET, _IR = 13, 7
CONTRACT_KEY = "contract"


class _Nodes:
    """Nodes and initializers in the order they are made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, values: NDArray[Any] | list[int], name: str) -> str:
        array = np.asarray(values)
        array = array.astype(np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def emit(network: Network, contract: Contract, metadata: dict[str, str]) -> bytes:
    """The file: `window` [1, window, channels] in physical units -> `logits` and `probabilities` [1, labels].

    metadata_props hold `metadata` and, as JSON under "contract", the contract. Same input, same bytes.
    """
    graph = _Nodes()
    rows = _input_layer(graph, network.normalised())
    for k, layer in enumerate(network.lstm):
        rows = _lstm(graph, layer, rows, network.steps, f"lstm.{k}", last=k + 1 == len(network.lstm))
    head = [graph.constant(network.head.weight, "head.weight"), graph.constant(network.head.bias, "head.bias")]
    graph.op("Gemm", [rows, *head], LOGITS_NAME, transB=1)
    graph.op("Softmax", [LOGITS_NAME], PROBABILITIES_NAME, axis=1)

    def value(name: str, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "harexport",
            [value(INPUT_NAME, [1, network.window, network.channels])],
            [value(name, [1, network.labels]) for name in (LOGITS_NAME, PROBABILITIES_NAME)],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="harexport",
    )
    facts = {**metadata, CONTRACT_KEY: json.dumps(contract.to_dict(), ensure_ascii=False)}
    helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _input_layer(graph: _Nodes, network: Network) -> str:
    """Frames of samples through a Gemm: [1, window, channels] -> [steps, 1, units], what an LSTM reads.

    Steps that overlap gather their samples first. Conv would not need to, but it answers units first, so
    that a Transpose follows: with frame 32 and hop 16 the whole model then takes 1.09 times as long.
    """
    layer, steps = network.input, network.steps
    samples = INPUT_NAME
    if layer.frame != layer.hop or network.window % layer.hop:
        starts = np.arange(steps) * layer.hop
        indices = graph.constant(starts[:, None] + np.arange(layer.frame), "input.samples")
        samples = graph.op("Gather", [samples, indices], "input.gathered", axis=1)
    shape = graph.constant([steps, layer.frame * network.channels], "input.shape")
    frames = graph.op("Reshape", [samples, shape], "input.frames")
    weight = graph.constant(layer.weight.reshape(layer.units, -1), "input.weight")
    rows = graph.op("Gemm", [frames, weight, graph.constant(layer.bias, "input.bias")], "input.linear", transB=1)
    if layer.relu:
        rows = graph.op("Relu", [rows], "input.relu")
    return graph.op("Reshape", [rows, graph.constant([steps, 1, layer.units], "steps.shape")], "input.rows")


def _lstm(graph: _Nodes, layer: LstmLayer, rows: str, steps: int, name: str, last: bool) -> str:
    """[steps, 1, inputs] -> every state [steps, 1, hidden], or, of the `last` layer, the last state [1, hidden].

    Gate order i, o, f, c and a second bias, as the operator LSTM of ONNX's opset 7 defines them.
    """
    arrays = [rows]
    bias = np.concatenate([layer.bias, np.zeros_like(layer.bias)])
    for part, values in (("W", layer.input_weight), ("R", layer.recurrent_weight), ("B", bias)):
        gates = [gate for half in np.split(values, 1 + (part == "B")) for gate in _onnx_order(half)]
        arrays.append(graph.constant(np.concatenate(gates)[None], f"{name}.{part}"))
    outputs = ["", f"{name}.Y_h"] if last else [f"{name}.Y"]
    graph.nodes.append(helper.make_node("LSTM", arrays, outputs, name=name, hidden_size=layer.hidden))
    shape = [1, layer.hidden] if last else [steps, 1, layer.hidden]
    # a Reshape that only drops the direction's axis: no data moves
    return graph.op("Reshape", [outputs[-1], graph.constant(shape, f"{name}.shape")], f"{name}.h")


def _onnx_order(gates: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    i, f, g, o = np.split(gates, 4)
    return [i, o, f, g]
