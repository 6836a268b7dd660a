"""ONNX exporter for a Sequential: one function per layer.

Each value has a layout: "btc" [windows, steps, channels], "bct" for convolutions, "tbc" for recurrent layers, or "bc"
for a vector. Transposes are added where the layout changes. To support another layer, add a function to `_LOWERINGS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harexport.exporters import onnx
from harexport.exporters.onnx import OnnxBuilder
from harexport.model.contract import INPUT_NAME, Contract
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
    Shape,
    Step,
    simplify,
)

_ACTIVATION_OPS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "leaky_relu": "LeakyRelu", "elu": "Elu"}


@dataclass(frozen=True)
class _Value:
    name: str
    layout: str
    shape: Shape  # (steps, channels) or (features,)


def build(
    network: Sequential,
    contract: Contract,
    metadata: dict[str, str],
    scheme: str = "float32",
    batch: int | None = 1,
) -> bytes:
    """Build a .onnx file; arguments and result as for `onnx.build`."""
    graph = OnnxBuilder(scheme)
    context = _Context(graph, batch)
    *layers, head = simplify(network.layers)
    x = context.lower(tuple(layers), _Value(INPUT_NAME, "btc", (network.window, network.num_channels)), "")
    logits, probabilities = list(contract.outputs)[:2]
    if isinstance(head, Linear):
        weight, bias = graph.weight(head.weight, "head.weight"), graph.constant(head.bias, "head.bias")
        graph.op("Gemm", [x.name, weight, bias], logits, transB=1)
    else:
        graph.op("Identity", [context.lower((head,), x, "head.").name], logits)
    graph.op("Softmax", [logits], probabilities, axis=1)
    return onnx.serialize(graph, network, contract, metadata, batch)


@dataclass(frozen=True)
class _Context:
    """The graph and the batch size."""

    graph: OnnxBuilder
    batch: int | None

    def lower(self, layers: tuple[Layer, ...], x: _Value, prefix: str) -> _Value:
        """Add layers and return their output."""
        for k, layer in enumerate(layers):
            x = _LOWERINGS[type(layer)](self, layer, x, f"{prefix}{k}")
        return x

    def in_layout(self, x: _Value, layout: str) -> _Value:
        """Transpose a sequence to another layout."""
        if x.layout == layout or len(x.shape) == 1:
            return x
        name = f"{x.name}.{layout}"
        if name not in {node.output[0] for node in self.graph.nodes}:
            self.graph.op("Transpose", [x.name], name, perm=[x.layout.index(axis) for axis in layout])
        return _Value(name, layout, x.shape)


def _lower_normalize(context: _Context, layer: Normalize, x: _Value, name: str) -> _Value:
    x = x if x.layout != "bct" else context.in_layout(x, "btc")
    graph, std, mean = context.graph, layer.std.astype(np.float64), layer.mean.astype(np.float64)
    scaled = graph.op("Mul", [x.name, graph.constant((1 / std).astype(np.float32), f"{name}.factor")], f"{name}.scaled")
    graph.op("Sub", [scaled, graph.constant((mean / std).astype(np.float32), f"{name}.offset")], f"{name}.y")
    return _Value(f"{name}.y", x.layout, x.shape)


def _lower_convolution(context: _Context, layer: Convolution, x: _Value, name: str) -> _Value:
    x, graph = context.in_layout(x, "bct"), context.graph
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
    return _Value(f"{name}.y", "bct", layer.output_shape(x.shape))


def _lower_linear(context: _Context, layer: Linear, x: _Value, name: str) -> _Value:
    x, graph = (context.in_layout(x, "btc") if x.layout == "bct" else x), context.graph
    bias = graph.constant(layer.bias, f"{name}.bias")
    if len(x.shape) == 1:
        graph.op("Gemm", [x.name, graph.weight(layer.weight, f"{name}.weight"), bias], f"{name}.y", transB=1)
    else:
        weight = graph.op("Transpose", [graph.weight(layer.weight, f"{name}.weight")], f"{name}.weight.T", perm=[1, 0])
        graph.op("Add", [graph.op("MatMul", [x.name, weight], f"{name}.product"), bias], f"{name}.y")
    return _Value(f"{name}.y", x.layout, layer.output_shape(x.shape))


def _lower_activation(context: _Context, layer: Activation, x: _Value, name: str) -> _Value:
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
    return _Value(f"{name}.y", x.layout, x.shape)


def _lower_pool(context: _Context, layer: Pool, x: _Value, name: str) -> _Value:
    x = context.in_layout(x, "bct")
    operator = "MaxPool" if layer.kind == "max" else "AveragePool"
    context.graph.op(operator, [x.name], f"{name}.y", kernel_shape=[layer.kernel_size], strides=[layer.stride])
    return _Value(f"{name}.y", "bct", layer.output_shape(x.shape))


def _lower_recurrent(context: _Context, layer: Recurrent, x: _Value, name: str) -> _Value:
    x = context.in_layout(x, "tbc")
    add = onnx.add_lstm if isinstance(layer.layer, LstmLayer) else onnx.add_gru
    kind = "lstm" if isinstance(layer.layer, LstmLayer) else "gru"
    cell: Any = layer.layer
    states = add(context.graph, cell, x.name, x.shape[0], f"{kind}.{name}", not layer.sequence, layer.backward)
    return _Value(states, "tbc" if layer.sequence else "bc", layer.output_shape(x.shape))


def _lower_step(context: _Context, layer: Step, x: _Value, name: str) -> _Value:
    graph = context.graph
    index = graph.constant([layer.index % x.shape[0]], f"{name}.index")
    step = graph.op("Gather", [x.name, index], f"{name}.step", axis=x.layout.index("t"))
    graph.op("Reshape", [step, graph.constant([-1, x.shape[1]], f"{name}.shape")], f"{name}.y")
    return _Value(f"{name}.y", "bc", (x.shape[1],))


def _lower_reduce(context: _Context, layer: Reduce, x: _Value, name: str) -> _Value:
    operator = "ReduceMax" if layer.kind == "max" else "ReduceMean"
    context.graph.op(operator, [x.name], f"{name}.y", axes=[x.layout.index("t")], keepdims=0)
    return _Value(f"{name}.y", "bc", (x.shape[1],))


def _lower_flatten(context: _Context, layer: Flatten, x: _Value, name: str) -> _Value:
    x = context.in_layout(x, "btc")
    context.graph.op("Flatten", [x.name], f"{name}.y", axis=1)
    return _Value(f"{name}.y", "bc", layer.output_shape(x.shape))


def _lower_branches(context: _Context, layer: Branches, x: _Value, name: str) -> _Value:
    graph = context.graph
    parts = [context.lower(branch, x, f"{name}.{k}.") for k, branch in enumerate(layer.branches)]
    parts = [context.in_layout(part, parts[0].layout) for part in parts]
    names = [part.name for part in parts]
    if layer.kind == "concat":
        graph.op("Concat", names, f"{name}.y", axis=parts[0].layout.index("c"))
    else:
        total = names[0]
        for k, part in enumerate(names[1:], 1):
            total = graph.op("Add", [total, part], f"{name}.y" if k == len(names) - 1 else f"{name}.sum.{k}")
    return _Value(f"{name}.y", parts[0].layout, layer.output_shape(x.shape))


_LOWERINGS: dict[type, Callable[[_Context, Any, _Value, str], _Value]] = {
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
