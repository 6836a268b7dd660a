"""Readers of ONNX nodes: each turns a node whose input is a value into the value of its output.

To support another operator, add a function to `LAYERS`, or to `AXES` if it only moves or selects axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harexport.importers import values
from harexport.importers.values import Constant, UnsupportedError, Value
from harexport.model.layers import (
    Activation,
    Branches,
    Conv1d,
    GruLayer,
    Linear,
    LstmLayer,
    Normalize,
    Pool,
    Recurrent,
    Reduce,
)


@dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes:
        kind: Its operator.
        inputs: Values and constants; None for an optional input that is absent.
        attributes: Attributes by name.
        opset: Version of the operators.
    """

    kind: str
    inputs: tuple[Value | Constant | None, ...]
    attributes: dict[str, Any]
    opset: int

    @property
    def value(self) -> Value:
        """The first input."""
        if not isinstance(self.inputs[0], Value):
            raise UnsupportedError("its first input is a constant; it must depend on the input of the network")
        return self.inputs[0]

    def constant(self, position: int) -> Constant | None:
        """Return an input that must be constant; None if it is absent."""
        found = self.inputs[position] if position < len(self.inputs) else None
        if isinstance(found, Value):
            raise UnsupportedError(f"its input {position + 1} depends on the input of the network; it must be constant")
        return found if found is not None and found.size else None

    def integers(self, name: str, position: int) -> list[int] | None:
        """Return integers that are an attribute in older opsets and an input in newer ones; None if absent."""
        found = self.attributes.get(name)
        if found is None and (constant := self.constant(position)) is not None:
            found = constant.ravel().tolist()
        return None if found is None else [int(k) for k in found]

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is a string."""
        return str(self.attributes.get(name, default.encode()).decode())


# Axes


def _transpose(node: Node) -> Value:
    value = node.value
    return values.transpose(value, node.attributes.get("perm") or list(range(len(value.axes)))[::-1])


def _reshape(node: Node) -> Value:
    return values.reshape(node.value, node.integers("shape", 1) or [])


def _flatten(node: Node) -> Value:
    axis, sizes = int(node.attributes.get("axis", 1)), node.value.sizes()
    return values.reshape(node.value, [int(np.prod(sizes[:axis])), int(np.prod(sizes[axis:]))])


def _gather(node: Node) -> Value:
    value, indices = node.value, node.constant(1)
    if indices is None:
        raise UnsupportedError("it has no indices; constant ones are needed")
    axis = int(node.attributes.get("axis", 0)) % len(value.axes)
    size = value.sizes()[axis]
    if indices.ndim == 2:
        return values.cut(value, axis, indices)
    if indices.ndim == 0:
        return values.select(value, axis, int(indices), keep=False)
    return values.take(value, axis, [int(k) % size for k in indices.ravel()])


def _slice(node: Node) -> Value:
    value = node.value
    starts, ends = node.integers("starts", 1) or [], node.integers("ends", 2) or []
    axes = node.integers("axes", 3) or list(range(len(starts)))
    steps = node.integers("steps", 4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(value.axes)
        value = values.take(value, axis, list(range(value.sizes()[axis]))[start:end:step])
    return value


def _reverse_sequence(node: Node) -> Value:
    value, lengths = node.value, node.constant(1)
    axis = int(node.attributes.get("time_axis", 0))
    size = value.sizes()[axis]
    if lengths is None or (lengths != size).any():
        raise UnsupportedError("its lengths are not that of the window; only whole windows can be reversed")
    return values.take(value, axis, list(range(size))[::-1])


def _pad(node: Node) -> Value:
    value, pads = node.value, node.integers("pads", 1)
    fill = node.constant(2)
    if node.text("mode", "constant") != "constant" or pads is None or (fill is not None and fill.any()):
        raise UnsupportedError("it pads with other values than zeros; supported are zeros along the time axis")
    if float(node.attributes.get("value", 0.0)) or len(pads) != 2 * len(value.axes):
        raise UnsupportedError("it pads with other values than zeros; supported are zeros along the time axis")
    padding = (0, 0)
    for axis, bounds in enumerate(zip(pads[: len(value.axes)], pads[len(value.axes) :], strict=True)):
        if any(bounds) and (value.axes[axis] != "t" or min(bounds) < 0 or value.frame or value.is_reversed):
            raise UnsupportedError(
                f"it pads {_names(value, [axis])}; supported are zeros before and after the time axis"
            )
        padding = bounds if any(bounds) else padding
    low, high = value.padding
    return dataclasses.replace(value, padding=(low + padding[0], high + padding[1]))


# Layers


def _require_sequence(value: Value) -> int:
    """Check that a value has the axes [batch, channels, time] and unit axes; return the position of time among them."""
    if value.labels != ("b", "c", "t") or not value.is_plain or value.is_reversed or value.frame:
        raise UnsupportedError(f"its input has the axes {_names(value)}; expected are batch, channels, time")
    return value.axes[2:].index("t")


def _conv(node: Node) -> Value:
    value, kernel, bias = node.value, node.constant(1), node.constant(2)
    time = _require_sequence(value)
    if kernel is None:
        raise UnsupportedError("it has no kernel; a constant one is needed")
    if (groups := int(node.attributes.get("group", 1))) != 1:
        raise UnsupportedError(f"it has {groups} groups; supported is 1")
    if any(size != 1 for k, size in enumerate(kernel.shape[2:]) if k != time):
        raise UnsupportedError("its kernel has more than one axis; supported are kernels along the time axis")
    weight = np.asarray(kernel, np.float32).reshape(*kernel.shape[:2], -1).transpose(0, 2, 1)  # [out, kernel, in]
    stride, dilation = (int(node.attributes.get(name, [1] * 9)[time]) for name in ("strides", "dilations"))
    low, high = _padding(node, value, time, weight.shape[1], stride, dilation)
    padding = low + value.padding[0], high + value.padding[1]
    offset = np.zeros(len(weight), np.float32) if bias is None else np.asarray(bias, np.float32)
    return value.add_layer(Conv1d(np.ascontiguousarray(weight), offset, stride, padding, dilation))


def _padding(node: Node, value: Value, time: int, kernel_size: int, stride: int, dilation: int) -> tuple[int, int]:
    automatic = node.text("auto_pad", "NOTSET")
    pads = node.attributes.get("pads", [0] * 18)
    if automatic == "NOTSET":
        return int(pads[time]), int(pads[len(pads) // 2 + time])
    if automatic == "VALID":
        return 0, 0
    steps = value.shape[0] + sum(value.padding)
    total = max(0, (-(-steps // stride) - 1) * stride + dilation * (kernel_size - 1) + 1 - steps)
    low, high = total // 2, total - total // 2
    return (low, high) if automatic == "SAME_UPPER" else (high, low)


def _pool(node: Node, kind: Literal["max", "mean"]) -> Value:
    value = node.value
    time = _require_sequence(value)
    kernels, strides = node.attributes["kernel_shape"], node.attributes.get("strides", [1] * 9)
    kernel_size, stride = int(kernels[time]), int(strides[time])
    if any(size != 1 for k, size in enumerate(kernels) if k != time):
        raise UnsupportedError("its window has more than one axis; supported are windows along the time axis")
    if any(_padding(node, value, time, kernel_size, stride, 1)):
        raise UnsupportedError("it has padding; supported are pools without it")
    if any(rate != 1 for rate in node.attributes.get("dilations", [])):
        raise UnsupportedError("it has a dilation; supported is 1")
    if node.attributes.get("ceil_mode") and (value.shape[0] - kernel_size) % stride:
        raise UnsupportedError("its last window is incomplete; supported is ceil_mode=False")
    return value.add_layer(Pool(kind, kernel_size, stride))


def _reduce(value: Value, kind: Literal["max", "mean"], axes: list[int], keep: bool) -> Value:
    axes = [k % len(value.axes) for k in axes]
    if [value.axes[k] for k in axes if value.axes[k] != "1"] != ["t"] or not value.is_plain or value.frame:
        raise UnsupportedError(f"it reduces {_names(value, axes)}; only the time can be reduced")
    labels = [("1" if k in axes else axis) for k, axis in enumerate(value.axes)]
    labels = [axis for k, axis in enumerate(labels) if keep or k not in axes]
    return dataclasses.replace(value.add_layer(Reduce(kind), tuple(labels)), is_reversed=False)


def _global_pool(node: Node, kind: Literal["max", "mean"]) -> Value:
    return _reduce(node.value, kind, list(range(2, len(node.value.axes))), keep=True)


def _reduce_axes(node: Node, kind: Literal["max", "mean"]) -> Value:
    axes = node.integers("axes", 1) or list(range(len(node.value.axes)))
    return _reduce(node.value, kind, axes, bool(node.attributes.get("keepdims", 1)))


def _activation(node: Node, kind: str, alpha: float = 1.0) -> Value:
    value = node.value
    last = value.layers[-1] if value.layers else None
    if kind == "relu" and isinstance(last, Conv1d | Linear):
        return dataclasses.replace(value, layers=(*value.layers[:-1], dataclasses.replace(last, relu=True)))
    layer = Activation(kind, float(node.attributes.get("alpha", alpha)))
    return dataclasses.replace(value, layers=(*value.layers, layer))


def _linear(value: Value, weight: NDArray[Any], bias: NDArray[Any]) -> Value:
    """Return a matrix product [outputs, inputs] of the last axis."""
    weight, bias = np.asarray(weight, np.float32), np.asarray(bias, np.float32)
    if value.axes[-1] == "f" and value.frame and not value.is_reversed:
        (kernel_size, stride), channels = value.frame, value.shape[1]
        layer = Conv1d(weight.reshape(len(weight), kernel_size, channels), bias, stride)
        return value.add_layer(layer, (*value.axes[:-1], "c"))
    if value.axes[-1] != "c" or value.directions > 1 or value.parts:
        raise UnsupportedError(
            f"it multiplies along {_names(value, [len(value.axes) - 1])}; supported is along the channels"
        )
    if value.order is not None:
        permuted = np.empty_like(weight)
        permuted[:, list(value.order)] = weight
        weight = permuted
    return value.add_layer(Linear(weight, bias))


def _matmul(node: Node) -> Value:
    matrix = node.constant(1)
    if matrix is None or matrix.ndim < 2 or any(size != 1 for size in matrix.shape[:-2]):
        raise UnsupportedError("its second input is not a matrix; a constant one is needed")
    rows, columns = matrix.shape[-2:]
    return _linear(node.value, matrix.reshape(rows, columns).T, np.zeros(columns))


def _gemm(node: Node) -> Value:
    value, matrix, bias = node.value, node.constant(1), node.constant(2)
    if matrix is None or node.attributes.get("transA"):
        raise UnsupportedError(
            "its input is transposed, or it has no matrix; transA=0 and a constant matrix are needed"
        )
    weight = (matrix if node.attributes.get("transB") else matrix.T) * float(node.attributes.get("alpha", 1.0))
    offset = np.zeros(len(weight)) if bias is None else bias.ravel() * float(node.attributes.get("beta", 1.0))
    return _linear(value, weight, np.broadcast_to(offset, (len(weight),)))


def _affine(value: Value, scale: NDArray[Any], shift: NDArray[Any]) -> Value:
    """Multiply and add per channel; folded into a convolution or matrix before it."""
    last = value.layers[-1] if value.layers else None
    if isinstance(last, Conv1d | Linear) and not last.relu and value.order is None:
        factor = np.asarray(scale, np.float64)
        weight = last.weight * factor.reshape(-1, *[1] * (last.weight.ndim - 1))
        folded = dataclasses.replace(
            last, weight=weight.astype(np.float32), bias=(last.bias * factor + shift).astype(np.float32)
        )
        return dataclasses.replace(value, layers=(*value.layers[:-1], folded))
    if (scale == 0).any() or any(value.padding):
        raise UnsupportedError("a factor is 0, or its input is padded; supported are other factors, without padding")
    if isinstance(last, Normalize):  # x -> (x - mean) / std, then the factor and the offset
        std = last.std.astype(np.float64) / scale
        mean = last.mean.astype(np.float64) - shift * std
        layers = value.layers[:-1]
    else:
        std, layers = 1 / scale, value.layers
        mean = -shift * std
    normalize = Normalize(mean.astype(np.float32), std.astype(np.float32))
    return dataclasses.replace(value, layers=(*layers, normalize))


def _batch_normalization(node: Node) -> Value:
    value = node.value
    gamma, beta, mean, variance = (np.asarray(node.constant(k), np.float64) for k in range(1, 5))
    if int(node.attributes.get("training_mode", 0)):
        raise UnsupportedError("it uses the statistics of the batch; export the model in evaluation mode")
    if (len(value.axes) > 1 and value.axes[1] != "c") or not value.is_plain:
        raise UnsupportedError(f"its input has the axes {_names(value)}; expected are batch, channels, time")
    scale = gamma / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
    return _affine(value, scale, beta - mean * scale)


def _per_channel(value: Value, constant: NDArray[Any]) -> NDArray[np.float64]:
    """Return a constant as one number per channel."""
    channels = value.shape[-1]
    constant = np.asarray(constant, np.float64)
    if constant.size == 1:
        return np.full(channels, constant.ravel()[0])
    shape = [1] * (len(value.axes) - constant.ndim) + list(constant.shape)
    position = value.axes.index("c") if "c" in value.axes else -1
    if not value.is_plain or len(shape) != len(value.axes) or [constant.size, shape[position]] != [channels, channels]:
        raise UnsupportedError(
            f"its constant has the shape {list(constant.shape)}; supported is one number, or one per channel"
        )
    return constant.ravel()


def _operands(node: Node, is_symmetric: bool) -> tuple[Value, NDArray[np.float64]]:
    """Return the value and the constant of a binary operator."""
    first, second = node.inputs
    if isinstance(first, Value) and isinstance(second, Value):
        raise UnsupportedError("both inputs depend on the input of the network; one must be constant")
    if isinstance(second, Value):
        if not is_symmetric:
            raise UnsupportedError("its first input is a constant; only the second can be")
        first, second = second, first
    assert isinstance(first, Value)
    return first, _per_channel(first, np.asarray(second))


def _add(node: Node) -> Value:
    parts = tuple(value for value in node.inputs if isinstance(value, Value))
    if len(parts) < 2:
        value, shift = _operands(node, is_symmetric=True)
        return _affine(value, np.ones_like(shift), shift)
    _require_same_axes(parts)
    return values.join("sum", parts)


def _subtract(node: Node) -> Value:
    value, shift = _operands(node, is_symmetric=False)
    return _affine(value, np.ones_like(shift), -shift)


def _multiply(node: Node) -> Value:
    value, scale = _operands(node, is_symmetric=True)
    return _affine(value, scale, np.zeros_like(scale))


def _divide(node: Node) -> Value:
    value, scale = _operands(node, is_symmetric=False)
    return _affine(value, 1 / scale, np.zeros_like(scale))


def _require_same_axes(parts: tuple[Value, ...]) -> None:
    first = parts[0]
    if any(
        (part.axes, part.is_reversed, part.frame, part.padding) != (first.axes, first.is_reversed, None, (0, 0))
        or not part.is_plain
        for part in parts
    ):
        raise UnsupportedError("its inputs have different axes; they must be the same")


def _concat(node: Node) -> Value:
    parts = tuple(value for value in node.inputs if isinstance(value, Value))
    axis = int(node.attributes["axis"]) % len(parts[0].axes)
    if len(parts) == 1 == len(node.inputs):
        return parts[0]
    if len(parts) == len(node.inputs) and parts[0].axes[axis] in ("d", "1", "s"):
        return values.stack(list(parts), axis)
    if len(parts) < len(node.inputs) or parts[0].axes[axis] != "c":
        raise UnsupportedError(f"it joins constants, or {_names(parts[0], [axis])}; only the channels can be joined")
    _require_same_axes(parts)
    return values.join("concat", parts)


def _softmax(node: Node) -> Value:
    value = node.value
    axis = int(node.attributes.get("axis", -1 if node.opset >= 13 else 1)) % len(value.axes)
    if value.axes[axis] != "c" or value.labels != ("b", "c"):
        raise UnsupportedError(f"it normalizes {_names(value, [axis])}; only the logits can be normalized")
    return value


def _recurrent(node: Node, gates: int) -> list[Value]:
    value = node.value.join_samples()
    layout = int(node.attributes.get("layout", 0))
    if value.axes != (("t", "b", "c") if layout == 0 else ("b", "t", "c")) or not value.is_plain or any(value.padding):
        raise UnsupportedError(f"its input has the axes {_names(value)}; expected are time, batch, channels")
    direction = node.text("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    is_relu = _check_functions(node, gates, count)
    weight, recurrent, bias = (node.constant(k) for k in range(1, 4))
    if weight is None or recurrent is None:
        raise UnsupportedError("it has no weights; constant ones are needed")
    if recurrent.shape[1] != gates * recurrent.shape[2]:
        raise UnsupportedError(
            "it has a projection, or its recurrent weights are not square; supported are layers without one"
        )
    _check_recurrent_inputs(node, value.shape[0])
    before = bool(int(node.attributes.get("linear_before_reset", 0)))
    pairs: list[tuple[Recurrent, Recurrent]] = []
    for k in range(count):
        offset = np.zeros(2 * weight.shape[1], np.float32) if bias is None else bias[k]
        layer: LstmLayer | GruLayer
        if gates == 4:
            layer = _lstm_layer(weight[k], recurrent[k], offset)
        else:
            layer = gru_layer(weight[k], recurrent[k], offset, before, is_relu)
        backward = (direction == "reverse" or k == 1) != value.is_reversed
        pairs.append((Recurrent(layer, backward), Recurrent(layer, backward, sequence=False)))

    def output(position: int, axes: tuple[str, ...]) -> Value:
        parts = [pair[position] for pair in pairs]
        layer = parts[0] if count == 1 else Branches("concat", tuple((part,) for part in parts))
        found = dataclasses.replace(value.add_layer(layer, axes), directions=count)
        return found if position == 0 else dataclasses.replace(found, is_reversed=False)

    if layout:
        return [output(0, ("b", "t", "d", "c")), output(1, ("b", "d", "c"))]
    return [output(0, ("t", "d", "b", "c")), output(1, ("d", "b", "c"))]


def _check_functions(node: Node, gates: int, count: int) -> bool:
    """Check the activations; return whether the candidate of a GRU has a ReLU."""
    if "clip" in node.attributes or int(node.attributes.get("input_forget", 0)):
        raise UnsupportedError("it has a clip or coupled gates; supported are layers without them")
    found = [name.decode().lower() for name in node.attributes.get("activations", [])]
    if gates == 3 and found == ["sigmoid", "relu"] * count:
        return True
    if found and found != (["sigmoid", "tanh", "tanh"] if gates == 4 else ["sigmoid", "tanh"]) * count:
        raise UnsupportedError(f"it has the activations {', '.join(found)}; supported are sigmoid and tanh")
    return False


def _check_recurrent_inputs(node: Node, steps: int) -> None:
    lengths = node.constant(4)
    if lengths is not None and (lengths != steps).any():
        raise UnsupportedError("its sequence length is not that of the window; supported are whole windows")
    for position in (5, 6):
        state = node.inputs[position] if position < len(node.inputs) else None
        if isinstance(state, Value) or (state is not None and state.any()):
            raise UnsupportedError("its initial state is not zero; supported are zeros")
    if (peepholes := node.constant(7)) is not None and peepholes.any():
        raise UnsupportedError("it has peepholes; supported are LSTM layers without them")


def _lstm_layer(weight: Constant, recurrent: Constant, bias: Constant) -> LstmLayer:
    """Reorder ONNX's gates i, o, f, c, and add up the two biases."""

    def order(values: Constant) -> Constant:
        i, o, f, c = np.split(np.asarray(values, np.float32), 4)
        return np.concatenate([i, f, c, o])

    first, second = np.split(np.asarray(bias, np.float64), 2)
    return LstmLayer(order(weight), order(recurrent), order(first + second))


def gru_layer(weight: Constant, recurrent: Constant, bias: Constant, reset_after: bool, relu: bool) -> GruLayer:
    """Reorder the gates z, r, h of ONNX and Keras; with `reset_after`, the candidate keeps its recurrent bias."""

    def order(values: Constant) -> Constant:
        z, r, h = np.split(np.asarray(values, np.float32), 3)
        return np.concatenate([r, z, h])

    first, second = (order(part) for part in np.split(np.asarray(bias, np.float32), 2))
    hidden = recurrent.shape[1]
    recurrent_bias = np.zeros(hidden, np.float32)
    if reset_after:
        recurrent_bias, second = second[2 * hidden :].copy(), second.copy()
        second[2 * hidden :] = 0
    return GruLayer(order(weight), order(recurrent), first + second, recurrent_bias, reset_after, relu)


def _names(value: Value, axes: list[int] | None = None) -> str:
    """Return the names of axes for messages."""
    names = {"b": "batch", "t": "time", "c": "channels", "d": "directions", "k": "samples", "f": "samples"}
    chosen = range(len(value.axes)) if axes is None else axes
    return ", ".join(names.get(value.axes[k], "unit") for k in chosen)


PASS_THROUGH = ("Identity", "Dropout", "Cast", "CastLike")
AXES: dict[str, Callable[[Node], Value]] = {
    **{kind: lambda node: node.value for kind in PASS_THROUGH},
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "ReverseSequence": _reverse_sequence,
    "Slice": _slice,
    "Squeeze": lambda node: values.squeeze(node.value, node.integers("axes", 1)),
    "Transpose": _transpose,
    "Unsqueeze": lambda node: values.unsqueeze(node.value, node.integers("axes", 1) or []),
}
LAYERS: dict[str, Callable[[Node], Value | list[Value]]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "LSTM": partial(_recurrent, gates=4),
    "GRU": partial(_recurrent, gates=3),
    "BatchNormalization": _batch_normalization,
    "MaxPool": partial(_pool, kind="max"),
    "AveragePool": partial(_pool, kind="mean"),
    "GlobalMaxPool": partial(_global_pool, kind="max"),
    "GlobalAveragePool": partial(_global_pool, kind="mean"),
    "ReduceMax": partial(_reduce_axes, kind="max"),
    "ReduceMean": partial(_reduce_axes, kind="mean"),
    "Add": _add,
    "Sum": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "Div": _divide,
    "Concat": _concat,
    "Relu": partial(_activation, kind="relu"),
    "Tanh": partial(_activation, kind="tanh"),
    "Sigmoid": partial(_activation, kind="sigmoid"),
    "LeakyRelu": partial(_activation, kind="leaky_relu", alpha=0.01),
    "Elu": partial(_activation, kind="elu"),
    "Gelu": partial(_activation, kind="gelu"),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}
