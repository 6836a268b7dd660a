"""Weights in a .tflite graph, by scheme: float32, float16 widened once, or symmetric int8 (value = scale * integer).

int8 has one scale a tensor, because a scale per row needs FULLY_CONNECTED 12 or DEQUANTIZE 5, which TensorFlow
Lite 2.6, the oldest runtime our files are meant for, does not have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.exporting.flat import Graph

# The lowest version of each operator that reads float32 activations with int8 weights ("hybrid").
HYBRID_VERSIONS = {"FULLY_CONNECTED": 3, "UNIDIRECTIONAL_SEQUENCE_LSTM": 2}
_KEEPS_DIMENSIONS = 5  # the version of FULLY_CONNECTED that knows keepNumDims
_WIDENING = {"float16": 3, "int8": 2}  # the lowest version of DEQUANTIZE that reads it
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


def add_weight(graph: Graph, values: NDArray[np.floating], name: str, scheme: str) -> int:
    """A weight as the scheme ("float32", "float16", "int8-weights") stores it; float16 comes out widened."""
    if scheme == "int8-weights":
        integers, scale = symmetric_int8(values)
        return graph.constant(integers, name, scale)
    if scheme == "float16":
        return widened(graph, graph.constant(values.astype(np.float16), name), "float16")
    return graph.constant(values.astype(np.float32), name)


def widened(graph: Graph, weight: int, dtype: str) -> int:
    """DEQUANTIZE of a constant: runtimes do it once, when they load the file."""
    return graph.op("DEQUANTIZE", [weight], graph.shapes[weight], version=_WIDENING[dtype])


def dense(graph: Graph, rows: int, weight: int, bias: int, shape: tuple[int, ...], scheme: str, **options: Any) -> int:
    """FULLY_CONNECTED: `rows` times weight [outputs, inputs] -> (*shape, outputs).

    `rows` may have any shape that holds as many rows as `shape` does; with two dimensions or more, `shape`
    must be the rows' own.
    """
    version = HYBRID_VERSIONS["FULLY_CONNECTED"] if scheme == "int8-weights" else 1
    if len(shape) > 1:
        version, options = _KEEPS_DIMENSIONS, {**options, "keepNumDims": True}
    return graph.op(
        "FULLY_CONNECTED", [rows, weight, bias], (*shape, graph.shapes[weight][0]), version=version, **options
    )
