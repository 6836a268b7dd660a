"""TFLite exporter for float32, float16 and int8-weights; full integer is in tflite_int8.py.

The recurrent layers are lowered to plain operators for each step ("unrolled"), to a WHILE over the steps ("loop") or to
UNIDIRECTIONAL_SEQUENCE_LSTM ("fused").

- float16: weights are stored as float16 and dequantized once when the file is loaded; arithmetic is float32.
- int8-weights: weight matrices are symmetric int8, biases are float32. Recurrent layers and heads are hybrid: the
  kernel quantizes each row of activations to int8 as well. The weights of the input layer are dequantized at load time,
  so that raw windows, whose channels differ in range, are not quantized. With a hybrid input layer, the RMS error of a
  logit of edge on the test set is 0.012 instead of 0.010, and the fused baseline LSTM takes 3.4 times as long.
"""

from __future__ import annotations

import json

from harexport.exporters.tflite_layers import Context, State, Value
from harexport.exporters.tflite_ops import fake_quantize
from harexport.formats import op_versions, tflite_metadata
from harexport.formats.tflite_builder import TfliteBuilder
from harexport.formats.tflite_metadata import HAREXPORT_ENTRY
from harexport.model.contract import INPUT_NAME, NEW_STATE_NAME, STATE_NAME, Contract
from harexport.model.folding import simplify
from harexport.model.network import Network


def build(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    lowering: str,
    scheme: str = "float32",
    batch: int | None = 1,
) -> bytes:
    """Build a .tflite file. The same arguments give the same bytes.

    Args:
        network: Network.
        contract: Its contract, stored with `metadata` as JSON in the metadata entry "harexport".
        metadata: Strings to store in the file.
        lowering: "fused", "loop" or "unrolled".
        scheme: "float32", "float16" or "int8-weights".
        batch: Windows per invocation; None: dynamic (not fused).

    Returns:
        The file: `window` [batch, window, channels] in physical units -> `logits` and `probabilities` [batch, labels],
        with a second head also `coarse_logits` and `coarse_probabilities`. With a stream in the contract, also `state`
        -> `new_state` [1, state_size].
    """
    graph = TfliteBuilder()
    window = graph.tensor((batch or 1, network.window, network.num_channels), dynamic=batch is None)
    # the input layer of int8-weights is not folded, see the module
    *layers, last = (
        simplify(network.layers, into_recurrent=False, round_weight=fake_quantize)
        if scheme == "int8-weights"
        else simplify(network.layers)
    )
    stream = contract.stream
    state = State(graph.tensor((1, stream.state_size))) if stream else None
    context = Context(graph, lowering, scheme, window, state=state)
    features = context.lower(tuple(layers), Value(window, (network.window, network.num_channels)), "")
    outputs: list[int] = []
    for name, head in {"head": last, **({"coarse": network.coarse_head} if network.coarse_head else {})}.items():
        logits = context.reshape_value(context.lower_layer(head, features, name))
        outputs += [logits, graph.op("SOFTMAX", [logits], graph.shapes[logits], beta=1.0)]
    if state:
        outputs.append(graph.op("CONCATENATION", state.new, graph.shapes[state.tensor], axis=1))
    return serialize(graph, network, contract, metadata, window, outputs, lowering, scheme, state)


def serialize(
    graph: TfliteBuilder,
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    window: int,
    outputs: list[int],
    lowering: str,
    scheme: str,
    state: State | None = None,
) -> bytes:
    """Return the bytes of a complete graph, with signature, contract, metadata and label files.

    Args:
        graph: Graph with all operators.
        network: Network that it computes.
        contract: Contract of the network.
        metadata: Strings to store in the file.
        window: Input tensor.
        outputs: Output tensors, in the order of `contract.outputs`; of a stream also the new state.
        lowering: "fused", "loop" or "unrolled", for the description.
        scheme: Quantization scheme, for the description.
        state: State of a stream.
    """
    description = f"Human activity from {network.window} samples: {lowering} {network.kind.upper()}, {scheme}"
    described, files = tflite_metadata.build_metadata(description, contract)
    facts = {"contract": contract.to_dict(), "metadata": metadata}
    runtime = op_versions.min_tflite(graph.operator_versions)
    model = graph.finish(
        inputs={INPUT_NAME: window} | ({STATE_NAME: state.tensor} if state else {}),
        outputs=dict(zip((*contract.outputs, *([NEW_STATE_NAME] if state else [])), outputs, strict=True)),
        description=f"harexport: {description}",
        metadata={
            HAREXPORT_ENTRY: json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode(),
            "min_runtime_version": f"{runtime}.0".encode().ljust(16, b"\0"),  # 16 bytes, as the converter writes it
            tflite_metadata.TFLITE_METADATA: described,
        },
    )
    return tflite_metadata.append_files(model, files)
