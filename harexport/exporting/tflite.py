"""Network -> .tflite, written directly: no TensorFlow, no converter, milliseconds.

Two lowerings of the LSTM stack: `unrolled` (plain operators, see unrolled.py and, for int8 weights,
wavefront.py) and `fused` (UNIDIRECTIONAL_SEQUENCE_LSTM, see fused.py). Two schemes:
- float32.
- int8-weights: every weight matrix is symmetric int8, biases stay float32. The LSTM stack and the head
  are hybrid (the kernel rounds each activation row to int8 as well); the input layer's weights are stored
  as int8 and widened by a DEQUANTIZE when the file is loaded, so that raw windows, whose channels differ
  a lot in size, are never rounded. On the official test set with a trained edge model (48 units, 7 steps)
  a hybrid input layer is 20 % further from the reference (RMS of a logit's error 0.012 against 0.010), and
  with the seed model's fused lowering it takes 3.4 times as long.
"""

from __future__ import annotations

import json
from typing import Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.contract import INPUT_NAME, LOGITS_NAME, PROBABILITIES_NAME, Contract
from harexport.exporting import fused, unrolled, wavefront
from harexport.exporting.flat import METADATA_NAME, Graph
from harexport.exporting.weights import add_weight, dense, rounded
from harexport.network import Network

Lowering = Literal["fused", "unrolled"]
Scheme = Literal["float32", "int8-weights"]

_OLDEST_RUNTIME = b"2.6.0"  # by its operator versions; none is above what TensorFlow Lite 2.6 knows


def emit(
    network: Network, contract: Contract, metadata: dict[str, str], lowering: Lowering, scheme: Scheme = "float32"
) -> bytes:
    """The file: `window` [1, window, channels] in physical units -> `logits` and `probabilities` [1, labels].

    Contract and metadata go in as one JSON, under the metadata name "harexport". Same input, same bytes.
    """
    int8 = scheme == "int8-weights"
    graph = Graph()
    window = graph.tensor((1, network.window, network.channels))
    steps = network.steps
    rows = _input_layer(graph, network, window, int8, spare=lowering == "fused")
    if lowering == "fused":
        shape = (1, steps, network.input.units + 1)
        rows = _reshape(graph, fused.finite(graph, rows), shape)
        state = fused.lower(graph, network.lstm, rows, steps, int8)
    else:
        state = (wavefront if int8 else unrolled).lower(graph, network.lstm, rows, steps)
    weight = add_weight(graph, network.head.weight, "head.weight", int8)
    bias = graph.constant(network.head.bias.astype(np.float32), "head.bias")
    logits = dense(graph, state, weight, bias, 1, int8)
    probabilities = graph.op("SOFTMAX", [logits], (1, network.labels), beta=1.0)
    facts = {"contract": contract.to_dict(), "metadata": metadata}
    return graph.finish(
        inputs={INPUT_NAME: window},
        outputs={LOGITS_NAME: logits, PROBABILITIES_NAME: probabilities},
        description=f"harexport: human activity from {network.window} samples, {lowering} LSTM, {scheme}",
        metadata={
            METADATA_NAME: json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode(),
            "min_runtime_version": _OLDEST_RUNTIME.ljust(16, b"\0"),  # 16 bytes, as the converter writes it
        },
    )


def _input_layer(graph: Graph, network: Network, window: int, int8: bool, spare: bool) -> int:
    """Normalisation and input layer: [1, window, channels] -> as many values as [steps, units (+ 1)].

    `spare` adds an output that is always 0 after the units: the fused lowering's indicator column.
    """
    layer, steps = network.input, network.steps
    weight, bias = _normalising(network, int8)
    if spare:
        weight = np.concatenate([weight, np.zeros_like(weight[:1])])
        bias = np.append(bias, 0.0)
    activation = schema.ActivationFunctionType.RELU if layer.relu else schema.ActivationFunctionType.NONE
    offsets = graph.constant(bias.astype(np.float32), "input.bias")
    side_by_side = layer.frame == layer.hop and network.window % layer.hop == 0
    # FULLY_CONNECTED reads [1, window, channels] as rows of frame * channels values: no RESHAPE needed.
    # CONV_2D wants [1, height, width, channels]. A kernel over blocks of hop samples (2 taps of 16 samples
    # instead of 32 of one) takes the same time.
    shape = (len(bias), -1) if side_by_side else (len(bias), layer.frame, 1, network.channels)
    kernel = add_weight(graph, weight.reshape(shape), "input.weight", int8)
    if int8:
        kernel = graph.op("DEQUANTIZE", [kernel], graph.shapes[kernel], version=2)
    if side_by_side:
        return dense(graph, window, kernel, offsets, steps, False, fusedActivationFunction=activation)
    return graph.op(
        "CONV_2D",
        [_reshape(graph, window, (1, network.window, 1, network.channels)), kernel, offsets],
        (1, steps, 1, len(bias)),
        padding=schema.Padding.VALID,
        strideH=layer.hop,
        strideW=1,
        fusedActivationFunction=activation,
    )


def _normalising(network: Network, int8: bool) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Weight and bias of the input layer on physical units.

    With int8 the means are subtracted through the rounded weights: only what a channel does around its
    mean meets the rounding error, not gravity itself.
    """
    folded = network.normalised().input
    if not int8:
        return folded.weight, folded.bias
    weight = rounded(folded.weight)
    means = weight.sum(axis=1) @ network.mean.astype(np.float64)
    return weight, network.input.bias.astype(np.float64) - means


def _reshape(graph: Graph, tensor: int, shape: tuple[int, ...]) -> int:
    sizes = graph.constant(np.array(shape, np.int32))
    return graph.op("RESHAPE", [tensor, sizes], shape, newShape=list(shape))
