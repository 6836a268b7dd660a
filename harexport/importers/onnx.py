"""Imports ONNX models of recurrent and convolutional classifiers as a Network.

The graph is interpreted node by node. Constants are folded. Every other value is a sequence of layers from the input,
with a label for each axis: "b" batch, "t" time, "c" channels or features, "d" directions, "1" a unit axis. Transpose,
Reshape and similar nodes only change the axes. The result is compared with the original in ONNX Runtime.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import external_data_helper, helper, numpy_helper

from harexport.errors import InputError
from harexport.formats import identify_format, read_model_bytes
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
    shape_after,
)
from harexport.model.network import Network

Constant = NDArray[Any]
_PASS_THROUGH = ("Identity", "Dropout", "Cast", "CastLike")
_ACTIVATIONS = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "LeakyRelu": "leaky_relu",
    "Elu": "elu",
    "Gelu": "gelu",
}
_SUPPORTED = (
    "Conv, Gemm, MatMul, Add, LSTM, GRU, BatchNormalization, MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, "
    "ReduceMean, ReduceMax, Concat, Flatten, Gather, Slice, Relu, Tanh, Sigmoid, LeakyRelu, Elu, Gelu, Softmax"
)
_TOLERANCE = 1e-4  # of the logits, relative to the largest one (at least 1)


@dataclass(frozen=True)
class Value:
    """A value that depends on the input: layers from the input, and the labels of its axes.

    Attributes:
        layers: Layers from the input of the network.
        axes: Label of each axis.
        directions: Size of the axis "d".
        order: Of a flattened sequence: for each feature of the ONNX value, its index in the output of the layers.
        parts: Values stacked along the axis "s".
    """

    layers: tuple[Layer, ...]
    axes: tuple[str, ...]
    directions: int = 1
    order: tuple[int, ...] | None = None
    parts: tuple[Value, ...] = ()

    def then(self, layer: Layer, axes: tuple[str, ...] | None = None) -> Value:
        return Value((*self.layers, layer), axes or self.axes)


class _Unsupported(Exception):
    """A node that cannot be imported; the message says why."""


def load_onnx(path: Path | str, num_channels: int | None = None) -> Network:
    """Import a .onnx file.

    Args:
        path: The file.
        num_channels: Number of channels; tells [channels, time] inputs from [time, channels]. Default: the input is
            [batch, time, channels].

    Raises:
        InputError: The file cannot be read, has an unsupported node, or differs from the imported network.
    """
    path = Path(path)
    content = read_model_bytes(path)
    if identify_format(content, str(path)) != "onnx":
        raise InputError(f"{path} is a .tflite file; only .onnx files can be imported")
    try:
        model = onnx.load_from_string(content)
        for tensor in external_data_helper._get_all_tensors(model):
            if external_data_helper.uses_external_data(tensor):
                _check_external(tensor, path)
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except InputError:
        raise
    except Exception as error:  # protobuf's DecodeError, weights that do not fit their file
        raise InputError(f"{path} is damaged or not a .onnx file with its weights; export it again") from error
    return import_model(model, str(path), num_channels)


def _check_external(tensor: Any, path: Path) -> None:
    """Check that weights outside of the file are in a regular file beside it. Raises InputError."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    if Path(location).name != location or not (path.parent / location).is_file():
        raise InputError(f"{path} has weights in {location or 'another file'}, which is not a file in its folder")


def import_model(model: Any, where: str, num_channels: int | None = None) -> Network:
    """Import an onnx.ModelProto; arguments and errors as for `load_onnx`."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise InputError(f"{where} has {len(inputs)} inputs; only models with one input are supported")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    axes, window, channels = _input_layout(inputs[0], where, num_channels)
    reader = _Reader((window, channels), opset)
    reader.values[inputs[0].name] = Value((), axes)
    for tensor in graph.initializer:
        reader.values[tensor.name] = numpy_helper.to_array(tensor)
    for node in graph.node:
        try:
            reader.read(node)
        except (_Unsupported, InputError) as error:
            raise _rejection(where, node, str(error)) from None
        except Exception as error:  # a node with inputs or attributes that no exporter writes
            raise _rejection(where, node, f"its inputs or attributes are invalid ({type(error).__name__})") from error
    logits = reader.result(graph.output[0].name, where)
    network = Network(window, channels, logits.layers)
    _compare(network, model, where, axes, reader.softmax_outputs)
    return network


def _rejection(where: str, node: Any, reason: str) -> InputError:
    name = f" {node.name}" if node.name else ""
    return InputError(f"{where}: the {node.op_type} node{name} is not supported: {reason}")


def _input_layout(value: Any, where: str, num_channels: int | None) -> tuple[tuple[str, ...], int, int]:
    sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in value.type.tensor_type.shape.dim]
    if len(sizes) != 3:
        raise InputError(f"{where}: the input {value.name} has {len(sizes)} axes; windows have three")
    layouts = [("b", "t", "c"), ("b", "c", "t"), ("t", "b", "c")]
    for axes in layouts:
        named = dict(zip(axes, sizes, strict=True))
        if named["b"] in (0, 1) and named["t"] > 1 and named["c"] > 0 and num_channels in (None, named["c"]):
            return axes, named["t"], named["c"]
    expected = f"{num_channels} channels as in its contract" if num_channels else "a fixed number of channels"
    raise InputError(
        f"{where}: the input {value.name} has the shape {sizes}; a window needs a fixed number of steps, {expected}, "
        "and a batch of 1 or a dynamic one"
    )


class _Reader:
    """Interprets nodes; `values` has constants and values by name."""

    def __init__(self, shape: tuple[int, int], opset: int) -> None:
        self.values: dict[str, Constant | Value] = {"": np.zeros(0)}
        self.softmax_outputs: set[str] = set()
        self._shape, self._opset = shape, opset

    def result(self, name: str, where: str) -> Value:
        value = self.values[name]
        if not isinstance(value, Value):
            raise InputError(f"{where}: the output {name} does not depend on the input")
        if tuple(axis for axis in value.axes if axis != "1") != ("b", "c") or value.order is not None:
            raise InputError(
                f"{where}: the output {name} has the axes {value.axes}; a classifier has one logit per label"
            )
        return value

    def read(self, node: Any) -> None:
        inputs: list[Any] = [self.values[name] for name in node.input]
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if node.domain not in ("", "ai.onnx"):
            raise _Unsupported(f"its domain is {node.domain}")
        if node.op_type.startswith(("Quantize", "Dequantize")):
            raise _Unsupported("quantized models cannot be imported; import the float32 model")
        if any(name in self.softmax_outputs for name in node.input):
            if node.op_type not in (*_PASS_THROUGH, "Reshape", "Squeeze", "Flatten"):
                raise _Unsupported("its input is a Softmax, which is supported at the end only")
            self.softmax_outputs.update(node.output)
        if node.op_type == "Shape" and isinstance(inputs[0], Value):
            outputs: list[Any] = [np.array(self._sizes(inputs[0]), np.int64)]
        elif not any(isinstance(value, Value) for value in inputs):
            outputs = self._fold(node, inputs)
        elif node.op_type in _PASS_THROUGH:
            outputs = [inputs[0]]
        elif (method := getattr(self, f"_read_{node.op_type.lower()}", None)) is not None:
            result = method(node, inputs, attributes)
            outputs = list(result) if isinstance(result, list) else [result]
        elif node.op_type in _ACTIVATIONS:
            alpha = float(attributes.get("alpha", 0.01 if node.op_type == "LeakyRelu" else 1.0))
            outputs = [
                dataclasses.replace(
                    inputs[0], layers=(*inputs[0].layers, Activation(_ACTIVATIONS[node.op_type], alpha))
                )
            ]
        else:
            raise _Unsupported(f"supported are {_SUPPORTED}")
        for name, value in zip(node.output, outputs, strict=False):
            self.values[name] = value

    def _fold(self, node: Any, inputs: list[Any]) -> list[Constant]:
        """Evaluate a node on constants."""
        from onnx.reference import ReferenceEvaluator

        names = [name for name in node.input if name]
        values = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
            for name, value in zip(node.input, inputs, strict=True)
            if name
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = helper.make_graph([node], "constant", values, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self._opset)])
        try:
            found = ReferenceEvaluator(model).run(None, {name: self.values[name] for name in names})
        except Exception as error:
            raise _Unsupported(f"it cannot be evaluated ({type(error).__name__})") from error
        return [np.asarray(value) for value in found]

    def _model_shape(self, value: Value) -> tuple[int, ...]:
        return shape_after(value.layers, self._shape)

    def _sizes(self, value: Value) -> list[int]:
        if value.parts:
            inner = self._sizes(value.parts[0])
            return [len(value.parts), *inner]
        shape = self._model_shape(value)
        sizes = {"b": 1, "1": 1, "d": value.directions, "c": shape[-1] // value.directions}
        if len(shape) == 2:
            sizes["t"] = shape[0]
        return [sizes[axis] for axis in value.axes]

    # axes

    def _read_transpose(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        value: Value = inputs[0]
        order = attributes.get("perm") or list(range(len(value.axes)))[::-1]
        return dataclasses.replace(value, axes=tuple(value.axes[k] for k in order))

    def _read_squeeze(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        value: Value = inputs[0]
        sizes = self._sizes(value)
        given = inputs[1].tolist() if len(inputs) > 1 else attributes.get("axes")
        removed = [k % len(sizes) for k in given] if given else [k for k, size in enumerate(sizes) if size == 1]
        if any(sizes[k] != 1 for k in removed):
            raise _Unsupported("it removes an axis longer than 1")
        return dataclasses.replace(value, axes=tuple(axis for k, axis in enumerate(value.axes) if k not in removed))

    def _read_unsqueeze(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        value: Value = inputs[0]
        given = inputs[1].tolist() if len(inputs) > 1 else attributes["axes"]
        axes, size = list(value.axes), len(value.axes) + len(given)
        for k in sorted(k % size for k in given):
            axes.insert(k, "1")
        return dataclasses.replace(value, axes=tuple(axes))

    def _read_reshape(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        if not isinstance(inputs[1], np.ndarray):
            raise _Unsupported("its shape depends on the input")
        value, target = inputs[0], [int(size) for size in inputs[1].ravel()]
        sizes = self._sizes(value)
        target = [sizes[k] if size == 0 else size for k, size in enumerate(target)]
        if -1 in target:
            known = int(np.prod([size for size in target if size != -1]))
            target[target.index(-1)] = int(np.prod(sizes)) // known
        return self._reshape(value, target)

    def _read_flatten(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        axis = int(attributes.get("axis", 1))
        sizes = self._sizes(inputs[0])
        return self._reshape(inputs[0], [int(np.prod(sizes[:axis])), int(np.prod(sizes[axis:]))])

    def _reshape(self, value: Value, target: list[int]) -> Value:
        """Match the axes longer than 1; adjacent axes may be merged."""
        sizes = self._sizes(value)
        long = [(axis, size) for axis, size in zip(value.axes, sizes, strict=True) if size > 1]
        axes: list[str] = []
        flattened: tuple[str, ...] = ()
        has_batch = False
        for k, size in enumerate(target):
            if size == 1:
                is_batch = not has_batch and (k == 0 or ("b" in value.axes and value.axes.index("b") == k))
                axes.append("b" if is_batch else "1")
                has_batch |= is_batch
                continue
            merged: list[str] = []
            product = 1
            while product < size and long:
                axis, length = long.pop(0)
                merged.append(axis)
                product *= length
            if product != size:
                raise _Unsupported(f"it splits an axis ({sizes} to {target})")
            names = tuple(axis for axis in merged)
            if names in (("d", "c"), ("c",)):
                axes.append("c")
            elif names in (("t",), ("d",)):
                axes.append(names[0])
            elif set(names) <= {"t", "c", "d"}:
                flattened = names
                axes.append("c")
            else:
                raise _Unsupported(f"it merges the axes {names}")
        if "b" not in axes and "1" in axes:
            axes[axes.index("1")] = "b"
        directions = value.directions if "d" in axes else 1
        if not flattened:
            return dataclasses.replace(value, axes=tuple(axes), directions=directions)
        steps, channels = self._model_shape(value)
        per_direction = channels // value.directions
        lengths = {"t": steps, "c": per_direction, "d": value.directions}
        flat = np.arange(steps * channels).reshape(steps, value.directions, per_direction)  # indices of our output
        names = tuple(axis for axis in flattened)
        order = [("t", "d", "c").index(axis) for axis in names]
        rest = [k for k in range(3) if k not in order]
        assert all(lengths[("t", "d", "c")[k]] == 1 for k in rest)
        indices = flat.transpose(*order, *rest).ravel()
        is_plain = bool((indices == np.arange(len(indices))).all())
        layers = (*value.layers, Flatten())
        return Value(layers, tuple(axes), order=None if is_plain else tuple(int(k) for k in indices))

    def _select(self, value: Value, axis: int, index: int, keep: bool) -> Value:
        """Select one element of an axis."""
        label = value.axes[axis]
        axes = (
            tuple("1" if k == axis else name for k, name in enumerate(value.axes))
            if keep
            else tuple(name for k, name in enumerate(value.axes) if k != axis)
        )
        if label == "s":
            part = value.parts[index]
            return dataclasses.replace(part, axes=("1", *part.axes)) if keep else part
        if label == "t":
            steps = self._model_shape(value)[0]
            if value.directions > 1:
                raise _Unsupported("it selects a step of separate directions")
            return value.then(Step(-1 if index in (-1, steps - 1) else index % steps), axes)
        if label == "d":
            last = value.layers[-1]
            if value.directions == 1:
                return dataclasses.replace(value, axes=axes)
            assert isinstance(last, Branches)
            return Value((*value.layers[:-1], *last.branches[index]), axes)
        if label in ("b", "1") and index in (0, -1):
            return dataclasses.replace(value, axes=axes)
        raise _Unsupported(f"it selects a part of the axis {label}")

    def _read_gather(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        value, index = inputs[0], inputs[1]
        if not isinstance(value, Value) or not isinstance(index, np.ndarray) or index.size != 1:
            raise _Unsupported("it selects more than one index")
        return self._select(
            value, int(attributes.get("axis", 0)) % len(value.axes), int(index.ravel()[0]), index.ndim > 0
        )

    def _read_slice(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        value: Value = inputs[0]
        if len(inputs) > 1:
            starts, ends = inputs[1].tolist(), inputs[2].tolist()
            axes = inputs[3].tolist() if len(inputs) > 3 and inputs[3].size else list(range(len(starts)))
            steps = inputs[4].tolist() if len(inputs) > 4 and inputs[4].size else [1] * len(starts)
        else:
            starts, ends = attributes["starts"], attributes["ends"]
            axes, steps = attributes.get("axes", list(range(len(starts)))), [1] * len(starts)
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            size = self._sizes(value)[axis % len(value.axes)]
            indices = list(range(size))[slice(int(start), int(end), int(step))]
            if indices == list(range(size)):
                continue
            if indices == list(range(size))[::-1]:
                raise _Unsupported("it reverses an axis")
            if len(indices) != 1:
                raise _Unsupported(f"it selects {len(indices)} of {size} elements of an axis")
            value = self._select(value, axis % len(value.axes), indices[0], keep=True)
        return value

    # layers

    def _read_conv(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        value: Value = inputs[0]
        weight = np.asarray(inputs[1], np.float32)
        axes = tuple(axis for axis in value.axes if axis != "1")
        if axes != ("b", "c", "t") or value.order is not None:
            raise _Unsupported(f"its input has the axes {value.axes}")
        if int(attributes.get("group", 1)) != 1:
            raise _Unsupported(f"it has {attributes['group']} groups")
        spatial = value.axes[2:]
        time = spatial.index("t")
        if any(size != 1 for k, size in enumerate(weight.shape[2:]) if k != time):
            raise _Unsupported("its kernel has more than one axis")
        weight = weight.reshape(*weight.shape[:2], weight.shape[2 + time]).transpose(
            0, 2, 1
        )  # [outputs, kernel, inputs]
        stride = int(attributes.get("strides", [1] * len(spatial))[time])
        dilation = int(attributes.get("dilations", [1] * len(spatial))[time])
        pads = attributes.get("pads", [0] * 2 * len(spatial))
        padding = int(pads[time]), int(pads[len(spatial) + time])
        automatic = attributes.get("auto_pad", b"NOTSET").decode()
        if automatic in ("SAME_UPPER", "SAME_LOWER"):
            steps = self._model_shape(value)[0]
            total = max(0, (-(-steps // stride) - 1) * stride + dilation * (weight.shape[1] - 1) + 1 - steps)
            low, high = total // 2, total - total // 2
            padding = (low, high) if automatic == "SAME_UPPER" else (high, low)
        bias = (
            np.asarray(inputs[2], np.float32)
            if len(inputs) > 2 and inputs[2].size
            else np.zeros(len(weight), np.float32)
        )
        return value.then(Conv1d(weight, bias, stride, padding=padding, dilation=dilation))

    def _read_pool(self, value: Value, attributes: dict[str, Any], kind: str) -> Value:
        if tuple(axis for axis in value.axes if axis != "1") != ("b", "c", "t"):
            raise _Unsupported(f"its input has the axes {value.axes}")
        time = value.axes[2:].index("t")
        kernels = attributes["kernel_shape"]
        if any(attributes.get("pads", [])) or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise _Unsupported("it has padding")
        if any(rate != 1 for rate in attributes.get("dilations", [])):
            raise _Unsupported("it has a dilation")
        stride = int(attributes.get("strides", [1] * len(kernels))[time])
        steps = self._model_shape(value)[0]
        if attributes.get("ceil_mode") and (steps - kernels[time]) % stride:
            raise _Unsupported("its last window is incomplete (ceil_mode)")
        return value.then(Pool(kind, int(kernels[time]), stride))

    def _read_maxpool(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        return self._read_pool(inputs[0], attributes, "max")

    def _read_averagepool(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        return self._read_pool(inputs[0], attributes, "mean")

    def _reduce(self, value: Value, kind: str, axes: list[int], keep: bool) -> Value:
        if [value.axes[k] for k in axes if value.axes[k] != "1"] != ["t"] or value.directions > 1:
            raise _Unsupported(f"it reduces the axes {[value.axes[k] for k in axes]}")
        labels = [("1" if k in axes else axis) for k, axis in enumerate(value.axes)]
        return value.then(Reduce(kind), tuple(axis for k, axis in enumerate(labels) if keep or k not in axes))

    def _read_globalaveragepool(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        return self._reduce(inputs[0], "mean", list(range(2, len(inputs[0].axes))), keep=True)

    def _read_globalmaxpool(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        return self._reduce(inputs[0], "max", list(range(2, len(inputs[0].axes))), keep=True)

    def _read_reducemean(self, node: Any, inputs: list[Any], attributes: dict[str, Any], kind: str = "mean") -> Value:
        given = inputs[1].tolist() if len(inputs) > 1 else attributes.get("axes", range(len(inputs[0].axes)))
        axes = [int(k) % len(inputs[0].axes) for k in given]
        return self._reduce(inputs[0], kind, axes, bool(attributes.get("keepdims", 1)))

    def _read_reducemax(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        return self._read_reducemean(node, inputs, attributes, "max")

    def _linear(self, value: Value, weight: NDArray[Any], bias: NDArray[Any]) -> Value:
        """Add a matrix product [outputs, inputs] of the last axis."""
        if value.axes[-1] != "c" or value.directions > 1:
            raise _Unsupported(f"it multiplies the axis {value.axes[-1]}")
        weight = np.asarray(weight, np.float32)
        if value.order is not None:
            ours = np.empty_like(weight)
            ours[:, list(value.order)] = weight
            weight = ours
        return value.then(Linear(weight, np.asarray(bias, np.float32)))

    def _read_matmul(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        if not isinstance(inputs[0], Value) or not isinstance(inputs[1], np.ndarray) or inputs[1].ndim != 2:
            raise _Unsupported("it multiplies two values that depend on the input, or a matrix from the left")
        return self._linear(inputs[0], inputs[1].T, np.zeros(inputs[1].shape[1]))

    def _read_gemm(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        if not isinstance(inputs[0], Value) or not isinstance(inputs[1], np.ndarray) or attributes.get("transA"):
            raise _Unsupported("its matrix is not constant, or its input is transposed")
        weight = (inputs[1] if attributes.get("transB") else inputs[1].T) * float(attributes.get("alpha", 1.0))
        bias = np.zeros(len(weight))
        if len(inputs) > 2 and inputs[2].size:
            bias = np.broadcast_to(inputs[2].ravel() * float(attributes.get("beta", 1.0)), (len(weight),))
        return self._linear(inputs[0], weight, bias)

    def _affine(self, value: Value, scale: NDArray[Any], shift: NDArray[Any]) -> Value:
        """Multiply and add per channel; folded into a convolution or matrix before it."""
        last = value.layers[-1] if value.layers else None
        if isinstance(last, Conv1d | Linear) and value.order is None:
            factor = np.asarray(scale, np.float64)
            weight = last.weight * factor.reshape(-1, *[1] * (last.weight.ndim - 1))
            folded = dataclasses.replace(
                last, weight=weight.astype(np.float32), bias=(last.bias * factor + shift).astype(np.float32)
            )
            return dataclasses.replace(value, layers=(*value.layers[:-1], folded))
        if (scale == 0).any():
            raise _Unsupported("a factor is 0")
        mean, std = (-shift / scale).astype(np.float32), (1 / scale).astype(np.float32)
        return dataclasses.replace(value, layers=(*value.layers, Normalize(mean, std)))

    def _read_batchnormalization(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        value, (gamma, beta, mean, variance) = inputs[0], (np.asarray(v, np.float64) for v in inputs[1:5])
        if (len(value.axes) > 1 and value.axes[1] != "c") or value.order is not None:
            raise _Unsupported(f"its input has the axes {value.axes}")
        scale = gamma / np.sqrt(variance + float(attributes.get("epsilon", 1e-5)))
        return self._affine(value, scale, beta - mean * scale)

    def _per_channel(self, value: Value, constant: NDArray[Any]) -> NDArray[np.float64]:
        """Return a constant as one number per channel."""
        channels = self._model_shape(value)[-1]
        constant = np.asarray(constant, np.float64)
        if constant.size == 1:
            return np.full(channels, constant.ravel()[0])
        shape = [1] * (len(value.axes) - constant.ndim) + list(constant.shape)
        position = value.axes.index("c")
        if value.directions > 1 or value.order is not None or shape[position] != channels or constant.size != channels:
            raise _Unsupported(f"its constant {list(constant.shape)} is not per channel")
        return constant.ravel()

    def _join(self, kind: str, parts: list[Value]) -> Value:
        """Join values with a common beginning as branches."""
        prefix = 0
        while all(len(part.layers) > prefix and part.layers[prefix] is parts[0].layers[prefix] for part in parts):
            prefix += 1
        branches = tuple(part.layers[prefix:] for part in parts)
        return Value((*parts[0].layers[:prefix], Branches(kind, branches)), parts[0].axes)

    def _binary(
        self, inputs: list[Any], constant_of: Callable[[NDArray[Any]], tuple[Any, Any]], reverse: bool
    ) -> Value:
        value, constant = inputs
        if isinstance(value, np.ndarray):
            if not reverse:
                raise _Unsupported("its first input is a constant")
            value, constant = constant, value
        scale, shift = constant_of(self._per_channel(value, constant))
        return self._affine(value, scale, shift)

    def _read_add(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        if all(isinstance(value, Value) for value in inputs):
            if inputs[0].axes != inputs[1].axes or any(part.order or part.directions > 1 for part in inputs):
                raise _Unsupported("its inputs have different axes")
            return self._join("sum", inputs)
        return self._binary(inputs, lambda c: (np.ones_like(c), c), reverse=True)

    def _read_sub(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        return self._binary(inputs, lambda c: (np.ones_like(c), -c), reverse=False)

    def _read_mul(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        if all(isinstance(value, Value) for value in inputs):
            raise _Unsupported("it multiplies two values that depend on the input")
        return self._binary(inputs, lambda c: (c, np.zeros_like(c)), reverse=True)

    def _read_div(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        return self._binary(inputs, lambda c: (1 / c, np.zeros_like(c)), reverse=False)

    def _read_concat(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        if not all(
            isinstance(value, Value) and value.axes == inputs[0].axes and value.order is None for value in inputs
        ):
            raise _Unsupported("its inputs have different axes or are constants")
        axis = int(attributes["axis"]) % len(inputs[0].axes)
        label = inputs[0].axes[axis]
        if label == "c" and inputs[0].directions == 1:
            return self._join("concat", inputs)
        if label in ("d", "1") and axis == 0:  # final states of several recurrent layers
            parts: list[Value] = []
            for value in inputs:
                rest = dataclasses.replace(value, axes=value.axes[1:])
                for k in range(value.directions):
                    parts.append(self._select(value, 0, k, keep=False) if value.directions > 1 else rest)
            return Value((), ("s", *parts[0].axes), parts=tuple(parts))
        raise _Unsupported(f"it joins the axis {label}")

    def _read_softmax(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Value:
        value: Value = inputs[0]
        axis = int(attributes.get("axis", -1 if self._opset >= 13 else 1)) % len(value.axes)
        if value.axes[axis] != "c":
            raise _Unsupported(f"it normalizes the axis {value.axes[axis]}")
        self.softmax_outputs.add(node.output[0])
        return value

    def _read_lstm(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
        return self._recurrent(node, inputs, attributes, 4, [b"Sigmoid", b"Tanh", b"Tanh"])

    def _read_gru(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> list[Value]:
        return self._recurrent(node, inputs, attributes, 3, [b"Sigmoid", b"Tanh"])

    def _recurrent(
        self, node: Any, inputs: list[Any], attributes: dict[str, Any], gates: int, functions: list[bytes]
    ) -> list[Value]:
        value = inputs[0]
        layout = int(attributes.get("layout", 0))
        if value.axes != (("t", "b", "c") if layout == 0 else ("b", "t", "c")) or value.directions > 1 or value.order:
            raise _Unsupported(f"its input has the axes {value.axes}")
        if "clip" in attributes or int(attributes.get("input_forget", 0)):
            raise _Unsupported("it has a clip or coupled gates")
        direction = attributes.get("direction", b"forward").decode()
        count = 2 if direction == "bidirectional" else 1
        if (given := attributes.get("activations")) and [name.lower() for name in given] != [
            name.lower() for name in functions * count
        ]:
            raise _Unsupported("it has other activations than sigmoid and tanh")
        rest: list[Any] = [np.zeros(0) if len(inputs) <= k else inputs[k] for k in range(8)]
        if not all(isinstance(part, np.ndarray) for part in rest[1:]):
            raise _Unsupported("its weights or initial states depend on the input")
        if rest[2].shape[1] != gates * rest[2].shape[2]:
            raise _Unsupported("it has a projection, or its recurrent weights are not square")
        if rest[5].any() or rest[6].any():
            raise _Unsupported("its initial state is not zero")
        if rest[7].any():
            raise _Unsupported("it has peepholes")
        steps = self._model_shape(value)[0]
        if rest[4].size and (rest[4] != steps).any():
            raise _Unsupported("its sequence length is not that of the window")
        before = bool(int(attributes.get("linear_before_reset", 0)))
        branches: list[tuple[Recurrent, Recurrent]] = []
        for k in range(count):
            weight, recurrent = rest[1][k], rest[2][k]
            bias = rest[3][k] if rest[3].size else np.zeros(2 * len(weight), np.float32)
            layer = _lstm_layer(weight, recurrent, bias) if gates == 4 else _gru_layer(weight, recurrent, bias, before)
            backward = direction == "reverse" or k == 1
            branches.append((Recurrent(layer, backward), Recurrent(layer, backward, sequence=False)))

        def output(position: int, axes: tuple[str, ...]) -> Value:
            parts = [pair[position] for pair in branches]
            if count == 1:
                return Value((*value.layers, parts[0]), axes)
            return Value((*value.layers, Branches("concat", tuple((part,) for part in parts))), axes, directions=2)

        if layout:
            return [output(0, ("b", "t", "d", "c")), output(1, ("b", "d", "c"))]
        return [output(0, ("t", "d", "b", "c")), output(1, ("d", "b", "c"))]


def _lstm_layer(weight: Constant, recurrent: Constant, bias: Constant) -> LstmLayer:
    """Reorder ONNX's gates i, o, f, c, and add up the two biases."""

    def order(values: Constant) -> Constant:
        i, o, f, c = np.split(np.asarray(values, np.float32), 4)
        return np.concatenate([i, f, c, o])

    first, second = np.split(np.asarray(bias, np.float64), 2)
    return LstmLayer(order(weight), order(recurrent), order(first + second))


def _gru_layer(weight: Constant, recurrent: Constant, bias: Constant, reset_after: bool) -> GruLayer:
    """Reorder ONNX's gates z, r, h; the recurrent bias of the candidate stays apart if the reset comes after it."""

    def order(values: Constant) -> Constant:
        z, r, h = np.split(np.asarray(values, np.float32), 3)
        return np.concatenate([r, z, h])

    first, second = (order(part) for part in np.split(np.asarray(bias, np.float32), 2))
    hidden = recurrent.shape[1]
    recurrent_bias = np.zeros(hidden, np.float32)
    if reset_after:
        recurrent_bias, second = second[2 * hidden :].copy(), second.copy()
        second[2 * hidden :] = 0
    return GruLayer(order(weight), order(recurrent), first + second, recurrent_bias, reset_after, False)


def _compare(network: Network, model: Any, where: str, axes: tuple[str, ...], softmax: set[str]) -> None:
    """Compare the imported network with the original in ONNX Runtime on random windows. Raises InputError."""
    import onnxruntime

    from harexport.model.network import softmax as to_probabilities

    windows = np.random.default_rng(0).normal(size=(8, network.window, network.num_channels)).astype(np.float32)
    expected = network.logits(windows)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (source,), output = session.get_inputs(), session.get_outputs()[0].name
        order = [("b", "t", "c").index(axis) for axis in axes]
        found = np.concatenate(
            [
                np.ravel(session.run([output], {source.name: window[None].transpose(order)})[0])[None]
                for window in windows
            ]
        )
    except Exception as error:
        raise InputError(f"{where}: ONNX Runtime cannot run it: {str(error).splitlines()[0]}") from error
    if output in softmax:
        expected = to_probabilities(expected)
    difference = float(np.abs(found - expected).max())
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise InputError(
            f"{where}: the imported network differs from the original by {difference:.2g}; please report it"
        )
