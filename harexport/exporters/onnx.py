"""ONNX exporter, with few nodes: no Transpose for one window, no Shape nodes.

- float16: weights are stored as float16 and cast to float32; ONNX Runtime folds the Cast when it loads the file, so
  that the latency is that of float32.
- int8-weights: LSTM layers use DynamicQuantizeLSTM of ONNX Runtime (domain com.microsoft), which quantizes the states
  as well. Other matrices have a DequantizeLinear. There is one scale per row.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from harexport.model.contract import CONTRACT_KEY, INPUT_NAME, Contract
from harexport.model.layers import GruLayer, Head, LstmLayer
from harexport.model.network import Network
from harexport.model.sequential import Sequential

# Opset 13 and IR 7 are those of ONNX 1.8; ONNX Runtime reads them from 1.6 (2020) on.
_OPSET, _IR = 13, 7
_CONTRIB = "com.microsoft"
_ZERO_POINT = 128  # of uint8 weights
_BATCH_AXIS = "windows"  # name of the dynamic axis


class OnnxBuilder:
    """Collects nodes and initializers; stores weights in the type of the scheme."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, values: NDArray[Any] | list[int], name: str) -> str:
        """Add an initializer; other types become float32 or int64."""
        array = np.asarray(values)
        if array.dtype not in (np.float16, np.int8, np.uint8):
            array = array.astype(np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, values: NDArray[np.floating], name: str) -> str:
        """Add a matrix [..., rows, inputs] in the type of the scheme, converted to float32 for its operator."""
        if self.scheme == "float16":
            stored = self.constant(values.astype(np.float16), f"{name}.float16")
            return self.op("Cast", [stored], name, to=onnx.TensorProto.FLOAT)
        if self.scheme == "int8-weights":
            flat = values.reshape(-1, values.shape[-1])  # the leading axis, of directions, has length 1
            integers, scales = _quantize_rows(flat)
            parts = [self.constant(integers, f"{name}.int8"), self.constant(scales, f"{name}.scale")]
            rows = self.op("DequantizeLinear", parts, f"{name}.rows" if values.ndim > 2 else name, axis=0)
            if values.ndim == 2:
                return rows
            return self.op("Reshape", [rows, self.constant(list(values.shape), f"{name}.shape")], name)
        return self.constant(values, name)

    def op(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node with one output, which has the node's name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def build(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    scheme: str = "float32",
    batch: int | None = 1,
) -> bytes:
    """Build a .onnx file. The same arguments give the same bytes.

    Args:
        network: Network.
        contract: Its contract, stored as JSON under the key "contract" of metadata_props.
        metadata: Strings to store in metadata_props.
        scheme: "float32", "float16" or "int8-weights".
        batch: Windows per run; None: dynamic.

    Returns:
        The file: `window` [batch, window, channels] in physical units -> `logits` and `probabilities` [batch, labels],
        with a second head also `coarse_logits` and `coarse_probabilities`.
    """
    graph = OnnxBuilder(scheme)
    # the int8 LSTM quantizes its input; a separate input layer keeps raw windows in float32
    folded = network.fold_normalization() if scheme == "int8-weights" else network.fold_input()
    rows = _input_layer(graph, folded, batch)
    for k, layer in enumerate(folded.recurrent_layers):
        last = k + 1 == len(folded.recurrent_layers)
        name = f"{network.kind}.{k}"
        if isinstance(layer, LstmLayer):
            rows = add_lstm(graph, layer, rows, network.num_steps, name, last)
        else:
            rows = add_gru(graph, layer, rows, network.num_steps, name, last)
    names = list(contract.outputs)
    for name, head in network.heads().items():
        _head(graph, head, rows, name, names.pop(0), names.pop(0))

    return serialize(graph, network, contract, metadata, batch)


def serialize(
    graph: OnnxBuilder, network: Network | Sequential, contract: Contract, metadata: dict[str, str], batch: int | None
) -> bytes:
    """Return the bytes of a complete graph, with inputs, outputs, contract and metadata."""

    def value(name: str, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch or _BATCH_AXIS, *shape])

    contrib = [helper.make_opsetid(_CONTRIB, 1)] if any(node.domain == _CONTRIB for node in graph.nodes) else []
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "harexport",
            [value(INPUT_NAME, [network.window, network.num_channels])],
            [value(name, [len(labels)]) for name, labels in contract.outputs.items()],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET), *contrib],
        ir_version=_IR,
        producer_name="harexport",
    )
    facts = {**metadata, CONTRACT_KEY: json.dumps(contract.to_dict(), ensure_ascii=False)}
    helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=not contrib)  # ONNX cannot infer shapes of ONNX Runtime's operators
    return bytes(model.SerializeToString(deterministic=True))


def _input_layer(graph: OnnxBuilder, network: Network, batch: int | None) -> str:
    """Return [steps, batch, units] of [batch, window, channels], by a Gemm of the samples of each step.

    Steps that overlap gather their samples first. The output of a Conv has the units first and needs a Transpose: with
    kernel size 32 and stride 16, the latency of the whole model is 1.09 times as high.
    """
    layer, steps = network.input, network.num_steps
    samples = INPUT_NAME
    if layer.kernel_size != layer.stride or network.window % layer.stride:
        starts = np.arange(steps) * layer.stride
        indices = graph.constant(starts[:, None] + np.arange(layer.kernel_size), "input.samples")
        samples = graph.op("Gather", [samples, indices], "input.gathered", axis=1)
    if layer.is_identity:
        rows = samples
    else:
        shape = graph.constant([-1, layer.kernel_size * network.num_channels], "input.shape")
        frames = graph.op("Reshape", [samples, shape], "input.frames")
        weight = graph.weight(layer.weight.reshape(layer.out_channels, -1), "input.weight")
        rows = graph.op("Gemm", [frames, weight, graph.constant(layer.bias, "input.bias")], "input.linear", transB=1)
        if layer.relu:
            rows = graph.op("Relu", [rows], "input.relu")
    if batch == 1:  # a Reshape copies no data
        return graph.op("Reshape", [rows, graph.constant([steps, 1, layer.out_channels], "steps.shape")], "input.rows")
    sequence = graph.op(
        "Reshape", [rows, graph.constant([-1, steps, layer.out_channels], "steps.shape")], "input.sequence"
    )
    return graph.op("Transpose", [sequence], "input.rows", perm=[1, 0, 2])


def _head(graph: OnnxBuilder, head: Head, state: str, name: str, logits: str, probabilities: str) -> None:
    weight, bias = graph.weight(head.weight, f"{name}.weight"), graph.constant(head.bias, f"{name}.bias")
    graph.op("Gemm", [state, weight, bias], logits, transB=1)
    graph.op("Softmax", [logits], probabilities, axis=1)


def add_lstm(
    graph: OnnxBuilder, layer: LstmLayer, rows: str, steps: int, name: str, last: bool, backward: bool = False
) -> str:
    """Return all states [steps, batch, hidden]; of the `last` layer, the last state [batch, hidden].

    The operator LSTM (opset 7) has the gate order i, o, f, c and a second bias.
    """
    bias = np.concatenate([*_onnx_order(layer.bias), np.zeros_like(layer.bias)])[None]
    weights = {part: np.concatenate(_onnx_order(values)) for part, values in
               (("W", layer.input_weight), ("R", layer.recurrent_weight))}  # fmt: skip
    outputs = ["", f"{name}.Y_h"] if last else [f"{name}.Y"]
    if graph.scheme == "int8-weights":
        stored, scales = [], []
        for part, values in weights.items():
            integers, scale = _quantize_rows(values)
            # the operator reads transposed matrices
            stored.append(graph.constant(_to_uint8(integers.T[None]), f"{name}.{part}"))
            scales.append(graph.constant(scale[None], f"{name}.{part}.scale"))
            scales.append(graph.constant(np.full((1, len(scale)), _ZERO_POINT, np.uint8), f"{name}.{part}.zero"))
        inputs = [rows, *stored, graph.constant(bias, f"{name}.B"), "", "", "", "", *scales]
        node = helper.make_node("DynamicQuantizeLSTM", inputs, outputs, name=name, domain=_CONTRIB)
        node.attribute.append(helper.make_attribute("hidden_size", layer.hidden))
        if backward:
            node.attribute.append(helper.make_attribute("direction", "reverse"))
        graph.nodes.append(node)
    else:
        inputs = [rows, *(graph.weight(values[None], f"{name}.{part}") for part, values in weights.items())]
        inputs.append(graph.constant(bias, f"{name}.B"))
        options = {"direction": "reverse"} if backward else {}
        graph.nodes.append(helper.make_node("LSTM", inputs, outputs, name=name, hidden_size=layer.hidden, **options))
    # a Reshape that only drops the direction's axis: no data moves
    shape = graph.constant([-1, layer.hidden] if last else [steps, -1, layer.hidden], f"{name}.shape")
    return graph.op("Reshape", [outputs[-1], shape], f"{name}.h")


def _onnx_order(gates: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    i, f, g, o = np.split(gates, 4)
    return [i, o, f, g]


def _to_uint8(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Shift integers to the zero point 128.

    ONNX Runtime quantizes the states to uint8. With int8 weights, on x86 processors without VNNI, it adds two products
    in 16 bits, which saturate: 97.2 % of the baseline LSTM's predictions agreed with the reference there, 99.6 %
    elsewhere. With uint8 weights it uses another kernel, with equal results on all processors.
    """
    return (integers.astype(np.int16) + _ZERO_POINT).astype(np.uint8)


def _quantize_rows(matrix: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return integers and one scale per row of a matrix [rows, inputs]; the scale of a row of zeros is 1."""
    scales = (np.abs(matrix).max(axis=1) / 127).astype(np.float32)
    scales[scales == 0] = 1.0
    return np.clip(np.rint(matrix / scales[:, None]), -127, 127).astype(np.int8), scales


def add_gru(
    graph: OnnxBuilder, layer: GruLayer, rows: str, steps: int, name: str, last: bool, backward: bool = False
) -> str:
    """Return all states [steps, batch, hidden]; of the `last` layer, the last state [batch, hidden].

    The operator GRU has the gate order z, r, h. B is the concatenation of Wb and Rb; the gates z and r add both. The
    candidate is act(W x + R (r h) + Rbh + Wbh) with linear_before_reset = 0 and act(W x + r (R h + Rbh) + Wbh) with 1.
    """
    recurrent_bias = np.zeros_like(layer.bias)
    if layer.reset_after:
        recurrent_bias[2 * layer.hidden :] = layer.recurrent_bias
    arrays = [
        rows,
        graph.weight(_gru_onnx_order(layer.input_weight)[None], f"{name}.W"),
        graph.weight(_gru_onnx_order(layer.recurrent_weight)[None], f"{name}.R"),
        graph.constant(
            np.concatenate([_gru_onnx_order(layer.bias), _gru_onnx_order(recurrent_bias)])[None], f"{name}.B"
        ),
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
    if backward:
        node.attribute.append(helper.make_attribute("direction", "reverse"))
    graph.nodes.append(node)
    # a Reshape that only drops the direction's axis: no data moves
    shape = graph.constant([-1, layer.hidden] if last else [steps, -1, layer.hidden], f"{name}.shape")
    return graph.op("Reshape", [outputs[-1], shape], f"{name}.h")


def _gru_onnx_order(gates: NDArray[np.floating]) -> NDArray[np.floating]:
    r, z, n = np.split(gates, 3)
    return np.concatenate([z, r, n])
