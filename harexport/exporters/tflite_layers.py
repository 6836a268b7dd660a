"""The layers of a .tflite file in float32, float16 and int8-weights: one function per layer.

A sequence is a tensor of windows * steps rows of channels. Its shape is set where an operator needs it: consecutive
convolutions and unrolled recurrent layers read any shape with so many rows. Runs of LSTM or GRU layers use the
lowerings of tflite_lstm.py, tflite_gru.py and tflite_loop.py. To support another layer, add a function to `_LOWERINGS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from harexport.errors import InputError
from harexport.exporters import tflite_gru, tflite_loop, tflite_lstm
from harexport.exporters.tflite_ops import HYBRID_VERSIONS, add_rows, add_weight, dequantize, fully_connected
from harexport.formats.tflite_builder import TfliteBuilder
from harexport.model.layers import (
    Activation,
    Branches,
    Cell,
    Conv1d,
    Flatten,
    Layer,
    Linear,
    LstmLayer,
    Normalize,
    Pool,
    Recurrent,
    Reduce,
    Shape,
    Step,
)
from harexport.model.network import cell_convention

_ACTIVATION_OPS = {
    "relu": "RELU",
    "tanh": "TANH",
    "sigmoid": "LOGISTIC",
    "leaky_relu": "LEAKY_RELU",
    "elu": "ELU",
    "gelu": "GELU",
}


@dataclass(frozen=True)
class Value:
    """A tensor with the values of a sequence (steps, channels) or a vector (features,) of each window."""

    tensor: int
    shape: Shape


@dataclass
class State:
    """The explicit state of a stream: one input with the states of all recurrent layers, and their new states."""

    tensor: int  # [1, size]
    new: list[int] = field(default_factory=list)
    used: int = 0  # columns of `tensor`

    def take(self, graph: TfliteBuilder, size: int) -> int:
        """Return the next columns of the input [1, size]."""
        self.used += size
        return tflite_lstm.slice_columns(graph, self.tensor, 0, self.used - size, size)


@dataclass(frozen=True)
class Context:
    """The graph and the options of its lowering."""

    graph: TfliteBuilder
    lowering: str
    scheme: str
    window: int  # tensor of the input
    counts: Counter[str] = field(default_factory=Counter)  # runs of recurrent layers by kind
    state: State | None = None  # of a stream, which is unrolled

    def lower(self, layers: tuple[Layer, ...], x: Value, prefix: str) -> Value:
        """Add layers and return their output."""
        k = 0
        while k < len(layers):
            if run := _recurrent_run(layers[k:]):
                x = _lower_run(self, run, x)
                k += len(run)
            else:
                x = self.lower_layer(layers[k], x, f"{prefix}{k}" if prefix or k else "input")
                k += 1
        return x

    def lower_layer(self, layer: Layer, x: Value, name: str) -> Value:
        """Add a layer and return its output."""
        return _LOWERINGS[type(layer)](self, layer, x, name)

    def add_weight(self, values: Any, name: str, x: Value) -> tuple[int, str]:
        """Add the weight of a matrix product of `x`, and return it with the scheme of the operator.

        Raw windows are never quantized: with int8-weights, the weights of their layer are dequantized at load time.
        """
        weight = add_weight(self.graph, values, name, self.scheme)
        if self.scheme == "int8-weights" and not self.is_hybrid(x):
            return dequantize(self.graph, weight, "int8"), "float32"
        return weight, self.scheme

    def is_hybrid(self, x: Value) -> bool:
        """Return whether `x` is quantized and multiplied by int8 weights in one operator."""
        return self.scheme == "int8-weights" and x.tensor != self.window

    @property
    def windows(self) -> int:
        """Windows per invocation; 1 if it is dynamic."""
        return self.graph.shapes[self.window][0]

    def reshape_value(self, x: Value, *shape: int) -> int:
        """Return the tensor with the shape [windows, *shape]; without one, with that of the value."""
        return self.reshape(x.tensor, (self.windows, *(shape or x.shape)))

    def reshape(self, tensor: int, shape: tuple[int, ...]) -> int:
        if self.graph.shapes[tensor] == shape:
            return tensor
        # -1 for the number of windows, which may be dynamic
        sizes = [-1, *shape[1:]]
        return self.graph.op("RESHAPE", [tensor, self.graph.constant(np.array(sizes, np.int32))], shape, newShape=sizes)

    def get_rows(self, x: Value) -> tuple[int, tuple[int, ...]]:
        """Return a sequence as the unrolled lowerings read it, with its `leading_shape`."""
        if self.windows == 1 and not self.graph.has_dynamic_batch:
            return x.tensor, (x.shape[0],)
        return self.reshape_value(x), (self.windows, x.shape[0])

    def name_run(self, kind: str) -> str:
        """Count a run of recurrent layers, and return the first part of its names."""
        self.counts[kind] += 1
        return kind if self.counts[kind] == 1 else f"{kind}_{self.counts[kind]}"


def _recurrent_run(layers: tuple[Layer, ...]) -> tuple[Cell, ...]:
    """Return the leading forward recurrent layers of one kind, if only the last state of the last one is used."""
    run: list[Cell] = []
    for layer in layers:
        if not isinstance(layer, Recurrent) or layer.backward:
            return ()
        run.append(layer.layer)
        if cell_convention(layer.layer) != cell_convention(run[0]):
            return ()
        if not layer.sequence:
            return tuple(run)
    return ()


def count_loops(layers: tuple[Layer, ...]) -> int:
    """Return the number of loops of the lowering "loop"."""
    count = k = 0
    while k < len(layers):
        layer, run = layers[k], _recurrent_run(layers[k:])
        count += bool(run) or isinstance(layer, Recurrent)
        count += sum(map(count_loops, layer.branches)) if isinstance(layer, Branches) else 0
        k += len(run) or 1
    return count


def _lower_run(context: Context, run: tuple[Any, ...], x: Value) -> Value:
    """Add layers of one kind, fused, as a loop or a wavefront, or unrolled one after the other."""
    graph, scheme, is_lstm = context.graph, context.scheme, isinstance(run[0], LstmLayer)
    name = context.name_run("lstm" if is_lstm else "gru")
    if is_lstm and context.lowering == "fused":
        return Value(tflite_lstm.lower_fused(graph, run, context.reshape_value(x), scheme, name), (run[-1].hidden,))
    if context.lowering == "loop":
        return Value(_lower_loop(context, run, x, name), (run[-1].hidden,))
    rows, leading_shape = context.get_rows(x)
    is_wavefront = scheme == "int8-weights" and context.state is None
    if is_wavefront and is_lstm and x.tensor != context.window:
        return Value(tflite_lstm.lower_wavefront(graph, run, rows, leading_shape, name), (run[-1].hidden,))
    if is_wavefront and not is_lstm and len(run) > 1:
        return Value(tflite_gru.lower_wavefront(graph, run, rows, leading_shape, name), (run[-1].hidden,))
    states: list[int] = []
    for k, cell in enumerate(run):
        rows = tflite_lstm.concat_steps(graph, states) if states else rows
        states = _unroll(context, cell, rows, leading_shape, f"{name}.{k}")
    return Value(states[-1], (run[-1].hidden,))


def _lower_loop(
    context: Context, layers: tuple[Cell, ...], x: Value, name: str, backward: bool = False, sequence: bool = False
) -> int:
    graph, (rows, leading_shape) = context.graph, context.get_rows(x)
    values, offsets = tflite_loop.input_weights(layers[0])
    weight, scheme = context.add_weight(values, f"{name}.0.input_weight", x)
    bias = graph.constant(offsets.astype(np.float32), f"{name}.0.bias")
    projected = fully_connected(graph, rows, weight, bias, leading_shape, scheme)
    return tflite_loop.lower(
        graph, layers, projected, leading_shape, context.scheme, name, backward=backward, sequence=sequence
    )


def _unroll(
    context: Context, cell: Cell, rows: int, leading_shape: tuple[int, ...], name: str, backward: bool = False
) -> list[int]:
    graph, scheme, state = context.graph, context.scheme, context.state
    if isinstance(cell, LstmLayer):
        initial = (state.take(graph, cell.hidden), state.take(graph, cell.hidden)) if state else None
        states, last = tflite_lstm.unroll_layer(graph, cell, rows, leading_shape, scheme, name, backward, initial)
        new = [states[-1], last]
    else:
        h = state.take(graph, cell.hidden) if state else None
        states = tflite_gru.unroll_layer(graph, cell, rows, leading_shape, scheme, name, backward, h)
        new = states[-1:]
    if state:
        state.new += new
    return states


def _lower_recurrent(context: Context, layer: Recurrent, x: Value, name: str) -> Value:
    graph, cell, shape = context.graph, layer.layer, layer.output_shape(x.shape)
    is_lstm = isinstance(cell, LstmLayer)
    name = context.name_run("lstm" if is_lstm else "gru")
    if context.lowering == "loop":
        return Value(_lower_loop(context, (cell,), x, name, layer.backward, layer.sequence), shape)
    name = f"{name}.0"
    if isinstance(cell, LstmLayer) and context.lowering == "fused":
        axis = graph.constant(np.array([1], np.int32))
        rows = context.reshape_value(x)
        rows = graph.op("REVERSE_V2", [rows, axis], graph.shapes[rows]) if layer.backward else rows
        rows = tflite_lstm.sequence_lstm(graph, cell, rows, context.scheme, name)
        if layer.sequence:
            rows = graph.op("REVERSE_V2", [rows, axis], graph.shapes[rows]) if layer.backward else rows
            return Value(rows, shape)
        return _slice_step(context, Value(rows, (x.shape[0], cell.hidden)), x.shape[0] - 1)
    rows, leading_shape = context.get_rows(x)
    states = _unroll(context, cell, rows, leading_shape, name, layer.backward)
    if not layer.sequence:
        return Value(states[-1], shape)
    return Value(tflite_lstm.concat_steps(graph, states[::-1] if layer.backward else states), shape)


def _slice_step(context: Context, x: Value, index: int) -> Value:
    graph, (_, channels) = context.graph, x.shape
    begin = graph.constant(np.array([0, index, 0], np.int32))
    size = graph.constant(np.array([-1 if graph.has_dynamic_batch else context.windows, 1, channels], np.int32))
    step = graph.op("SLICE", [context.reshape_value(x), begin, size], (context.windows, 1, channels))
    return Value(step, (channels,))


def _lower_step(context: Context, layer: Step, x: Value, name: str) -> Value:
    return _slice_step(context, x, layer.index % x.shape[0])


def _lower_normalize(context: Context, layer: Normalize, x: Value, name: str) -> Value:
    graph, shape = context.graph, context.graph.shapes[x.tensor]
    std, mean = layer.std.astype(np.float64), layer.mean.astype(np.float64)
    factor = graph.constant((1 / std).astype(np.float32), f"{name}.factor")
    offset = graph.constant((mean / std).astype(np.float32), f"{name}.offset")
    return Value(graph.op("SUB", [graph.op("MUL", [x.tensor, factor], shape), offset], shape), x.shape)


def _lower_conv(context: Context, layer: Conv1d, x: Value, name: str) -> Value:
    """FULLY_CONNECTED where each step reads other samples, else CONV_2D.

    FULLY_CONNECTED reads [windows, steps, channels] as rows of kernel size * channels values, without a RESHAPE.
    CONV_2D needs [windows, height, width, channels]. A kernel over blocks of `stride` samples (2 taps of 16 samples
    instead of 32 taps of one) has the same latency.
    """
    graph, (steps, channels), shape = context.graph, x.shape, layer.output_shape(x.shape)
    count, outputs = shape
    is_adjacent = layer.is_plain and layer.kernel_size == layer.stride and steps % layer.stride == 0
    if is_adjacent and layer.is_identity:
        return Value(x.tensor, shape)
    bias = graph.constant(layer.bias.astype(np.float32), f"{name}.bias")
    if is_adjacent:
        kernel, scheme = context.add_weight(layer.weight.reshape(outputs, -1), f"{name}.weight", x)
        options = {"fusedActivationFunction": _activation(layer)}
        product = fully_connected(graph, x.tensor, kernel, bias, (context.windows * count,), scheme, **options)
        return Value(product, shape)
    weight = layer.weight.reshape(outputs, layer.kernel_size, 1, channels)
    if context.is_hybrid(x):
        kernel = add_rows(graph, weight, f"{name}.weight")
    else:
        kernel, _ = context.add_weight(weight, f"{name}.weight", x)
    image = context.reshape_value(x, steps, 1, channels)
    padding = schema.Padding.VALID
    if any(layer.padding):
        span = layer.dilation * (layer.kernel_size - 1) + 1
        total = max(0, (-(-steps // layer.stride) - 1) * layer.stride + span - steps)
        if layer.padding == (total // 2, total - total // 2):
            padding = schema.Padding.SAME
        else:
            bounds = graph.constant(np.array([[0, 0], layer.padding, [0, 0], [0, 0]], np.int32))
            image = graph.op("PAD", [image, bounds], (context.windows, steps + sum(layer.padding), 1, channels))
    dilation: dict[str, Any] = {"dilationHFactor": layer.dilation, "dilationWFactor": 1} if layer.dilation > 1 else {}
    rows = graph.op(
        "CONV_2D",
        [image, kernel, bias],
        (context.windows, count, 1, outputs),
        version=HYBRID_VERSIONS["CONV_2D"] if context.is_hybrid(x) else 1,
        padding=padding,
        strideH=layer.stride,
        strideW=1,
        fusedActivationFunction=_activation(layer),
        **dilation,
    )
    return Value(rows, shape)


def _activation(layer: Conv1d | Linear) -> Any:
    return schema.ActivationFunctionType.RELU if layer.relu else schema.ActivationFunctionType.NONE


def _lower_linear(context: Context, layer: Linear, x: Value, name: str) -> Value:
    graph = context.graph
    weight, scheme = context.add_weight(layer.weight, f"{name}.weight", x)
    bias = graph.constant(layer.bias.astype(np.float32), f"{name}.bias")
    rows = context.windows * (x.shape[0] if len(x.shape) > 1 else 1)
    options = {"fusedActivationFunction": _activation(layer)} if layer.relu else {}
    product = fully_connected(graph, x.tensor, weight, bias, (rows,), scheme, **options)
    return Value(product, layer.output_shape(x.shape))


def _lower_activation(context: Context, layer: Activation, x: Value, name: str) -> Value:
    if layer.kind == "elu" and layer.alpha != 1.0:
        raise InputError(f"TensorFlow Lite has no ELU with alpha {layer.alpha:g}; it is 1 there")
    options: dict[str, Any] = {"alpha": layer.alpha} if layer.kind == "leaky_relu" else {}
    shape = context.graph.shapes[x.tensor]
    return Value(context.graph.op(_ACTIVATION_OPS[layer.kind], [x.tensor], shape, **options), x.shape)


def _lower_pool(context: Context, layer: Pool, x: Value, name: str) -> Value:
    count, channels = shape = layer.output_shape(x.shape)
    rows = context.graph.op(
        "MAX_POOL_2D" if layer.kind == "max" else "AVERAGE_POOL_2D",
        [context.reshape_value(x, x.shape[0], 1, channels)],
        (context.windows, count, 1, channels),
        padding=schema.Padding.VALID,
        strideH=layer.stride,
        strideW=1,
        filterHeight=layer.kernel_size,
        filterWidth=1,
    )
    return Value(rows, shape)


def _lower_reduce(context: Context, layer: Reduce, x: Value, name: str) -> Value:
    axis = context.graph.constant(np.array([1], np.int32))
    operator, channels = "REDUCE_MAX" if layer.kind == "max" else "MEAN", x.shape[1]
    rows = context.graph.op(operator, [context.reshape_value(x), axis], (context.windows, channels), keepDims=False)
    return Value(rows, (channels,))


def _lower_flatten(context: Context, layer: Flatten, x: Value, name: str) -> Value:
    return Value(x.tensor, layer.output_shape(x.shape))


def _lower_branches(context: Context, layer: Branches, x: Value, name: str) -> Value:
    graph = context.graph
    parts = [context.reshape_value(context.lower(branch, x, f"{name}.{k}.")) for k, branch in enumerate(layer.branches)]
    shape = layer.output_shape(x.shape)
    if layer.kind == "concat":
        return Value(graph.op("CONCATENATION", parts, (context.windows, *shape), axis=len(shape)), shape)
    total = parts[0]
    for part in parts[1:]:
        total = graph.op("ADD", [total, part], graph.shapes[total])
    return Value(total, shape)


_LOWERINGS: dict[type, Callable[[Context, Any, Value, str], Value]] = {
    Activation: _lower_activation,
    Branches: _lower_branches,
    Conv1d: _lower_conv,
    Flatten: _lower_flatten,
    Linear: _lower_linear,
    Normalize: _lower_normalize,
    Pool: _lower_pool,
    Recurrent: _lower_recurrent,
    Reduce: _lower_reduce,
    Step: _lower_step,
}
