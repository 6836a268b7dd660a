"""ONNX exporter, with few nodes: no Transpose for one window, no Shape nodes.

- float16: weights are stored as float16 and cast to float32; ONNX Runtime folds the Cast when it loads the file, so
  that the latency is that of float32.
- int8-weights: LSTM layers use DynamicQuantizeLSTM of ONNX Runtime (domain com.microsoft), which quantizes the states
  as well. Other matrices have a DequantizeLinear. There is one scale per row.
"""

from __future__ import annotations

import json
from typing import Any

import onnx
from onnx import helper

from harexport.exporters import onnx_layers
from harexport.exporters.onnx_builder import OnnxBuilder
from harexport.model.contract import CONTRACT_KEY, INPUT_NAME, NEW_STATE_NAME, STATE_NAME, Contract
from harexport.model.folding import simplify
from harexport.model.network import Network

# Opset 13 and IR 7 are those of ONNX 1.8; ONNX Runtime reads them from 1.6 (2020) on.
_OPSET, _IR = 13, 7
_BATCH_AXIS = "windows"  # name of the dynamic axis


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
    *layers, last = simplify(network.layers, into_recurrent=scheme != "int8-weights")
    state = onnx_layers.State(contract.stream.state_size) if contract.stream else None
    context = onnx_layers.Context(graph, batch, state=state)
    features = context.lower_input(tuple(layers), (network.window, network.num_channels))
    names = list(contract.outputs)
    for name, head in {"head": last, **({"coarse": network.coarse_head} if network.coarse_head else {})}.items():
        logits, probabilities = names.pop(0), names.pop(0)
        context.lower_head(head, features, name, logits)
        graph.op("Softmax", [logits], probabilities, axis=1)
    if state:
        graph.op("Concat", state.new, NEW_STATE_NAME, axis=1)
    return _serialize(graph, network, contract, metadata, batch)


def _serialize(
    graph: OnnxBuilder, network: Network, contract: Contract, metadata: dict[str, str], batch: int | None
) -> bytes:
    """Return the bytes of a complete graph, with inputs, outputs, contract and metadata."""

    def value(name: str, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch or _BATCH_AXIS, *shape])

    contrib = (
        [helper.make_opsetid(onnx_layers.CONTRIB, 1)]
        if any(node.domain == onnx_layers.CONTRIB for node in graph.nodes)
        else []
    )
    inputs = [value(INPUT_NAME, [network.window, network.num_channels])]
    outputs = [value(name, [len(labels)]) for name, labels in contract.outputs.items()]
    if contract.stream:
        inputs.append(value(STATE_NAME, [contract.stream.state_size]))
        outputs.append(value(NEW_STATE_NAME, [contract.stream.state_size]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "harexport",
            inputs,
            outputs,
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
