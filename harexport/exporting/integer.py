"""Network -> .tflite in full integer: int8 activations, int8 weights, int32 biases, int16 cells (see integer_unrolled.py).

Between the borders everything is integers. With float32 input the window's channels are first brought to one
size (MUL, SUB) and rounded (QUANTIZE); the logits leave by DEQUANTIZE and SOFTMAX follows in float32. With int8
input one scale must serve all channels in physical units; SOFTMAX is int8 then.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harexport.contract import Contract
from harexport.exporting import integer_fused, integer_unrolled, tflite
from harexport.exporting.flat import Graph
from harexport.exporting.integer_ops import PROBABILITY, matrix, op, quantize, reshape, weights
from harexport.exporting.quantize import Calibration, asymmetric, symmetric
from harexport.layers import Head
from harexport.network import Network

# By operator versions (integer_ops.py) and by test: TensorFlow Lite 2.6, 2.7, 2.8, 2.11, 2.14 and LiteRT 2.3 agree.
OLDEST_RUNTIME = "2.6.0"


def emit(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    lowering: str,
    calibration: Calibration,
    io: str = "float32",
) -> bytes:
    """The file: `window` [1, window, channels] -> `logits` and `probabilities` [1, labels], all float32 or (`io`) int8.

    Same input, same bytes.
    """
    graph = Graph()
    window, samples, network = _entrance(graph, network, calibration, io)
    layer = network.input
    side_by_side = layer.frame == layer.hop and network.window % layer.hop == 0
    folded = network.folded()
    if folded.input.passes_through and (side_by_side or lowering == "unrolled"):
        network = folded
        rows, frame, hop = samples, layer.frame, layer.hop
    else:
        network = network.normalised()
        quant = asymmetric(calibration.ranges["rows"])
        kernel = weights(graph, network.input.weight, network.input.bias, graph.quants[samples], quant, "input")
        rows, frame, hop = matrix(graph, samples, kernel, quant, layer.hop, layer.relu), 1, 1
    if lowering == "fused":
        sequence = reshape(graph, rows, (1, network.steps, network.lstm[0].input_weight.shape[1]))
        state = integer_fused.lower(graph, network.lstm, sequence, calibration)
        state = reshape(graph, state, (1, 1, 1, graph.shapes[state][2]))
    else:
        state = integer_unrolled.lower(graph, network.lstm, rows, calibration, frame, hop)
    outputs: list[int] = []
    for name, head in network.heads().items():
        outputs += _head(graph, head, state, calibration, name, io)
    return tflite.finish(
        graph, network, contract, metadata, window, outputs, lowering, f"int8 with {io} input", OLDEST_RUNTIME
    )


def _entrance(graph: Graph, network: Network, calibration: Calibration, io: str) -> tuple[int, int, Network]:
    """The input tensor, the samples int8 [1, window, 1, channels], and the network that reads those."""
    shape = (1, network.window, network.channels)
    tall = (1, network.window, 1, network.channels)
    if io == "int8":
        window = graph.tensor(shape, quant=asymmetric(calibration.ranges["window"]))
        return window, reshape(graph, window, tall), network
    window = graph.tensor(shape)
    middle, half = calibration.channels(network.channels)
    factor, offset = (values.astype(np.float32) for values in (1 / half, middle / half))
    levelled = graph.op("MUL", [window, graph.constant(factor, "input.factor")], shape)
    levelled = graph.op("SUB", [levelled, graph.constant(offset, "input.offset")], shape)
    samples = quantize(graph, levelled, symmetric(1.0))
    levelled_network = replace(network, mean=(network.mean - middle) / half, std=network.std / half)
    return window, reshape(graph, samples, tall), levelled_network


def _head(graph: Graph, head: Head, state: int, calibration: Calibration, name: str, io: str) -> list[int]:
    """Logits and probabilities [1, labels] of the state int8 [1, 1, 1, hidden]."""
    quant = asymmetric(calibration.ranges["logits" if name == "head" else name])
    kernel = weights(graph, head.weight[:, None], head.bias, graph.quants[state], quant, name)
    logits = matrix(graph, state, kernel, quant)
    shape = (1, len(head.bias))
    logits = reshape(graph, logits, shape)
    if io == "int8":
        return [logits, op(graph, "SOFTMAX", [logits], shape, PROBABILITY, beta=1.0)]
    answer = graph.op("DEQUANTIZE", [logits], shape, version=2)
    return [answer, graph.op("SOFTMAX", [answer], shape, beta=1.0)]
