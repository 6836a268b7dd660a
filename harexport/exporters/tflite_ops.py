"""Weights in a .tflite graph, by scheme: float32, float16 widened once, or symmetric int8 (value = scale * integer).

int8 has one scale a tensor, because a scale per row needs FULLY_CONNECTED 12 or DEQUANTIZE 5, which TensorFlow
Lite 2.6, the oldest runtime our files are meant for, does not have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.exporters.calibration import asymmetric, symmetric
from harexport.formats.tflite_builder import QuantParams, TfliteBuilder

# The lowest version of each operator that reads float32 activations with int8 weights ("hybrid").
HYBRID_VERSIONS = {"FULLY_CONNECTED": 3, "UNIDIRECTIONAL_SEQUENCE_LSTM": 2}
_KEEPS_DIMENSIONS = 5  # the version of FULLY_CONNECTED that knows keepNumDims
_WIDENING = {"float16": 3, "int8": 2}  # the lowest version of DEQUANTIZE that reads it
_LARGEST = 127  # the format's restricted range: -128 is never used, so that the range is symmetric


def quantize_weight(values: NDArray[np.floating]) -> tuple[NDArray[np.int8], float]:
    """Integers and their scale; a tensor of zeros gets scale 1."""
    largest = float(np.abs(values).max(initial=0.0))
    scale = float(np.float32(largest / _LARGEST)) or 1.0
    integers = np.clip(np.rint(values / scale), -_LARGEST, _LARGEST).astype(np.int8)
    return integers, scale


def fake_quantize(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """The values as int8 holds them."""
    integers, scale = quantize_weight(values)
    return integers.astype(np.float64) * scale


def add_weight(graph: TfliteBuilder, values: NDArray[np.floating], name: str, scheme: str) -> int:
    """A weight as the scheme ("float32", "float16", "int8-weights") stores it; float16 comes out widened."""
    if scheme == "int8-weights":
        integers, scale = quantize_weight(values)
        return graph.constant(integers, name, scale)
    if scheme == "float16":
        return dequantize(graph, graph.constant(values.astype(np.float16), name), "float16")
    return graph.constant(values.astype(np.float32), name)


def dequantize(graph: TfliteBuilder, weight: int, dtype: str) -> int:
    """DEQUANTIZE of a constant: runtimes do it once, when they load the file."""
    return graph.op("DEQUANTIZE", [weight], graph.shapes[weight], version=_WIDENING[dtype])


def fully_connected(
    graph: TfliteBuilder, rows: int, weight: int, bias: int, shape: tuple[int, ...], scheme: str, **options: Any
) -> int:
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


# By the type that an operator reads, int8 and int16; the newest of these came with TensorFlow Lite 2.4.
VERSIONS = {
    "ADD": (2, 3),
    "CONV_2D": (3, 4),
    "DEQUANTIZE": (2, 3),
    "LOGISTIC": (2, 3),
    "MUL": (2, 4),
    "RESHAPE": (1, 1),
    "SLICE": (2, 4),
    "SOFTMAX": (2, 3),
    "SPLIT": (2, 4),
    "SUB": (2, 5),
    "TANH": (2, 3),
}
# Scales that the kernels insist on (LogisticPrepare, TanhPrepare and SoftmaxPrepare).
SIGMOID = {np.int8: QuantParams(np.int8, 1 / 256, -128), np.int16: QuantParams(np.int16, 2.0**-15)}
TANH = {np.int8: QuantParams(np.int8, 1 / 128), np.int16: QuantParams(np.int16, 2.0**-15)}
PROBABILITY = QuantParams(np.int8, 1 / 256, -128)
_INT_LARGEST = 127


def op(
    graph: TfliteBuilder, operator: str, inputs: list[int], shape: tuple[int, ...], quant: QuantParams, **options: Any
) -> int:
    """An operator on quantised activations; its first one says which version."""
    return graph.op(operator, inputs, shape, version=version(graph, operator, inputs), quant=quant, **options)


def version(graph: TfliteBuilder, operator: str, inputs: list[int]) -> int:
    """The version that reads the first activation among `inputs`."""
    dtype = next(graph.quants[index].dtype for index in inputs if index in graph.quants)
    return VERSIONS[operator][dtype is np.int16]


def quantize(graph: TfliteBuilder, tensor: int, quant: QuantParams) -> int:
    """QUANTIZE: from float32, or from one scale to another."""
    number = 2 if quant.dtype is np.int16 else 1
    return graph.op("QUANTIZE", [tensor], graph.shapes[tensor], version=number, quant=quant)


def add(graph: TfliteBuilder, a: int, b: int, quant: QuantParams, operator: str = "ADD", **options: Any) -> int:
    """a + b (or SUB: a - b). The flag asks for the kernel that takes any int16 scales."""
    return op(graph, operator, [a, b], graph.shapes[a], quant, potScaleInt16=False, **options)


def mul(graph: TfliteBuilder, a: int, b: int, quant: QuantParams) -> int:
    return op(graph, "MUL", [a, b], graph.shapes[a], quant)


def reshape(graph: TfliteBuilder, tensor: int, shape: tuple[int, ...]) -> int:
    sizes = graph.constant(np.array(shape, np.int32))
    return graph.op("RESHAPE", [tensor, sizes], shape, quant=graph.quants[tensor], newShape=list(shape))


def cut(graph: TfliteBuilder, tensor: int, begin: list[int], shape: tuple[int, ...]) -> int:
    """SLICE: the part of `tensor` that starts at `begin`."""
    places = [graph.constant(np.array(values, np.int32)) for values in (begin, shape)]
    return op(graph, "SLICE", [tensor, *places], shape, graph.quants[tensor])


def weights(
    graph: TfliteBuilder,
    weight: NDArray[np.floating],
    bias: NDArray[np.floating],
    source: QuantParams,
    quant: QuantParams,
    name: str,
) -> tuple[int, int]:
    """Kernel and biases for `matrix`: weight [outputs, frame, inputs] in int8, a scale per output; bias [outputs].

    They serve products of rows that mean `source`, whose answers mean `quant`.
    """
    outputs, frame, inputs = weight.shape
    largest = np.abs(weight).max(axis=(1, 2))
    # An output without weights is its bias alone: 256 steps of that to each step of the answer. And XNNPACK takes no
    # scale so small that its product with the input's is below 2^-32 of the answer's.
    scales = np.where(largest > 0, largest / _INT_LARGEST, quant.scale / 256 / source.scale)
    scales = np.maximum(scales, 2.0**-20 * quant.scale / source.scale).astype(np.float32)
    integers = np.clip(np.rint(weight / scales[:, None, None]), -_INT_LARGEST, _INT_LARGEST).astype(np.int8)
    kernel = graph.constant(integers.reshape(outputs, frame, 1, inputs), f"{name}_weight", scales)
    wide = source.dtype is np.int16
    return kernel, biases(
        graph, bias, scales * np.float32(source.scale), f"{name}_bias", np.int64 if wide else np.int32
    )


def matrix(
    graph: TfliteBuilder, rows: int, kernel: tuple[int, ...], quant: QuantParams, hop: int = 1, relu: bool = False
) -> int:
    """`rows` [1, n, 1, inputs] in frames, `hop` rows apart, times `weights`' kernel -> [1, steps, 1, outputs].

    CONV_2D, also where a frame is one row, because it has had a scale per output since TensorFlow Lite 1.14.
    FULLY_CONNECTED of int8 with a scale per output answers zeros, without an error, in 2.6 to 2.8 (tried); of int16
    without a bias it answers wrong numbers in 2.6 and 2.7, and with one it is no faster than this.
    """
    outputs, frame, _, _ = graph.shapes[kernel[0]]
    steps = (graph.shapes[rows][1] - frame) // hop + 1
    activation = schema.ActivationFunctionType.RELU if relu else schema.ActivationFunctionType.NONE
    return op(
        graph,
        "CONV_2D",
        [rows, *kernel],
        (1, steps, 1, outputs),
        quant,
        padding=schema.Padding.VALID,
        strideH=hop,
        strideW=1,
        fusedActivationFunction=activation,
    )


def matrices(
    graph: TfliteBuilder,
    parts: list[int],
    weight: NDArray[np.floating],
    bias: NDArray[np.floating],
    quant: QuantParams,
    name: str,
    hop: int = 1,
    relu: bool = False,
) -> int:
    """`matrix` of the sum of `parts`: one tensor, or a coarse and a fine one on scales of their own."""
    if len(parts) == 1:
        kernel = weights(graph, weight, bias, graph.quants[parts[0]], quant, name)
        return matrix(graph, parts[0], kernel, quant, hop, relu)
    coarse, fine = parts
    # The most that the fine part can add; whoever holds still has the same one in every sample, so it does add up.
    most = float(np.abs(weight).sum(axis=(1, 2)).max()) * graph.quants[fine].scale * 127
    small = symmetric(max(most, 127 * quant.scale / 64))
    # The sum is clipped at 0 by the ReLU; the coarse part must reach below by what the fine part may add.
    low = (-128 - quant.zero_point) * quant.scale
    reach = asymmetric((low - small.scale * 127, (127 - quant.zero_point) * quant.scale))
    kernel = weights(graph, weight, bias, graph.quants[coarse], reach, name)
    first = matrix(graph, coarse, kernel, reach, hop)
    second = matrix(
        graph, fine, weights(graph, weight, np.zeros_like(bias), graph.quants[fine], small, f"{name}.fine"), small, hop
    )
    activation = schema.ActivationFunctionType.RELU if relu else schema.ActivationFunctionType.NONE
    return add(graph, first, second, quant, fusedActivationFunction=activation)


def biases(
    graph: TfliteBuilder,
    bias: NDArray[np.floating],
    scale: float | NDArray[np.float32],
    name: str,
    dtype: type[np.int32] | type[np.int64] = np.int32,
) -> int:
    """In units of input scale * weight scale, as every integer kernel adds them up: int32, with int16 inputs int64."""
    limit = np.iinfo(np.int32).max
    return graph.constant(np.clip(np.rint(bias / scale), -limit, limit).astype(dtype), name, scale)


def power_of_two(limit: float) -> QuantParams:
    """int16 between +- the power of two from `limit` on; at most 64: the fused kernel's tanh takes 6 integer bits."""
    return QuantParams(np.int16, float(2.0 ** np.ceil(np.log2(np.clip(limit, 1.0, 64.0))) / 32768))
