"""Weights in a .tflite graph: float32, or symmetric int8 (value = scale * integer, one scale a tensor).

One scale a tensor, because a scale per row needs FULLY_CONNECTED 12 or DEQUANTIZE 5, which TensorFlow
Lite 2.6, the oldest runtime our files are meant for, does not have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.exporting.flat import Graph

# The lowest version of each operator that reads float32 activations with int8 weights ("hybrid").
HYBRID_VERSIONS = {"FULLY_CONNECTED": 3, "UNIDIRECTIONAL_SEQUENCE_LSTM": 2}
_LARGEST = 127  # the format's restricted range: -128 is never used, so that the range is symmetric


def symmetric_int8(values: NDArray[np.floating]) -> tuple[NDArray[np.int8], float]:
    """Integers and their scale; a tensor of zeros gets scale 1."""
    largest = float(np.abs(values).max(initial=0.0))
    scale = float(np.float32(largest / _LARGEST)) or 1.0
    integers = np.clip(np.rint(values / scale), -_LARGEST, _LARGEST).astype(np.int8)
    return integers, scale


def rounded(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """The values as int8 holds them."""
    integers, scale = symmetric_int8(values)
    return integers.astype(np.float64) * scale


def add_weight(graph: Graph, values: NDArray[np.floating], name: str, int8: bool) -> int:
    """A weight as a constant: float32, or int8 with its scale."""
    if not int8:
        return graph.constant(values.astype(np.float32), name)
    integers, scale = symmetric_int8(values)
    return graph.constant(integers, name, scale)


def dense(graph: Graph, rows: int, weight: int, bias: int, count: int, int8: bool, **options: Any) -> int:
    """FULLY_CONNECTED: `rows` (any shape holding `count` rows) times weight [outputs, inputs] -> [count, outputs]."""
    version = HYBRID_VERSIONS["FULLY_CONNECTED"] if int8 else 1
    shape = (count, graph.shapes[weight][0])
    return graph.op("FULLY_CONNECTED", [rows, weight, bias], shape, version=version, **options)
