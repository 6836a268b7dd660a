"""Network -> .tflite, written directly: no TensorFlow, no converter, milliseconds.

Two lowerings of the stack: `unrolled` (plain operators, see unrolled.py, gru.py and, for int8 weights,
wavefront.py) and `fused` (UNIDIRECTIONAL_SEQUENCE_LSTM, see fused.py). Schemes:
- float32.
- float16: weights stored as float16 and widened by a DEQUANTIZE when the file is loaded; all arithmetic is float32.
- int8-weights: every weight matrix is symmetric int8, biases stay float32. The stack and the head
  are hybrid (the kernel rounds each activation row to int8 as well); the input layer's weights are stored
  as int8 and widened like float16, so that raw windows, whose channels differ
  a lot in size, are never rounded. On the official test set with a trained edge model (48 units, 7 steps)
  a hybrid input layer is 20 % further from the reference (RMS of a logit's error 0.012 against 0.010), and
  with the seed model's fused lowering it takes 3.4 times as long.
- int8: full integer, in integer.py.
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

OLDEST_RUNTIME = "2.6.0"  # by its operator versions; none is above what TensorFlow Lite 2.6 knows


def build(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    lowering: str,
    scheme: str = "float32",
    batch: int | None = 1,
) -> bytes:
    """The file: `window` [batch, window, channels] in physical units -> `logits` and `probabilities` [batch, labels].

    A second head answers `coarse_logits` and `coarse_probabilities`. batch None leaves the number of windows
    open (unrolled only). Contract and metadata go in as one JSON, under the metadata name "harexport". Same
    input, same bytes.
    """
    graph = TfliteBuilder()
    window = graph.tensor((batch or 1, network.window, network.num_channels), dynamic=batch is None)
    folded = _folded(network, scheme)
    fuse = lowering == "fused"
    lead = (network.num_steps,) if batch == 1 and not fuse else (batch or 1, network.num_steps)
    rows = _input_layer(graph, folded, window, lead, scheme)
    if fuse:
        state = tflite_lstm.lower_fused(graph, folded.lstm, rows, scheme)
    elif folded.gru:
        state = tflite_gru.lower(graph, folded.gru, rows, lead, scheme)
    elif scheme == "int8-weights":
        state = tflite_lstm.lower_wavefront(graph, folded.lstm, rows, lead)
    else:
        state = tflite_lstm.lower_unrolled(graph, folded.lstm, rows, lead, scheme)
    outputs: list[int] = []
    for name, head in network.heads().items():
        outputs += _head(graph, head, state, scheme, name)
    return serialize(graph, network, contract, metadata, window, outputs, lowering, scheme, OLDEST_RUNTIME)


def serialize(
    graph: TfliteBuilder,
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    window: int,
    outputs: list[int],
    lowering: str,
    scheme: str,
    oldest_runtime: str,
) -> bytes:
    """The file of a graph that is complete: names, signature, metadata, labels."""
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


def _folded(network: Network, scheme: str) -> Network:
    """The network on physical units.

    With int8 weights the means are subtracted through the rounded weights: only what a channel does around its
    mean meets the rounding error, not gravity itself. And the input layer stays, so that no raw window is rounded.
    """
    if scheme != "int8-weights":
        return network.fold_input()
    normalised = network.fold_normalization()
    weight = fake_quantize(normalised.input.weight)
    bias = network.input.bias.astype(np.float64) - weight.sum(axis=1) @ network.mean.astype(np.float64)
    return replace(normalised, input=replace(network.input, weight=weight, bias=bias))


def _input_layer(graph: TfliteBuilder, network: Network, window: int, lead: tuple[int, ...], scheme: str) -> int:
    """The input layer: `window` -> rows [*lead, units], or, where `lead` is (steps,), as many of any shape."""
    layer, steps = network.input, network.num_steps
    windows = graph.shapes[window][0]
    side_by_side = layer.kernel_size == layer.stride and network.window % layer.stride == 0
    sequence = (*lead, layer.out_channels)
    if side_by_side and layer.is_identity:
        return window if len(lead) == 1 else _reshape(graph, window, sequence)
    activation = schema.ActivationFunctionType.RELU if layer.relu else schema.ActivationFunctionType.NONE
    offsets = graph.constant(layer.bias.astype(np.float32), "input.bias")
    # FULLY_CONNECTED reads [windows, window, channels] as rows of frame * channels values: no RESHAPE needed.
    # CONV_2D wants [windows, height, width, channels]. A kernel over blocks of hop samples (2 taps of 16 samples
    # instead of 32 of one) takes the same time.
    shape = (
        (layer.out_channels, -1) if side_by_side else (layer.out_channels, layer.kernel_size, 1, network.num_channels)
    )
    kernel = add_weight(graph, layer.weight.reshape(shape), "input.weight", scheme)
    if scheme == "int8-weights":
        kernel = dequantize(graph, kernel, "int8")
    if side_by_side:
        count = (windows * steps,)
        rows = fully_connected(graph, window, kernel, offsets, count, "float32", fusedActivationFunction=activation)
        return rows if len(lead) == 1 else _reshape(graph, rows, sequence)
    rows = graph.op(
        "CONV_2D",
        [_reshape(graph, window, (windows, network.window, 1, network.num_channels)), kernel, offsets],
        (windows, steps, 1, layer.out_channels),
        padding=schema.Padding.VALID,
        strideH=layer.stride,
        strideW=1,
        fusedActivationFunction=activation,
    )
    return rows if len(lead) == 1 else _reshape(graph, rows, sequence)


def _head(graph: TfliteBuilder, head: Head, state: int, scheme: str, name: str) -> list[int]:
    """Logits and probabilities [windows, labels] of the last state."""
    weight = add_weight(graph, head.weight, f"{name}.weight", scheme)
    bias = graph.constant(head.bias.astype(np.float32), f"{name}.bias")
    windows = graph.shapes[state][0]
    logits = fully_connected(graph, state, weight, bias, (windows,), scheme)
    return [logits, graph.op("SOFTMAX", [logits], graph.shapes[logits], beta=1.0)]


def _reshape(graph: TfliteBuilder, tensor: int, shape: tuple[int, ...]) -> int:
    if graph.shapes[tensor] == shape:
        return tensor
    # -1 for the number of windows, where the shape has one: it may be open
    sizes = [-1, *shape[1:]] if len(shape) > 2 else list(shape)
    return graph.op("RESHAPE", [tensor, graph.constant(np.array(sizes, np.int32))], shape, newShape=sizes)
