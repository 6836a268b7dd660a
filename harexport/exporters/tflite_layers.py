"""TFLite exporter for a Sequential in float32, float16 and int8-weights: one function per layer.

A sequence is a tensor [windows, steps, channels], a vector [windows, features]. Runs of forward LSTM layers use the
lowerings of tflite_lstm.py. To support another layer, add a function to `_LOWERINGS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from harexport.errors import InputError
from harexport.exporters import tflite, tflite_gru, tflite_lstm
from harexport.exporters.tflite_ops import add_weight, dequantize, fully_connected
from harexport.formats.tflite_builder import TfliteBuilder
from harexport.model.contract import Contract
from harexport.model.layers import LstmLayer
from harexport.model.sequential import (
    Activation,
    Branches,
    Convolution,
    Flatten,
    Layer,
    Linear,
    Normalize,
    Pool,
    Recurrent,
    Reduce,
    Sequential,
    Step,
    simplify,
    walk,
)

_GELU_RUNTIME = "2.9.0"  # the first TensorFlow Lite with GELU
_ACTIVATION_OPS = {
    "relu": "RELU",
    "tanh": "TANH",
    "sigmoid": "LOGISTIC",
    "leaky_relu": "LEAKY_RELU",
    "elu": "ELU",
    "gelu": "GELU",
}


def build(
    network: Sequential,
    contract: Contract,
    metadata: dict[str, str],
    lowering: str,
    scheme: str = "float32",
    batch: int | None = 1,
) -> bytes:
    """Build a .tflite file; arguments and result as for `tflite.build`."""
    graph = TfliteBuilder()
    window = graph.tensor((batch or 1, network.window, network.num_channels), dynamic=batch is None)
    context = _Context(graph, lowering, scheme, window)
    logits = context.lower(simplify(network.layers), window, "")
    outputs = [logits, graph.op("SOFTMAX", [logits], graph.shapes[logits], beta=1.0)]
    has_gelu = any(isinstance(layer, Activation) and layer.kind == "gelu" for layer in walk(network.layers))
    runtime = _GELU_RUNTIME if has_gelu else tflite.OLDEST_RUNTIME
    return tflite.serialize(graph, network, contract, metadata, window, outputs, lowering, scheme, runtime)


@dataclass(frozen=True)
class _Context:
    """The graph and the options of its lowering."""

    graph: TfliteBuilder
    lowering: str
    scheme: str
    window: int

    def lower(self, layers: tuple[Layer, ...], x: int, prefix: str) -> int:
        """Add layers and return their output."""
        k = 0
        while k < len(layers):
            run = _lstm_run(layers[k:])
            if len(run) > 1:
                x = _lower_lstm_run(self, run, x, f"{prefix}{k}")
                k += len(run)
            else:
                x = _LOWERINGS[type(layers[k])](self, layers[k], x, f"{prefix}{k}")
                k += 1
        return x

    def weight(self, values: Any, name: str, x: int) -> tuple[int, str]:
        """Add the weight of a matrix product of `x`, and return it with the scheme of the operator.

        Raw windows are never quantized: with int8-weights, the weights of their layer are dequantized at load time.
        """
        weight = add_weight(self.graph, values, name, self.scheme)
        if self.scheme == "int8-weights" and x == self.window:
            return dequantize(self.graph, weight, "int8"), "float32"
        return weight, self.scheme

    def reshape(self, x: int, shape: tuple[int, ...]) -> int:
        if self.graph.shapes[x] == shape:
            return x
        sizes = [-1, *shape[1:]]
        return self.graph.op("RESHAPE", [x, self.graph.constant(np.array(sizes, np.int32))], shape, newShape=sizes)


def _lstm_run(layers: tuple[Layer, ...]) -> tuple[LstmLayer, ...]:
    """Return the leading forward LSTM layers, if only the last state of the last one is used."""
    run: list[LstmLayer] = []
    for layer in layers:
        if not isinstance(layer, Recurrent) or layer.backward or not isinstance(layer.layer, LstmLayer):
            return ()
        run.append(layer.layer)
        if not layer.sequence:
            return tuple(run)
    return ()


def _lower_lstm_run(context: _Context, run: tuple[LstmLayer, ...], x: int, name: str) -> int:
    graph, (windows, steps, _) = context.graph, context.graph.shapes[x]
    if context.lowering == "fused":
        state = tflite_lstm.lower_fused(graph, run, x, context.scheme)
    else:
        leading = _leading_shape(graph, windows, steps)
        if context.scheme == "int8-weights" and x != context.window:
            state = tflite_lstm.lower_wavefront(graph, run, x, leading)
        else:
            state = tflite_lstm.lower_unrolled(graph, run, x, leading, context.scheme)
    return context.reshape(state, (windows, run[-1].hidden))


def _leading_shape(graph: TfliteBuilder, windows: int, steps: int) -> tuple[int, ...]:
    return (steps,) if windows == 1 and not graph.has_dynamic_batch else (windows, steps)


def _lower_recurrent(context: _Context, layer: Recurrent, x: int, name: str) -> int:
    graph, (windows, steps, _) = context.graph, context.graph.shapes[x]
    cell, hidden = layer.layer, layer.layer.hidden
    if isinstance(cell, LstmLayer) and context.lowering == "fused":
        axis = graph.constant(np.array([1], np.int32))
        rows = graph.op("REVERSE_V2", [x, axis], graph.shapes[x]) if layer.backward else x
        states = tflite_lstm.sequence_lstm(graph, cell, rows, context.scheme, f"lstm.{name}")
        if layer.sequence:
            return graph.op("REVERSE_V2", [states, axis], graph.shapes[states]) if layer.backward else states
        return _slice_step(context, states, steps - 1)
    leading = _leading_shape(graph, windows, steps)
    if isinstance(cell, LstmLayer):
        parts = tflite_lstm.unroll_layer(graph, cell, x, leading, context.scheme, f"lstm.{name}", layer.backward)
    else:
        parts = tflite_gru.unroll_layer(graph, cell, x, leading, context.scheme, f"gru.{name}", layer.backward)
    if not layer.sequence:
        return context.reshape(parts[-1], (windows, hidden))
    sequence = tflite_lstm.concat_steps(graph, parts[::-1] if layer.backward else parts)
    return context.reshape(sequence, (windows, steps, hidden))


def _slice_step(context: _Context, x: int, index: int) -> int:
    graph, (windows, _, channels) = context.graph, context.graph.shapes[x]
    begin = graph.constant(np.array([0, index, 0], np.int32))
    size = graph.constant(np.array([-1 if graph.has_dynamic_batch else windows, 1, channels], np.int32))
    return context.reshape(graph.op("SLICE", [x, begin, size], (windows, 1, channels)), (windows, channels))


def _lower_step(context: _Context, layer: Step, x: int, name: str) -> int:
    steps = context.graph.shapes[x][1]
    return _slice_step(context, x, layer.index % steps)


def _lower_normalize(context: _Context, layer: Normalize, x: int, name: str) -> int:
    graph, shape = context.graph, context.graph.shapes[x]
    std, mean = layer.std.astype(np.float64), layer.mean.astype(np.float64)
    factor = graph.constant((1 / std).astype(np.float32), f"{name}.factor")
    offset = graph.constant((mean / std).astype(np.float32), f"{name}.offset")
    return graph.op("SUB", [graph.op("MUL", [x, factor], shape), offset], shape)


def _lower_convolution(context: _Context, layer: Convolution, x: int, name: str) -> int:
    graph, (windows, steps, channels) = context.graph, context.graph.shapes[x]
    outputs, kernel_size, _ = layer.weight.shape
    image = context.reshape(x, (windows, steps, 1, channels))
    padding = schema.Padding.VALID
    if any(layer.padding):
        span = layer.dilation * (kernel_size - 1) + 1
        total = max(0, (-(-steps // layer.stride) - 1) * layer.stride + span - steps)
        if layer.padding == (total // 2, total - total // 2):
            padding = schema.Padding.SAME
        else:
            bounds = graph.constant(np.array([[0, 0], layer.padding, [0, 0], [0, 0]], np.int32))
            steps += sum(layer.padding)
            image = graph.op("PAD", [image, bounds], (windows, steps, 1, channels))
    count = layer.output_shape((graph.shapes[x][1], channels))[0]
    kernel = add_weight(
        graph, layer.weight.reshape(outputs, kernel_size, 1, channels), f"{name}.weight", context.scheme
    )
    if context.scheme == "int8-weights":  # CONV_2D has no hybrid kernel in TensorFlow Lite 2.6
        kernel = dequantize(graph, kernel, "int8")
    bias = graph.constant(layer.bias.astype(np.float32), f"{name}.bias")
    rows = graph.op(
        "CONV_2D",
        [image, kernel, bias],
        (windows, count, 1, outputs),
        padding=padding,
        strideH=layer.stride,
        strideW=1,
        dilationHFactor=layer.dilation,
        dilationWFactor=1,
    )
    return context.reshape(rows, (windows, count, outputs))


def _lower_linear(context: _Context, layer: Linear, x: int, name: str) -> int:
    weight, scheme = context.weight(layer.weight, f"{name}.weight", x)
    bias = context.graph.constant(layer.bias.astype(np.float32), f"{name}.bias")
    return fully_connected(context.graph, x, weight, bias, context.graph.shapes[x][:-1], scheme)


def _lower_activation(context: _Context, layer: Activation, x: int, name: str) -> int:
    if layer.kind == "elu" and layer.alpha != 1.0:
        raise InputError(f"TensorFlow Lite has no ELU with alpha {layer.alpha:g}; it is 1 there")
    options: dict[str, Any] = {"alpha": layer.alpha} if layer.kind == "leaky_relu" else {}
    return context.graph.op(_ACTIVATION_OPS[layer.kind], [x], context.graph.shapes[x], **options)


def _lower_pool(context: _Context, layer: Pool, x: int, name: str) -> int:
    graph, (windows, steps, channels) = context.graph, context.graph.shapes[x]
    count = layer.output_shape((steps, channels))[0]
    rows = graph.op(
        "MAX_POOL_2D" if layer.kind == "max" else "AVERAGE_POOL_2D",
        [context.reshape(x, (windows, steps, 1, channels))],
        (windows, count, 1, channels),
        padding=schema.Padding.VALID,
        strideH=layer.stride,
        strideW=1,
        filterHeight=layer.kernel_size,
        filterWidth=1,
    )
    return context.reshape(rows, (windows, count, channels))


def _lower_reduce(context: _Context, layer: Reduce, x: int, name: str) -> int:
    graph, (windows, _, channels) = context.graph, context.graph.shapes[x]
    axis = graph.constant(np.array([1], np.int32))
    operator = "REDUCE_MAX" if layer.kind == "max" else "MEAN"
    return graph.op(operator, [x, axis], (windows, channels), keepDims=False)


def _lower_flatten(context: _Context, layer: Flatten, x: int, name: str) -> int:
    windows, *shape = context.graph.shapes[x]
    return context.reshape(x, (windows, int(np.prod(shape))))


def _lower_branches(context: _Context, layer: Branches, x: int, name: str) -> int:
    graph = context.graph
    parts = [context.lower(branch, x, f"{name}.{k}.") for k, branch in enumerate(layer.branches)]
    if layer.kind == "concat":
        *leading, _ = graph.shapes[parts[0]]
        width = sum(graph.shapes[part][-1] for part in parts)
        return graph.op("CONCATENATION", parts, (*leading, width), axis=len(leading))
    total = parts[0]
    for part in parts[1:]:
        total = graph.op("ADD", [total, part], graph.shapes[total])
    return total


_LOWERINGS: dict[type, Callable[[_Context, Any, int, str], int]] = {
    Activation: _lower_activation,
    Branches: _lower_branches,
    Convolution: _lower_convolution,
    Flatten: _lower_flatten,
    Linear: _lower_linear,
    Normalize: _lower_normalize,
    Pool: _lower_pool,
    Recurrent: _lower_recurrent,
    Reduce: _lower_reduce,
    Step: _lower_step,
}
