"""TFLite exporter for full integer quantization of any network: one function per layer.

tflite_int8.py has that of stacks (see `Network`), with fewer operators. Activations are int8. If recurrent layers are
unrolled, all activations are int16, since rounding errors add up over the steps. Weights are int8. A sequence is a
tensor [1, steps, 1, channels], a vector [1, 1, 1, features]. To support another layer, add a function to `_LOWERINGS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from harexport.exporters import tflite
from harexport.exporters.calibration import asymmetric_int8, symmetric_int8
from harexport.exporters.gptq import candidate_factor
from harexport.exporters.layer_calibration import LayerCalibration, integer_layers, scale_input
from harexport.exporters.options import computes_on_int16
from harexport.exporters.tflite_int8 import (
    INT16_PART,
    INT16_SUM,
    add_head,
    int16_with_headroom,
    lstm_step,
    sequence_lstm,
)
from harexport.exporters.tflite_ops import (
    SIGMOID_PARAMS,
    TANH_PARAMS,
    conv,
    conv_weights,
    int16_power_of_two,
    int_add,
    int_mul,
    int_op,
    int_reshape,
    matmul_high_low,
    quantize,
    slice_op,
)
from harexport.formats.tflite_builder import QuantParams, TfliteBuilder
from harexport.model.contract import Contract
from harexport.model.layers import (
    Activation,
    Branches,
    Conv1d,
    Flatten,
    GruLayer,
    Layer,
    Linear,
    LstmLayer,
    Normalize,
    Pool,
    Recurrent,
    Reduce,
    Step,
)
from harexport.model.network import Network

_HIGH_RANGE = 8.0  # range of the high part of a sample, as a multiple of the calibrated range
_ACTIVATION_OPS = {"relu": "RELU", "leaky_relu": "LEAKY_RELU", "elu": "ELU", "gelu": "GELU"}


def build(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    lowering: str,
    calibration: LayerCalibration,
    io: str = "float32",
) -> bytes:
    """Build a full-integer .tflite file; arguments and result as for `tflite_int8.build`."""
    graph = TfliteBuilder()
    context = _Context(graph, calibration, lowering, computes_on_int16(network, lowering))
    window, x, layers = _quantize_input(context, network, io)
    *inner, last = layers
    features = context.lower(tuple(inner), x, "")
    outputs: list[int] = []
    for name, head in {"head": last, **({"coarse": network.coarse_head} if network.coarse_head else {})}.items():
        assert isinstance(head, Linear)
        values = calibration.ranges["logits" if name == "head" else name]
        outputs += add_head(graph, head, context.join(features), values, name, io)
    return tflite.serialize(
        graph,
        network,
        contract,
        metadata,
        window,
        outputs,
        lowering,
        f"int8 with {io} input",
    )


@dataclass(frozen=True)
class _Value:
    """A tensor [1, steps, 1, channels], or a high and a low part whose sum is the value."""

    parts: tuple[int, ...]


@dataclass(frozen=True)
class _Context:
    """The graph and the options of its lowering."""

    graph: TfliteBuilder
    calibration: LayerCalibration
    lowering: str
    is_int16: bool

    def lower(self, layers: tuple[Layer, ...], x: _Value, prefix: str) -> _Value:
        """Add layers and return their output."""
        for k, layer in enumerate(layers):
            x = _LOWERINGS[type(layer)](self, layer, x, f"{prefix}{k}")
        return x

    def quant(self, name: str) -> QuantParams:
        """Return the quantization of the output of a layer."""
        if self.is_int16:
            return int16_with_headroom(self.calibration.limit(name))
        return asymmetric_int8(self.calibration.ranges[name])

    def join(self, x: _Value) -> int:
        """Return a value as one tensor. A high part that is 1/8 filled loses 3 bits without the low part."""
        if len(x.parts) == 1:
            return x.parts[0]
        high, low = x.parts
        return int_add(self.graph, high, low, symmetric_int8(127 * self.graph.quants[high].scale / _HIGH_RANGE))

    def requantize(self, tensor: int, quant: QuantParams) -> int:
        """Return a tensor in another quantization."""
        return tensor if self.graph.quants[tensor] == quant else quantize(self.graph, tensor, quant)

    def shape(self, x: _Value) -> tuple[int, int]:
        """Return steps and channels."""
        _, steps, _, channels = self.graph.shapes[x.parts[0]]
        return steps, channels


def _quantize_input(context: _Context, network: Network, io: str) -> tuple[int, _Value, tuple[Layer, ...]]:
    """Return the input tensor, the samples, and the layers that read them.

    The channels are scaled to a common range, whose middle is 0 because convolutions pad with 0. See `tflite_int8`.
    """
    graph, calibration, layers = context.graph, context.calibration, integer_layers(network)
    shape = (1, network.window, network.num_channels)
    image = (1, network.window, 1, network.num_channels)
    if io == "int8":
        quant = asymmetric_int8(calibration.ranges["window"])
        window = graph.tensor(shape, quant=quant)
        if not context.is_int16:
            return window, _Value((int_reshape(graph, window, image),)), layers
        # runtimes up to LiteRT 1.4 have no QUANTIZE from int8 to int16
        floats = graph.op("DEQUANTIZE", [window], shape, version=2)
    else:
        window = floats = graph.tensor(shape)
    limit = calibration.half[0]
    if len(calibration.half) > 1:
        half, limit = np.array(calibration.half), 1.0
        factor = graph.constant((1 / half).astype(np.float32), "input.factor")
        floats = graph.op("MUL", [floats, factor], shape)
        layers = scale_input(layers, half) or layers
    if context.is_int16:
        samples = [quantize(graph, floats, int16_with_headroom(limit))]
    else:
        high = quantize(graph, floats, symmetric_int8(_HIGH_RANGE * limit))
        remainder = graph.op("SUB", [floats, graph.op("DEQUANTIZE", [high], shape, version=2)], shape)
        samples = [high, quantize(graph, remainder, symmetric_int8(graph.quants[high].scale / 2))]
    return window, _Value(tuple(int_reshape(graph, part, image) for part in samples)), layers


def _lower_conv(context: _Context, layer: Conv1d, x: _Value, name: str) -> _Value:
    graph, parts = context.graph, list(x.parts)
    if any(layer.padding):
        steps, channels = context.shape(x)
        shape = (1, steps + sum(layer.padding), 1, channels)
        bounds = graph.constant(np.array([[0, 0], layer.padding, [0, 0], [0, 0]], np.int32))
        parts = [int_op(graph, "PAD", [part, bounds], shape, graph.quants[part]) for part in parts]
    product = matmul_high_low(
        graph, parts, layer.weight, layer.bias, context.quant(name), name, layer.stride, layer.relu, layer.dilation
    )
    return _Value((product,))


def _lower_linear(context: _Context, layer: Linear, x: _Value, name: str) -> _Value:
    return _lower_conv(context, Conv1d(layer.weight[:, None], layer.bias, relu=layer.relu), x, name)


def _lower_normalize(context: _Context, layer: Normalize, x: _Value, name: str) -> _Value:
    """As a convolution with a diagonal matrix, which has a scale per channel."""
    std = layer.std.astype(np.float64)
    return _lower_conv(context, Conv1d(np.diag(1 / std)[:, None], -layer.mean / std), x, name)


def _lower_activation(context: _Context, layer: Activation, x: _Value, name: str) -> _Value:
    graph, tensor = context.graph, context.join(x)
    dtype, shape = np.int16 if context.is_int16 else np.int8, graph.shapes[tensor]
    if layer.kind in ("tanh", "sigmoid"):
        if context.is_int16:  # the kernels look up +- 8
            tensor = context.requantize(tensor, INT16_SUM)
        operator, quant = ("TANH", TANH_PARAMS) if layer.kind == "tanh" else ("LOGISTIC", SIGMOID_PARAMS)
        return _Value((int_op(graph, operator, [tensor], shape, quant[dtype]),))
    options: dict[str, Any] = {"alpha": layer.alpha} if layer.kind == "leaky_relu" else {}
    return _Value((int_op(graph, _ACTIVATION_OPS[layer.kind], [tensor], shape, context.quant(name), **options),))


def _lower_pool(context: _Context, layer: Pool, x: _Value, name: str) -> _Value:
    graph, tensor = context.graph, context.join(x)
    steps, channels = context.shape(x)
    count = layer.output_shape((steps, channels))[0]
    operator = "MAX_POOL_2D" if layer.kind == "max" else "AVERAGE_POOL_2D"
    options = {"padding": schema.Padding.VALID, "strideH": layer.stride, "strideW": 1}
    options |= {"filterHeight": layer.kernel_size, "filterWidth": 1}
    return _Value((int_op(graph, operator, [tensor], (1, count, 1, channels), graph.quants[tensor], **options),))


def _lower_reduce(context: _Context, layer: Reduce, x: _Value, name: str) -> _Value:
    graph, tensor, (_, channels) = context.graph, context.join(x), context.shape(x)
    axis = graph.constant(np.array([1], np.int32))
    quant = graph.quants[tensor] if layer.kind == "max" else context.quant(name)
    operator = "REDUCE_MAX" if layer.kind == "max" else "MEAN"
    return _Value((int_op(graph, operator, [tensor, axis], (1, 1, 1, channels), quant, keepDims=True),))


def _lower_step(context: _Context, layer: Step, x: _Value, name: str) -> _Value:
    steps, channels = context.shape(x)
    begin = [0, layer.index % steps, 0, 0]
    return _Value(tuple(slice_op(context.graph, part, begin, (1, 1, 1, channels)) for part in x.parts))


def _lower_flatten(context: _Context, layer: Flatten, x: _Value, name: str) -> _Value:
    size = int(np.prod(context.shape(x)))
    return _Value(tuple(int_reshape(context.graph, part, (1, 1, 1, size)) for part in x.parts))


def _lower_branches(context: _Context, layer: Branches, x: _Value, name: str) -> _Value:
    graph = context.graph
    parts = [context.join(context.lower(branch, x, f"{name}.{b}.")) for b, branch in enumerate(layer.branches)]
    if layer.kind == "concat":  # the operator needs one scale
        quant = context.quant(name)
        parts = [context.requantize(part, quant) for part in parts]
        shape = (*graph.shapes[parts[0]][:3], sum(graph.shapes[part][3] for part in parts))
        return _Value((int_op(graph, "CONCATENATION", parts, shape, quant, axis=3),))
    total = parts[0]
    for b, part in enumerate(parts[1:], 1):
        total = int_add(graph, total, part, context.quant(f"{name}.sum.{b}"))
    return _Value((total,))


def _lower_recurrent(context: _Context, layer: Recurrent, x: _Value, name: str) -> _Value:
    cell = layer.layer
    if isinstance(cell, LstmLayer) and context.lowering == "fused":
        return _lower_fused(context, cell, layer, x, name)
    states = (_unroll_lstm if isinstance(cell, LstmLayer) else _unroll_gru)(context, cell, layer.backward, x, name)  # type: ignore[arg-type]
    if not layer.sequence:
        return _Value((states[-1],))
    states = states[::-1] if layer.backward else states
    quant = context.graph.quants[states[-1]]
    shape = (1, len(states), 1, cell.hidden)
    return _Value((int_op(context.graph, "CONCATENATION", states, shape, quant, axis=1),))


def _lower_fused(context: _Context, cell: LstmLayer, layer: Recurrent, x: _Value, name: str) -> _Value:
    graph, calibration, (steps, channels) = context.graph, context.calibration, context.shape(x)
    rows = _reverse(context, context.join(x)) if layer.backward else context.join(x)
    rows = int_reshape(graph, rows, (1, steps, channels))
    state = asymmetric_int8(calibration.ranges[f"{name}.state"])
    states = sequence_lstm(
        graph, cell, rows, state, int16_power_of_two(calibration.limit(f"{name}.cell")), f"lstm.{name}"
    )
    states = int_reshape(graph, states, (1, steps, 1, cell.hidden))
    if not layer.sequence:
        return _Value((slice_op(graph, states, [0, steps - 1, 0, 0], (1, 1, 1, cell.hidden)),))
    return _Value((_reverse(context, states) if layer.backward else states,))


def _reverse(context: _Context, tensor: int) -> int:
    """Return a sequence from its last step to the first."""
    graph, shape = context.graph, context.graph.shapes[tensor]
    indices = graph.constant(np.arange(shape[1], dtype=np.int32)[::-1].copy())
    return int_op(graph, "GATHER", [tensor, indices], shape, graph.quants[tensor], axis=1)


def _unroll_lstm(context: _Context, cell: LstmLayer, backward: bool, x: _Value, name: str) -> list[int]:
    """Return the state [1, 1, 1, hidden] after each step, in the order of computation."""
    graph, (steps, _), hidden = context.graph, context.shape(x), cell.hidden
    factor = candidate_factor(hidden)
    forward, recurrent = (
        weight.astype(np.float64) * factor[:, None] for weight in (cell.input_weight, cell.recurrent_weight)
    )
    bias = cell.bias.astype(np.float64) * factor
    projected = matmul_high_low(graph, list(x.parts), forward[:, None], bias, INT16_PART, f"lstm.{name}.input")
    state_quant = TANH_PARAMS[np.int16]
    weights = conv_weights(
        graph, recurrent[:, None], np.zeros(4 * hidden), state_quant, INT16_PART, f"lstm.{name}.recurrent"
    )
    cell_quant = int16_power_of_two(context.calibration.limit(f"{name}.cell"))
    states: list[int] = []
    c = None
    for t in range(steps)[::-1] if backward else range(steps):
        gates = slice_op(graph, projected, [0, t, 0, 0], (1, 1, 1, 4 * hidden))
        if states:
            gates = int_add(graph, gates, conv(graph, states[-1], weights, INT16_PART), INT16_SUM)
        else:
            gates = quantize(graph, gates, INT16_SUM)
        h, c = lstm_step(graph, gates, c, cell_quant, state_quant, np.ones(hidden))
        states.append(h)
    return states


def _unroll_gru(context: _Context, cell: GruLayer, backward: bool, x: _Value, name: str) -> list[int]:
    """Return the state [1, 1, 1, hidden] after each step, in the order of computation: h = n + z (h - n)."""
    graph, (steps, _), hidden, calibration = context.graph, context.shape(x), cell.hidden, context.calibration
    shape, double = (1, 1, 1, hidden), (1, 1, 1, 2 * hidden)
    part = int16_power_of_two(64.0) if cell.relu else INT16_PART
    projected = matmul_high_low(graph, list(x.parts), cell.input_weight[:, None], cell.bias, part, f"gru.{name}.input")
    largest = max(calibration.limit(f"{name}.state"), calibration.limit(f"{name}.cell"))
    state_quant = int16_with_headroom(largest) if cell.relu else TANH_PARAMS[np.int16]
    candidate_quant = state_quant if cell.relu else INT16_SUM
    difference_quant = QuantParams(np.int16, 2 * state_quant.scale)
    gates, candidate = np.split(cell.recurrent_weight.astype(np.float64), [2 * hidden])
    named = f"gru.{name}.recurrent"
    gate_weights = conv_weights(graph, gates[:, None], np.zeros(2 * hidden), state_quant, part, f"{named}.gates")
    candidate_weights = conv_weights(
        graph, candidate[:, None], cell.recurrent_bias, state_quant, part, f"{named}.candidate"
    )
    h = graph.constant(np.zeros(shape, np.int16), f"gru.{name}.h", state_quant.scale)
    graph.quants[h] = state_quant
    states: list[int] = []
    for t in range(steps)[::-1] if backward else range(steps):
        inputs = slice_op(graph, projected, [0, t, 0, 0], double)
        sums = int_add(graph, inputs, conv(graph, h, gate_weights, part), INT16_SUM)
        sigmoids = int_op(graph, "LOGISTIC", [sums], double, SIGMOID_PARAMS[np.int16])
        r = slice_op(graph, sigmoids, [0, 0, 0, 0], shape)
        z = slice_op(graph, sigmoids, [0, 0, 0, hidden], shape)
        if cell.reset_after:
            back = int_mul(graph, r, conv(graph, h, candidate_weights, part), part)
        else:
            back = conv(graph, int_mul(graph, r, h, state_quant), candidate_weights, part)
        inputs = slice_op(graph, projected, [0, t, 0, 2 * hidden], shape)
        relu = {"fusedActivationFunction": schema.ActivationFunctionType.RELU} if cell.relu else {}
        n = int_add(graph, inputs, back, candidate_quant, **relu)
        if not cell.relu:
            n = int_op(graph, "TANH", [n], shape, TANH_PARAMS[np.int16])
        kept = int_mul(graph, z, int_add(graph, h, n, difference_quant, "SUB"), difference_quant)
        h = int_add(graph, n, kept, state_quant)
        states.append(h)
    return states


_LOWERINGS: dict[type, Callable[[_Context, Any, _Value, str], _Value]] = {
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
