"""Network -> .tflite in full integer: int8 weights, int8 activations, in the fused operator int16 cells.

In the unrolled graph every activation is int16 where the calibration asks for it (see integer_unrolled.py). Between
the borders all is integers. With float32 input the window's channels are first brought to one size (MUL, SUB)
and rounded (QUANTIZE), coarsely and what is left finely; the logits leave by DEQUANTIZE, and SOFTMAX follows in
float32. With int8 input one scale must serve all channels in physical units, and SOFTMAX is int8.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harexport.contract import Contract
from harexport.exporting import integer_fused, integer_unrolled, tflite
from harexport.exporting.flat import Graph, Quant
from harexport.exporting.integer_ops import PROBABILITY, VERSIONS, matrices, matrix, op, quantize, reshape, weights
from harexport.exporting.quantize import Calibration, asymmetric, symmetric
from harexport.layers import Head
from harexport.network import Network

# By operator versions (integer_ops.py) and by test: TensorFlow Lite 2.6, 2.7, 2.8, 2.11, 2.14 and LiteRT 2.3 agree.
OLDEST_RUNTIME = "2.6.0"

_SPACE = 8.0  # where there are more than 8 bits, times the calibrated range


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
    wide = lowering == "unrolled" and calibration.cell == "int16"
    layer = network.input
    side_by_side = layer.frame == layer.hop and network.window % layer.hop == 0
    folds = network.folded().input.passes_through and (side_by_side or lowering == "unrolled")
    window, samples, network = _entrance(graph, network, calibration, io, wide, whole=folds and lowering == "fused")
    if folds:
        network = network.folded()
        rows, frame, hop = samples, layer.frame, layer.hop
    else:
        network = network.normalised()
        quant = _spacious(calibration.limit("rows")) if wide else asymmetric(calibration.ranges["rows"])
        inner = network.input
        rows = [matrices(graph, samples, inner.weight, inner.bias, quant, "input", layer.hop, layer.relu)]
        frame = hop = 1
    if lowering == "fused":
        sequence = reshape(graph, rows[0], (1, network.steps, network.lstm[0].input_weight.shape[1]))
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


def _entrance(
    graph: Graph, network: Network, calibration: Calibration, io: str, wide: bool, whole: bool
) -> tuple[int, list[int], Network]:
    """The input tensor, the samples [1, window, 1, channels] as one or two tensors, and the network that reads them.

    Two int8 tensors are a sample's coarse and its fine part. Eight bits alone (`whole`, or int8 input) clip strong
    motion or lose what hardly moves; they cost edge up to 0.3 points of accuracy, the fine part no measurable time.
    """
    shape = (1, network.window, network.channels)
    tall = (1, network.window, 1, network.channels)
    window = floats = graph.tensor(shape, quant=asymmetric(calibration.ranges["window"]) if io == "int8" else None)
    if io == "int8" and not wide:
        return window, [reshape(graph, window, tall)], network
    if io == "int8":  # no runtime up to LiteRT 1.4 has a QUANTIZE from int8 to int16
        floats = graph.op("DEQUANTIZE", [window], shape, version=2)
    middle, half = calibration.channels(network.channels)
    factor, offset = (values.astype(np.float32) for values in (1 / half, middle / half))
    level = graph.op("MUL", [floats, graph.constant(factor, "input.factor")], shape)
    level = graph.op("SUB", [level, graph.constant(offset, "input.offset")], shape)
    levelled = replace(network, mean=(network.mean - middle) / half, std=network.std / half)
    if wide or whole:
        samples = [quantize(graph, level, _spacious(1.0) if wide else symmetric(1.0))]
    else:
        coarse = quantize(graph, level, symmetric(_SPACE))
        rest = graph.op("SUB", [level, graph.op("DEQUANTIZE", [coarse], shape, version=2)], shape)
        samples = [coarse, quantize(graph, rest, symmetric(graph.quants[coarse].scale / 2))]
    return window, [reshape(graph, part, tall) for part in samples], levelled


def _spacious(limit: float) -> Quant:
    """int16 with room for more than the range that int8 would be clipped to."""
    return Quant(np.int16, float(np.float32(_SPACE * limit / 32767)))


def _head(graph: Graph, head: Head, state: int, calibration: Calibration, name: str, io: str) -> list[int]:
    """Logits and probabilities [1, labels] of the state [1, 1, 1, hidden]."""
    values = "logits" if name == "head" else name
    narrow = asymmetric(calibration.ranges[values])
    wide = graph.quants[state].dtype is np.int16
    quant = _spacious(calibration.limit(values)) if wide else narrow
    shape = (1, len(head.bias))
    kernel = weights(graph, head.weight[:, None], head.bias, graph.quants[state], quant, name)
    logits = reshape(graph, matrix(graph, state, kernel, quant), shape)
    if io == "int8":
        logits = quantize(graph, logits, narrow) if wide else logits
        return [logits, op(graph, "SOFTMAX", [logits], shape, PROBABILITY, beta=1.0)]
    answer = graph.op("DEQUANTIZE", [logits], shape, version=VERSIONS["DEQUANTIZE"][wide])
    return [answer, graph.op("SOFTMAX", [answer], shape, beta=1.0)]
