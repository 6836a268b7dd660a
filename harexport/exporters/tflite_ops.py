"""Operators of a .tflite graph in float32, hybrid (float32 activations, int8 weights) and integer arithmetic.

Hybrid matrices have one scale per tensor. A scale per row needs FULLY_CONNECTED 12 or DEQUANTIZE 5, which TensorFlow
Lite 2.6, the oldest supported runtime, does not have. Hybrid kernels of convolutions have a scale per output.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from harexport.exporters.calibration import asymmetric_int8, symmetric_int8
from harexport.exporters.gptq import row_scales
from harexport.formats.tflite_builder import QuantParams, TfliteBuilder

# The lowest version of each operator that reads float32 activations and int8 weights ("hybrid").
HYBRID_VERSIONS = {"CONV_2D": 5, "FULLY_CONNECTED": 3, "UNIDIRECTIONAL_SEQUENCE_LSTM": 2}
# The versions that read int8 and int16. All of them are in TensorFlow Lite 2.6, except GELU.
INT_VERSIONS = {
    "ADD": (2, 3),
    "AVERAGE_POOL_2D": (2, 3),
    "CONCATENATION": (2, 3),
    "CONV_2D": (3, 4),
    "DEQUANTIZE": (2, 3),
    "ELU": (1, 1),
    "GATHER": (2, 4),
    "GELU": (2, 2),
    "LEAKY_RELU": (2, 2),
    "LOGISTIC": (2, 3),
    "MAX_POOL_2D": (2, 3),
    "MEAN": (2, 3),
    "MUL": (2, 4),
    "PAD": (2, 3),
    "REDUCE_MAX": (2, 3),
    "RELU": (2, 3),
    "RESHAPE": (1, 1),
    "SLICE": (2, 4),
    "SOFTMAX": (2, 3),
    "SPLIT": (2, 4),
    "SUB": (2, 5),
    "TANH": (2, 3),
}
# Output scales that the kernels require (LogisticPrepare, TanhPrepare and SoftmaxPrepare).
SIGMOID_PARAMS = {np.int8: QuantParams(np.int8, 1 / 256, -128), np.int16: QuantParams(np.int16, 2.0**-15)}
TANH_PARAMS = {np.int8: QuantParams(np.int8, 1 / 128), np.int16: QuantParams(np.int16, 2.0**-15)}
PROBABILITY_PARAMS = QuantParams(np.int8, 1 / 256, -128)

_KEEP_NUM_DIMS_VERSION = 5  # of FULLY_CONNECTED
_DEQUANTIZE_VERSIONS = {"float16": 3, "int8": 2}  # for constants
_INT8_MAX = 127  # weights use the restricted range of the format, without -128


def quantize_weight(values: NDArray[np.floating]) -> tuple[NDArray[np.int8], float]:
    """Quantize a weight to symmetric int8.

    Returns:
        The integers and their scale, which is 1 for a tensor of zeros.
    """
    largest = float(np.abs(values).max(initial=0.0))
    scale = float(np.float32(largest / _INT8_MAX)) or 1.0
    integers = np.clip(np.rint(values / scale), -_INT8_MAX, _INT8_MAX).astype(np.int8)
    return integers, scale


def fake_quantize(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Round a weight to the values that `quantize_weight` represents."""
    integers, scale = quantize_weight(values)
    return integers.astype(np.float64) * scale


def add_weight(graph: TfliteBuilder, values: NDArray[np.floating], name: str, scheme: str) -> int:
    """Add a weight in the type of a scheme: "float32", "float16" (with a DEQUANTIZE) or "int8-weights"."""
    if scheme == "int8-weights":
        integers, scale = quantize_weight(values)
        return graph.constant(integers, name, scale)
    if scheme == "float16":
        return dequantize(graph, graph.constant(values.astype(np.float16), name), "float16")
    return graph.constant(values.astype(np.float32), name)


def add_rows(graph: TfliteBuilder, values: NDArray[np.floating], name: str) -> int:
    """Add a weight in int8 with one scale per output, the first axis."""
    scales = row_scales(values.reshape(len(values), -1))
    integers = np.rint(values / scales.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
    return graph.constant(integers, name, scales.ravel())


def dequantize(graph: TfliteBuilder, weight: int, dtype: str) -> int:
    """Add the DEQUANTIZE of a constant, which runtimes execute once when they load the file."""
    return graph.op("DEQUANTIZE", [weight], graph.shapes[weight], version=_DEQUANTIZE_VERSIONS[dtype])


def fully_connected(
    graph: TfliteBuilder, rows: int, weight: int, bias: int, shape: tuple[int, ...], scheme: str, **options: Any
) -> int:
    """Add a FULLY_CONNECTED operator.

    Args:
        graph: Graph to add to.
        rows: Input. It may have any shape with as many rows as `shape` holds; with two axes or more, `shape` must be
            its own.
        weight: [outputs, inputs].
        bias: [outputs].
        shape: Shape of the output without its last axis.
        scheme: "int8-weights" for a hybrid operator.
        **options: Options of the operator.

    Returns:
        The output [*shape, outputs].
    """
    version = HYBRID_VERSIONS["FULLY_CONNECTED"] if scheme == "int8-weights" else 1
    if len(shape) > 1:
        version, options = _KEEP_NUM_DIMS_VERSION, {**options, "keepNumDims": True}
    return graph.op(
        "FULLY_CONNECTED", [rows, weight, bias], (*shape, graph.shapes[weight][0]), version=version, **options
    )


def int_op(
    graph: TfliteBuilder, operator: str, inputs: list[int], shape: tuple[int, ...], quant: QuantParams, **options: Any
) -> int:
    """Add an operator on quantized activations; the type of its first one determines the version."""
    dtype = next(graph.quants[index].dtype for index in inputs if index in graph.quants)
    version = INT_VERSIONS[operator][dtype is np.int16]
    return graph.op(operator, inputs, shape, version=version, quant=quant, **options)


def quantize(graph: TfliteBuilder, tensor: int, quant: QuantParams) -> int:
    """Add a QUANTIZE operator, from float32 or from other quantization parameters."""
    version = 2 if quant.dtype is np.int16 else 1
    return graph.op("QUANTIZE", [tensor], graph.shapes[tensor], version=version, quant=quant)


def int_add(graph: TfliteBuilder, a: int, b: int, quant: QuantParams, operator: str = "ADD", **options: Any) -> int:
    """Add a + b, or a - b for the operator SUB."""
    # potScaleInt16=False selects the kernel for arbitrary int16 scales
    return int_op(graph, operator, [a, b], graph.shapes[a], quant, potScaleInt16=False, **options)


def int_mul(graph: TfliteBuilder, a: int, b: int, quant: QuantParams) -> int:
    """Add a * b."""
    return int_op(graph, "MUL", [a, b], graph.shapes[a], quant)


def int_reshape(graph: TfliteBuilder, tensor: int, shape: tuple[int, ...]) -> int:
    """Add a RESHAPE operator."""
    sizes = graph.constant(np.array(shape, np.int32))
    return graph.op("RESHAPE", [tensor, sizes], shape, quant=graph.quants[tensor], newShape=list(shape))


def slice_op(graph: TfliteBuilder, tensor: int, begin: list[int], shape: tuple[int, ...]) -> int:
    """Add a SLICE operator: the part of `tensor` of this shape that starts at `begin`."""
    bounds = [graph.constant(np.array(values, np.int32)) for values in (begin, shape)]
    return int_op(graph, "SLICE", [tensor, *bounds], shape, graph.quants[tensor])


def int_bias(
    graph: TfliteBuilder,
    bias: NDArray[np.floating],
    scale: float | NDArray[np.float32],
    name: str,
    dtype: type[np.int32] | type[np.int64] = np.int32,
) -> int:
    """Add a bias in units of input scale * weight scale: int32 for int8 inputs, int64 for int16 inputs."""
    limit = np.iinfo(np.int32).max
    return graph.constant(np.clip(np.rint(bias / scale), -limit, limit).astype(dtype), name, scale)


def conv_weights(
    graph: TfliteBuilder,
    weight: NDArray[np.floating],
    bias: NDArray[np.floating],
    source: QuantParams,
    quant: QuantParams,
    name: str,
) -> tuple[int, int]:
    """Add kernel and bias of `conv`, with a scale per output.

    Args:
        graph: Graph to add to.
        weight: [outputs, kernel size, inputs].
        bias: [outputs].
        source: Quantization of the input.
        quant: Quantization of the output.
        name: Prefix of the names in the file.

    Returns:
        Kernel and bias.
    """
    outputs, kernel_size, inputs = weight.shape
    largest = np.abs(weight).max(axis=(1, 2))
    # The output of a row of zeros is its bias: 256 steps of the accumulator per step of the output.
    # XNNPACK rejects scales whose product with the input's scale is below 2^-32 of the output's.
    scales = np.where(largest > 0, largest / _INT8_MAX, quant.scale / 256 / source.scale)
    scales = np.maximum(scales, 2.0**-20 * quant.scale / source.scale).astype(np.float32)
    integers = np.clip(np.rint(weight / scales[:, None, None]), -_INT8_MAX, _INT8_MAX).astype(np.int8)
    kernel = graph.constant(integers.reshape(outputs, kernel_size, 1, inputs), f"{name}_weight", scales)
    bias_dtype = np.int64 if source.dtype is np.int16 else np.int32
    return kernel, int_bias(graph, bias, scales * np.float32(source.scale), f"{name}_bias", bias_dtype)


def conv(
    graph: TfliteBuilder,
    rows: int,
    weights: tuple[int, ...],
    quant: QuantParams,
    stride: int = 1,
    relu: bool = False,
    dilation: int = 1,
) -> int:
    """Add the convolution of `rows` [1, n, 1, inputs] with the `weights` of `conv_weights`.

    CONV_2D has had a scale per output since TensorFlow Lite 1.14, hence it serves a kernel of size 1 as well.
    FULLY_CONNECTED of int8 with a scale per output returns zeros in 2.6 to 2.8, without an error. FULLY_CONNECTED of
    int16 without a bias returns wrong numbers in 2.6 and 2.7, and with one it is no faster than CONV_2D.

    Returns:
        [1, steps, 1, outputs].
    """
    outputs, kernel_size, _, _ = graph.shapes[weights[0]]
    steps = (graph.shapes[rows][1] - dilation * (kernel_size - 1) - 1) // stride + 1
    options = {"dilationHFactor": dilation, "dilationWFactor": 1} if dilation > 1 else {}
    activation = schema.ActivationFunctionType.RELU if relu else schema.ActivationFunctionType.NONE
    return int_op(
        graph,
        "CONV_2D",
        [rows, *weights],
        (1, steps, 1, outputs),
        quant,
        padding=schema.Padding.VALID,
        strideH=stride,
        strideW=1,
        fusedActivationFunction=activation,
        **options,
    )


def matmul_high_low(
    graph: TfliteBuilder,
    parts: list[int],
    weight: NDArray[np.floating],
    bias: NDArray[np.floating],
    quant: QuantParams,
    name: str,
    stride: int = 1,
    relu: bool = False,
    dilation: int = 1,
) -> int:
    """Add the convolution of an input that is the sum of `parts`: one tensor, or a high and a low part.

    Args:
        graph: Graph to add to.
        parts: One or two tensors [1, n, 1, inputs], each with its own scale.
        weight: [outputs, kernel size, inputs].
        bias: [outputs].
        quant: Quantization of the output.
        name: Prefix of the names in the file.
        stride: Stride of the convolution.
        relu: Whether a ReLU follows.
        dilation: Dilation of the convolution.

    Returns:
        [1, steps, 1, outputs].
    """
    if len(parts) == 1:
        weights = conv_weights(graph, weight, bias, graph.quants[parts[0]], quant, name)
        return conv(graph, parts[0], weights, quant, stride, relu, dilation)
    high, low = parts
    # The largest value of the low product: the rounding error of a phone at rest is the same in all samples, so the
    # products of all samples add up.
    largest = float(np.abs(weight).sum(axis=(1, 2)).max()) * graph.quants[low].scale * 127
    low_quant = symmetric_int8(max(largest, 127 * quant.scale / 64))
    # The ReLU clips the sum at 0; the high product must reach below 0 by the largest value of the low product.
    bottom = (-128 - quant.zero_point) * quant.scale
    high_quant = asymmetric_int8((bottom - low_quant.scale * 127, (127 - quant.zero_point) * quant.scale))
    weights = conv_weights(graph, weight, bias, graph.quants[high], high_quant, name)
    high_product = conv(graph, high, weights, high_quant, stride, dilation=dilation)
    weights = conv_weights(graph, weight, np.zeros_like(bias), graph.quants[low], low_quant, f"{name}.fine")
    low_product = conv(graph, low, weights, low_quant, stride, dilation=dilation)
    activation = schema.ActivationFunctionType.RELU if relu else schema.ActivationFunctionType.NONE
    return int_add(graph, high_product, low_product, quant, fusedActivationFunction=activation)


def int16_power_of_two(limit: float) -> QuantParams:
    """Return int16 over +- the next power of two of `limit`, between 1 and 64."""
    # the tanh of the fused kernel takes at most 6 integer bits
    return QuantParams(np.int16, float(2.0 ** np.ceil(np.log2(np.clip(limit, 1.0, 64.0))) / 32768))
