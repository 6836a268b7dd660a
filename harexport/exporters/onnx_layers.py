"""The layers of an ONNX file: one function per layer.

Each value has a layout: "btc" [windows, steps, channels], "bct" for convolutions, "tbc" for recurrent layers, or "bc"
for a vector. Transposes are added where the layout changes. To support another layer, add a function to `_LOWERINGS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from harexport.exporters.onnx_builder import OnnxBuilder, quantize_rows
from harexport.model.contract import INPUT_NAME, STATE_NAME
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
    Shape,
    Step,
)

CONTRIB = "com.microsoft"
_ZERO_POINT = 128  # of uint8 weights
_ACTIVATION_OPS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "leaky_relu": "LeakyRelu", "elu": "Elu"}


@dataclass(frozen=True)
class Value:
    """An output in the graph."""

    name: str
    layout: str
    shape: Shape  # (steps, channels) or (features,)


@dataclass
class State:
    """The explicit state of a stream: one input with the states of all recurrent layers, and their new states."""

    size: int
    new: list[str] = field(default_factory=list)
    used: int = 0  # columns of the input

    def take(self, graph: OnnxBuilder, size: int, name: str) -> str:
        """Return the next columns of the input as [1, 1, size]."""
        bounds = [graph.constant([value], f"{name}.{part}") for part, value in
                  (("start", self.used), ("end", self.used + size), ("axis", 1))]  # fmt: skip
        self.used += size
        columns = graph.op("Slice", [STATE_NAME, *bounds], f"{name}.columns")
        return graph.op("Reshape", [columns, graph.constant([1, 1, size], f"{name}.shape")], name)

    def put(self, graph: OnnxBuilder, state: str, size: int) -> None:
        """Add a new state [1, 1, size]."""
        self.new.append(graph.op("Reshape", [state, graph.constant([1, size], f"{state}.shape")], f"{state}.row"))


@dataclass(frozen=True)
class Context:
    """The graph and the batch size."""

    graph: OnnxBuilder
    batch: int | None
    counts: Counter[str] = field(default_factory=Counter)  # recurrent layers by kind
    state: State | None = None  # of a stream

    def lower_input(self, layers: tuple[Layer, ...], shape: tuple[int, int]) -> Value:
        """Add layers that read the window, and return their output."""
        x = Value(INPUT_NAME, "btc", shape)
        first, second = (*layers, None, None)[:2]
        if isinstance(first, Conv1d) and first.is_plain and isinstance(second, Recurrent):
            rows = _lower_frames(self.graph, first, shape[0], self.batch)
            x, layers = Value(rows, "tbc", first.output_shape(shape)), layers[1:]
        return self.lower(layers, x, "")

    def lower(self, layers: tuple[Layer, ...], x: Value, prefix: str) -> Value:
        """Add layers and return their output."""
        for k, layer in enumerate(layers):
            x = _LOWERINGS[type(layer)](self, layer, x, f"{prefix}{k}")
        return x

    def lower_head(self, head: Layer, x: Value, name: str, logits: str) -> None:
        """Add the last layer with the output `logits`."""
        if isinstance(head, Linear) and not head.relu:
            weight = self.graph.weight(head.weight, f"{name}.weight")
            self.graph.op("Gemm", [x.name, weight, self.graph.constant(head.bias, f"{name}.bias")], logits, transB=1)
        else:
            self.graph.op("Identity", [_LOWERINGS[type(head)](self, head, x, name).name], logits)

    def change_layout(self, x: Value, layout: str) -> Value:
        """Return a sequence in another layout."""
        if x.layout == layout or len(x.shape) == 1:
            return x
        name = f"{x.name}.{layout}"
        if name not in {node.output[0] for node in self.graph.nodes}:
            if self.batch == 1 and {x.layout, layout} == {"btc", "tbc"}:  # a Reshape copies no data
                sizes = {"b": 1, "t": x.shape[0], "c": x.shape[1]}
                shape = self.graph.constant([sizes[axis] for axis in layout], f"{name}.shape")
                self.graph.op("Reshape", [x.name, shape], name)
            else:
                self.graph.op("Transpose", [x.name], name, perm=[x.layout.index(axis) for axis in layout])
        return Value(name, layout, x.shape)


def _lower_frames(graph: OnnxBuilder, layer: Conv1d, window: int, batch: int | None) -> str:
    """Return [steps, batch, units] of [batch, window, channels], by a Gemm of the samples of each step.

    Steps that overlap gather their samples first. The output of a Conv has the units first and needs a Transpose: with
    kernel size 32 and stride 16, the latency of the whole model is 1.09 times as high.
    """
    steps = (window - layer.kernel_size) // layer.stride + 1
    samples = INPUT_NAME
    if layer.kernel_size != layer.stride or window % layer.stride:
        starts = np.arange(steps) * layer.stride
        indices = graph.constant(starts[:, None] + np.arange(layer.kernel_size), "input.samples")
        samples = graph.op("Gather", [samples, indices], "input.gathered", axis=1)
    if layer.is_identity:
        rows = samples
    else:
        shape = graph.constant([-1, layer.kernel_size * layer.weight.shape[2]], "input.shape")
        frames = graph.op("Reshape", [samples, shape], "input.frames")
        weight = graph.weight(layer.weight.reshape(layer.out_channels, -1), "input.weight")
        rows = graph.op("Gemm", [frames, weight, graph.constant(layer.bias, "input.bias")], "input.linear", transB=1)
        if layer.relu:
            rows = graph.op("Relu", [rows], "input.relu")
    if batch == 1:  # a Reshape copies no data
        return graph.op("Reshape", [rows, graph.constant([steps, 1, layer.out_channels], "steps.shape")], "input.rows")
    sequence = graph.op(
        "Reshape", [rows, graph.constant([-1, steps, layer.out_channels], "steps.shape")], "input.sequence"
    )
    return graph.op("Transpose", [sequence], "input.rows", perm=[1, 0, 2])


def _lower_normalize(context: Context, layer: Normalize, x: Value, name: str) -> Value:
    x = x if x.layout != "bct" else context.change_layout(x, "btc")
    graph, std, mean = context.graph, layer.std.astype(np.float64), layer.mean.astype(np.float64)
    scaled = graph.op("Mul", [x.name, graph.constant((1 / std).astype(np.float32), f"{name}.factor")], f"{name}.scaled")
    graph.op("Sub", [scaled, graph.constant((mean / std).astype(np.float32), f"{name}.offset")], f"{name}.y")
    return Value(f"{name}.y", x.layout, x.shape)


def _lower_conv(context: Context, layer: Conv1d, x: Value, name: str) -> Value:
    x, graph = context.change_layout(x, "bct"), context.graph
    kernel = np.ascontiguousarray(layer.weight.transpose(0, 2, 1))  # [outputs, inputs, kernel]
    if graph.scheme == "int8-weights":  # one scale per output: the rows of a matrix
        flat = graph.weight(kernel.reshape(len(kernel), -1), f"{name}.matrix")
        shape = graph.constant(list(kernel.shape), f"{name}.kernel.shape")
        weight = graph.op("Reshape", [flat, shape], f"{name}.weight")
    else:
        weight = graph.weight(kernel, f"{name}.weight")
    graph.op(
        "Conv",
        [x.name, weight, graph.constant(layer.bias, f"{name}.bias")],
        f"{name}.y",
        strides=[layer.stride],
        pads=list(layer.padding),
        dilations=[layer.dilation],
    )
    return Value(_add_relu(graph, layer, name), "bct", layer.output_shape(x.shape))


def _lower_linear(context: Context, layer: Linear, x: Value, name: str) -> Value:
    x, graph = (context.change_layout(x, "btc") if x.layout == "bct" else x), context.graph
    bias = graph.constant(layer.bias, f"{name}.bias")
    if len(x.shape) == 1:
        graph.op("Gemm", [x.name, graph.weight(layer.weight, f"{name}.weight"), bias], f"{name}.y", transB=1)
    else:
        weight = graph.op("Transpose", [graph.weight(layer.weight, f"{name}.weight")], f"{name}.weight.T", perm=[1, 0])
        graph.op("Add", [graph.op("MatMul", [x.name, weight], f"{name}.product"), bias], f"{name}.y")
    return Value(_add_relu(graph, layer, name), x.layout, layer.output_shape(x.shape))


def _add_relu(graph: OnnxBuilder, layer: Conv1d | Linear, name: str) -> str:
    return graph.op("Relu", [f"{name}.y"], f"{name}.relu") if layer.relu else f"{name}.y"


def _lower_activation(context: Context, layer: Activation, x: Value, name: str) -> Value:
    graph = context.graph
    if layer.kind == "gelu":  # an operator from opset 20 on
        half, root = (
            graph.constant(np.array([0.5], np.float32), f"{name}.half"),
            graph.constant(np.array([0.5**0.5], np.float32), f"{name}.root"),
        )
        erf = graph.op("Erf", [graph.op("Mul", [x.name, root], f"{name}.scaled")], f"{name}.erf")
        one = graph.constant(np.array([1.0], np.float32), f"{name}.one")
        factor = graph.op("Mul", [graph.op("Add", [erf, one], f"{name}.sum"), half], f"{name}.factor")
        graph.op("Mul", [x.name, factor], f"{name}.y")
    else:
        options = {"alpha": layer.alpha} if layer.kind in ("leaky_relu", "elu") else {}
        graph.op(_ACTIVATION_OPS[layer.kind], [x.name], f"{name}.y", **options)
    return Value(f"{name}.y", x.layout, x.shape)


def _lower_pool(context: Context, layer: Pool, x: Value, name: str) -> Value:
    x = context.change_layout(x, "bct")
    operator = "MaxPool" if layer.kind == "max" else "AveragePool"
    context.graph.op(operator, [x.name], f"{name}.y", kernel_shape=[layer.kernel_size], strides=[layer.stride])
    return Value(f"{name}.y", "bct", layer.output_shape(x.shape))


def _lower_recurrent(context: Context, layer: Recurrent, x: Value, name: str) -> Value:
    x, graph, state = context.change_layout(x, "tbc"), context.graph, context.state
    cell, kind = layer.layer, "lstm" if isinstance(layer.layer, LstmLayer) else "gru"
    name = f"{kind}.{context.counts[kind]}"
    context.counts[kind] += 1
    parts = ("h", "c") if isinstance(cell, LstmLayer) else ("h",)
    initial = [state.take(graph, cell.hidden, f"{name}.initial_{part}") for part in parts] if state else []
    add: Callable[..., str] = _add_lstm if isinstance(cell, LstmLayer) else _add_gru
    states = add(graph, cell, x.name, x.shape[0], name, not layer.sequence, layer.backward, initial)
    if state:
        node = next(node for node in graph.nodes if node.name == name)
        for part in parts:
            state.put(graph, f"{name}.Y_{part}", cell.hidden)
        node.output[:] = [f"{name}.Y" if layer.sequence else "", *(f"{name}.Y_{part}" for part in parts)]
    return Value(states, "tbc" if layer.sequence else "bc", layer.output_shape(x.shape))


def _add_lstm(
    graph: OnnxBuilder,
    layer: LstmLayer,
    rows: str,
    steps: int,
    name: str,
    last: bool,
    backward: bool,
    initial: list[str],
) -> str:
    """Return all states [steps, batch, hidden]; of the `last` layer, the last state [batch, hidden].

    The operator LSTM (opset 7) has the gate order i, o, f, c and a second bias.
    """
    bias = np.concatenate([*_onnx_order(layer.bias), np.zeros_like(layer.bias)])[None]
    weights = {part: np.concatenate(_onnx_order(values)) for part, values in
               (("W", layer.input_weight), ("R", layer.recurrent_weight))}  # fmt: skip
    outputs = ["", f"{name}.Y_h"] if last else [f"{name}.Y"]
    if graph.scheme == "int8-weights":
        stored, scales = [], []
        for part, values in weights.items():
            integers, scale = quantize_rows(values)
            # the operator reads transposed matrices
            stored.append(graph.constant(_to_uint8(integers.T[None]), f"{name}.{part}"))
            scales.append(graph.constant(scale[None], f"{name}.{part}.scale"))
            scales.append(graph.constant(np.full((1, len(scale)), _ZERO_POINT, np.uint8), f"{name}.{part}.zero"))
        inputs = [rows, *stored, graph.constant(bias, f"{name}.B"), "", *(initial or ["", ""]), "", *scales]
        node = helper.make_node("DynamicQuantizeLSTM", inputs, outputs, name=name, domain=CONTRIB)
        node.attribute.append(helper.make_attribute("hidden_size", layer.hidden))
        if backward:
            node.attribute.append(helper.make_attribute("direction", "reverse"))
        graph.nodes.append(node)
    else:
        inputs = [rows, *(graph.weight(values[None], f"{name}.{part}") for part, values in weights.items())]
        inputs.append(graph.constant(bias, f"{name}.B"))
        inputs += ["", *initial] if initial else []
        options = {"direction": "reverse"} if backward else {}
        graph.nodes.append(helper.make_node("LSTM", inputs, outputs, name=name, hidden_size=layer.hidden, **options))
    # a Reshape that only drops the direction's axis: no data moves
    shape = graph.constant([-1, layer.hidden] if last else [steps, -1, layer.hidden], f"{name}.shape")
    return graph.op("Reshape", [outputs[-1], shape], f"{name}.h")


def _onnx_order(gates: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    i, f, g, o = np.split(gates, 4)
    return [i, o, f, g]


def _to_uint8(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Shift integers to the zero point 128.

    ONNX Runtime quantizes the states to uint8. With int8 weights, on x86 processors without VNNI, it adds two products
    in 16 bits, which saturate: 97.2 % of the baseline LSTM's predictions agreed with the reference there, 99.6 %
    elsewhere. With uint8 weights it uses another kernel, with equal results on all processors.
    """
    return (integers.astype(np.int16) + _ZERO_POINT).astype(np.uint8)


def _add_gru(
    graph: OnnxBuilder,
    layer: GruLayer,
    rows: str,
    steps: int,
    name: str,
    last: bool,
    backward: bool,
    initial: list[str],
) -> str:
    """Return all states [steps, batch, hidden]; of the `last` layer, the last state [batch, hidden].

    The operator GRU has the gate order z, r, h. B is the concatenation of Wb and Rb; the gates z and r add both. The
    candidate is act(W x + R (r h) + Rbh + Wbh) with linear_before_reset = 0 and act(W x + r (R h + Rbh) + Wbh) with 1.
    """
    recurrent_bias = np.zeros_like(layer.bias)
    if layer.reset_after:
        recurrent_bias[2 * layer.hidden :] = layer.recurrent_bias
    arrays = [
        rows,
        graph.weight(_gru_onnx_order(layer.input_weight)[None], f"{name}.W"),
        graph.weight(_gru_onnx_order(layer.recurrent_weight)[None], f"{name}.R"),
        graph.constant(
            np.concatenate([_gru_onnx_order(layer.bias), _gru_onnx_order(recurrent_bias)])[None], f"{name}.B"
        ),
    ]
    arrays += ["", *initial] if initial else []
    outputs = ["", f"{name}.Y_h"] if last else [f"{name}.Y"]
    node = helper.make_node(
        "GRU",
        arrays,
        outputs,
        name=name,
        hidden_size=layer.hidden,
        linear_before_reset=int(layer.reset_after),
        activations=["Sigmoid", "Relu" if layer.relu else "Tanh"],
    )
    if backward:
        node.attribute.append(helper.make_attribute("direction", "reverse"))
    graph.nodes.append(node)
    # a Reshape that only drops the direction's axis: no data moves
    shape = graph.constant([-1, layer.hidden] if last else [steps, -1, layer.hidden], f"{name}.shape")
    return graph.op("Reshape", [outputs[-1], shape], f"{name}.h")


def _gru_onnx_order(gates: NDArray[np.floating]) -> NDArray[np.floating]:
    r, z, n = np.split(gates, 3)
    return np.concatenate([z, r, n])


def _lower_step(context: Context, layer: Step, x: Value, name: str) -> Value:
    graph = context.graph
    index = graph.constant([layer.index % x.shape[0]], f"{name}.index")
    step = graph.op("Gather", [x.name, index], f"{name}.step", axis=x.layout.index("t"))
    graph.op("Reshape", [step, graph.constant([-1, x.shape[1]], f"{name}.shape")], f"{name}.y")
    return Value(f"{name}.y", "bc", (x.shape[1],))


def _lower_reduce(context: Context, layer: Reduce, x: Value, name: str) -> Value:
    operator = "ReduceMax" if layer.kind == "max" else "ReduceMean"
    context.graph.op(operator, [x.name], f"{name}.y", axes=[x.layout.index("t")], keepdims=0)
    return Value(f"{name}.y", "bc", (x.shape[1],))


def _lower_flatten(context: Context, layer: Flatten, x: Value, name: str) -> Value:
    x = context.change_layout(x, "btc")
    context.graph.op("Flatten", [x.name], f"{name}.y", axis=1)
    return Value(f"{name}.y", "bc", layer.output_shape(x.shape))


def _lower_branches(context: Context, layer: Branches, x: Value, name: str) -> Value:
    graph = context.graph
    parts = [context.lower(branch, x, f"{name}.{k}.") for k, branch in enumerate(layer.branches)]
    parts = [context.change_layout(part, parts[0].layout) for part in parts]
    names = [part.name for part in parts]
    if layer.kind == "concat":
        graph.op("Concat", names, f"{name}.y", axis=parts[0].layout.index("c"))
    else:
        total = names[0]
        for k, part in enumerate(names[1:], 1):
            total = graph.op("Add", [total, part], f"{name}.y" if k == len(names) - 1 else f"{name}.sum.{k}")
    return Value(f"{name}.y", parts[0].layout, layer.output_shape(x.shape))


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
