"""TFLite exporter for float32, float16 and int8-weights; full integer is in tflite_int8.py.

The recurrent layers are lowered to plain operators ("unrolled") or to UNIDIRECTIONAL_SEQUENCE_LSTM ("fused").

- float16: weights are stored as float16 and dequantized once when the file is loaded; arithmetic is float32.
- int8-weights: weight matrices are symmetric int8, biases are float32. Recurrent layers and heads are hybrid: the
  kernel quantizes each row of activations to int8 as well. The weights of the input layer are dequantized at load time,
  so that raw windows, whose channels differ in range, are not quantized. With a hybrid input layer, the RMS error of a
  logit of edge on the test set is 0.012 instead of 0.010, and the fused baseline LSTM takes 3.4 times as long.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from harexport.exporters import tflite_gru, tflite_lstm
from harexport.exporters.tflite_ops import add_weight, dequantize, fake_quantize, fully_connected
from harexport.formats import tflite_metadata
from harexport.formats.tflite_builder import TfliteBuilder
from harexport.formats.tflite_metadata import HAREXPORT_ENTRY
from harexport.model.contract import INPUT_NAME, Contract
from harexport.model.layers import Head
from harexport.model.network import Network
from harexport.model.sequential import Sequential

OLDEST_RUNTIME = "2.6.0"  # TensorFlow Lite 2.6 has all operator versions used here


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
        lowering: "fused" or "unrolled".
        scheme: "float32", "float16" or "int8-weights".
        batch: Windows per invocation; None: dynamic (unrolled only).

    Returns:
        The file: `window` [batch, window, channels] in physical units -> `logits` and `probabilities` [batch, labels],
        with a second head also `coarse_logits` and `coarse_probabilities`.
    """
    graph = TfliteBuilder()
    window = graph.tensor((batch or 1, network.window, network.num_channels), dynamic=batch is None)
    folded = _fold(network, scheme)
    is_fused = lowering == "fused"
    leading_shape = (network.num_steps,) if batch == 1 and not is_fused else (batch or 1, network.num_steps)
    rows = _input_layer(graph, folded, window, leading_shape, scheme)
    if is_fused:
        state = tflite_lstm.lower_fused(graph, folded.lstm, rows, scheme)
    elif folded.gru:
        state = tflite_gru.lower(graph, folded.gru, rows, leading_shape, scheme)
    elif scheme == "int8-weights":
        state = tflite_lstm.lower_wavefront(graph, folded.lstm, rows, leading_shape)
    else:
        state = tflite_lstm.lower_unrolled(graph, folded.lstm, rows, leading_shape, scheme)
    outputs: list[int] = []
    for name, head in network.heads().items():
        outputs += _head(graph, head, state, scheme, name)
    return serialize(graph, network, contract, metadata, window, outputs, lowering, scheme, OLDEST_RUNTIME)


def serialize(
    graph: TfliteBuilder,
    network: Network | Sequential,
    contract: Contract,
    metadata: dict[str, str],
    window: int,
    outputs: list[int],
    lowering: str,
    scheme: str,
    oldest_runtime: str,
) -> bytes:
    """Return the bytes of a complete graph, with signature, contract, metadata and label files.

    Args:
        graph: Graph with all operators.
        network: Network that it computes.
        contract: Contract of the network.
        metadata: Strings to store in the file.
        window: Input tensor.
        outputs: Output tensors, in the order of `contract.outputs`.
        lowering: "fused" or "unrolled", for the description.
        scheme: Quantization scheme, for the description.
        oldest_runtime: Oldest version of TensorFlow Lite that runs the file.
    """
    description = f"Human activity from {network.window} samples: {lowering} {network.kind.upper()}, {scheme}"
    described, files = tflite_metadata.build_metadata(description, contract)
    facts = {"contract": contract.to_dict(), "metadata": metadata}
    model = graph.finish(
        inputs={INPUT_NAME: window},
        outputs=dict(zip(contract.outputs, outputs, strict=True)),
        description=f"harexport: {description}",
        metadata={
            HAREXPORT_ENTRY: json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode(),
            "min_runtime_version": oldest_runtime.encode().ljust(16, b"\0"),  # 16 bytes, as the converter writes it
            tflite_metadata.TFLITE_METADATA: described,
        },
    )
    return tflite_metadata.append_files(model, files)


def _fold(network: Network, scheme: str) -> Network:
    """Return the network for input in physical units.

    With int8 weights, the mean is subtracted through the rounded weights, so that the rounding error applies to the
    deviation of a channel from its mean, and not to gravity. The input layer is not folded, see the module.
    """
    if scheme != "int8-weights":
        return network.fold_input()
    folded = network.fold_normalization()
    weight = fake_quantize(folded.input.weight)
    bias = network.input.bias.astype(np.float64) - weight.sum(axis=1) @ network.mean.astype(np.float64)
    return replace(folded, input=replace(network.input, weight=weight, bias=bias))


def _input_layer(
    graph: TfliteBuilder, network: Network, window: int, leading_shape: tuple[int, ...], scheme: str
) -> int:
    """Return rows [*leading_shape, units]; if `leading_shape` is (steps,), as many rows of any shape."""
    layer, steps = network.input, network.num_steps
    windows = graph.shapes[window][0]
    is_adjacent = layer.kernel_size == layer.stride and network.window % layer.stride == 0
    sequence = (*leading_shape, layer.out_channels)
    if is_adjacent and layer.is_identity:
        return window if len(leading_shape) == 1 else _reshape(graph, window, sequence)
    activation = schema.ActivationFunctionType.RELU if layer.relu else schema.ActivationFunctionType.NONE
    bias = graph.constant(layer.bias.astype(np.float32), "input.bias")
    # FULLY_CONNECTED reads [windows, window, channels] as rows of kernel size * channels values, without a RESHAPE.
    # CONV_2D needs [windows, height, width, channels]. A kernel over blocks of `stride` samples (2 taps of 16 samples
    # instead of 32 taps of one) has the same latency.
    shape = (
        (layer.out_channels, -1) if is_adjacent else (layer.out_channels, layer.kernel_size, 1, network.num_channels)
    )
    kernel = add_weight(graph, layer.weight.reshape(shape), "input.weight", scheme)
    if scheme == "int8-weights":
        kernel = dequantize(graph, kernel, "int8")
    if is_adjacent:
        count = (windows * steps,)
        rows = fully_connected(graph, window, kernel, bias, count, "float32", fusedActivationFunction=activation)
        return rows if len(leading_shape) == 1 else _reshape(graph, rows, sequence)
    rows = graph.op(
        "CONV_2D",
        [_reshape(graph, window, (windows, network.window, 1, network.num_channels)), kernel, bias],
        (windows, steps, 1, layer.out_channels),
        padding=schema.Padding.VALID,
        strideH=layer.stride,
        strideW=1,
        fusedActivationFunction=activation,
    )
    return rows if len(leading_shape) == 1 else _reshape(graph, rows, sequence)


def _head(graph: TfliteBuilder, head: Head, state: int, scheme: str, name: str) -> list[int]:
    """Return logits and probabilities [windows, labels] of the last state."""
    weight = add_weight(graph, head.weight, f"{name}.weight", scheme)
    bias = graph.constant(head.bias.astype(np.float32), f"{name}.bias")
    windows = graph.shapes[state][0]
    logits = fully_connected(graph, state, weight, bias, (windows,), scheme)
    return [logits, graph.op("SOFTMAX", [logits], graph.shapes[logits], beta=1.0)]


def _reshape(graph: TfliteBuilder, tensor: int, shape: tuple[int, ...]) -> int:
    if graph.shapes[tensor] == shape:
        return tensor
    # -1 for the number of windows, which may be dynamic
    sizes = [-1, *shape[1:]] if len(shape) > 2 else list(shape)
    return graph.op("RESHAPE", [tensor, graph.constant(np.array(sizes, np.int32))], shape, newShape=sizes)
