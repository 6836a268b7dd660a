"""Reads an ONNX graph: folds constants, and follows the input node by node."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from harexport.errors import InputError
from harexport.importers.loops import read_loop
from harexport.importers.nodes import AXES, LAYERS, PASS_THROUGH, Node
from harexport.importers.values import Constant, UnsupportedError, Value

_QUANTIZED = re.compile(r"quantize|^qlinear|integer$|^qattention", re.IGNORECASE)
_AFTER_SOFTMAX = (*PASS_THROUGH, "Reshape", "Squeeze", "Flatten")
_LAYOUTS = (("b", "t", "c"), ("b", "c", "t"), ("t", "b", "c"))
_GROWING = ("ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile")  # an input is the output's size
_MAX_CONSTANT = 50_000_000  # values of a folded constant


@dataclass(frozen=True)
class Graph:
    """The layers of an ONNX graph.

    Attributes:
        window: Samples and channels of the input.
        axes: Labels of the axes of the input, see values.py.
        output_name: Name of the first output, which was read.
        output: "logits", "probabilities" or "log-probabilities".
        value: The layers of the logits.
    """

    window: tuple[int, int]
    axes: tuple[str, ...]
    output_name: str
    output: str
    value: Value


def read_graph(model: Any, where: str, num_channels: int | None) -> Graph:
    """Return the layers of an onnx.ModelProto.

    Args:
        model: The model, with its weights.
        where: Its name in error messages.
        num_channels: Number of channels; None: unknown. Of several possible orders of the axes, the first one is chosen
            for which all nodes can be imported.

    Raises:
        InputError: A node or the input is not supported.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InputError(f"{where} has {len(inputs)} inputs ({names}); only models with one input are supported")
    first_error: InputError | None = None
    for axes, window in _input_layouts(inputs[0], where, num_channels):
        try:
            return _read(model, where, axes, window, inputs[0].name)
        except InputError as error:
            first_error = first_error or error
    assert first_error
    raise first_error


def _input_layouts(value: Any, where: str, num_channels: int | None) -> list[tuple[tuple[str, ...], tuple[int, int]]]:
    """Return the possible labels of the axes of the input, each with the number of samples and channels."""
    sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in value.type.tensor_type.shape.dim]
    if len(sizes) != 3:
        raise InputError(f"{where}: the input {value.name} has {len(sizes)} axes; windows have three")
    found: list[tuple[tuple[str, ...], tuple[int, int]]] = []
    for axes in _LAYOUTS:
        named = dict(zip(axes, sizes, strict=True))
        if named["b"] in (0, 1) and named["t"] > 1 and named["c"] > 0 and num_channels in (None, named["c"]):
            found.append((axes, (int(named["t"]), int(named["c"]))))
    if not found:
        shape = [size or "dynamic" for size in sizes]
        expected = f"{num_channels} channels as in its contract" if num_channels else "a fixed number of channels"
        raise InputError(
            f"{where}: the input {value.name} has the shape {shape}; a window needs a fixed number of steps, "
            f"{expected}, and a batch of 1 or a dynamic one"
        )
    return found


def _read(model: Any, where: str, axes: tuple[str, ...], window: tuple[int, int], name: str) -> Graph:
    graph = model.graph
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    found: dict[str, Value | Constant | None] = {"": None, name: Value(window, (), axes)}
    found |= {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    outputs = dict.fromkeys([name], "logits")
    for node in graph.node:
        try:
            kind = _output_kind(node, outputs)
            results = _read_node(node, found, opset)
        except UnsupportedError as error:
            raise _rejection(where, node, str(error)) from None
        except Exception as error:  # a node with inputs or attributes that no exporter writes
            reason = str(error) if isinstance(error, InputError) else f"its inputs are invalid ({type(error).__name__})"
            raise _rejection(where, node, reason) from error
        for output, value in zip(node.output, results, strict=False):
            found[output], outputs[output] = value, kind
    output = graph.output[0].name
    logits = found.get(output)
    if not isinstance(logits, Value):
        raise InputError(f"{where}: the output {output} does not depend on the input; a classifier is needed")
    if logits.labels != ("b", "c") or not logits.is_plain:
        raise InputError(
            f"{where}: the output {output} has the shape {logits.sizes()}; a classifier has one logit per label"
        )
    return Graph(window, axes, output, outputs[output], logits)


def _output_kind(node: Any, outputs: dict[str, str]) -> str:
    """Return what the outputs of a node are: "logits", or "probabilities" or "log-probabilities" after a Softmax."""
    kinds = {outputs.get(name, "logits") for name in node.input} - {"logits"}
    if not kinds:
        return {"Softmax": "probabilities", "LogSoftmax": "log-probabilities"}.get(node.op_type, "logits")
    if node.op_type not in _AFTER_SOFTMAX:
        raise UnsupportedError("its input is a Softmax, which is supported at the end only")
    return kinds.pop()


def _read_node(node: Any, found: dict[str, Value | Constant | None], opset: int) -> list[Any]:
    """Return the outputs of a node."""
    if _QUANTIZED.search(node.op_type):
        raise UnsupportedError("quantized models cannot be imported; import the float32 model")
    if node.domain not in ("", "ai.onnx"):
        raise UnsupportedError(f"its domain is {node.domain}; supported are standard operators of ONNX")
    if node.op_type == "Loop":
        return list(read_loop(node, found))
    inputs = tuple(found[name] for name in node.input)
    if not any(isinstance(value, Value) for value in inputs):
        return _fold(node, found, opset)
    if node.op_type == "Shape":
        assert isinstance(inputs[0], Value)
        return _fold(node, {**found, node.input[0]: np.zeros(inputs[0].sizes(), np.bool_)}, opset)
    reader = AXES.get(node.op_type) or LAYERS.get(node.op_type)
    if reader is None:
        raise UnsupportedError(f"supported are {', '.join(LAYERS)}")
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    result = reader(Node(node.op_type, inputs, attributes, opset))
    return result if isinstance(result, list) else [result]


def _fold(node: Any, found: dict[str, Value | Constant | None], opset: int) -> list[Constant]:
    """Evaluate a node on constants."""
    from onnx.reference import ReferenceEvaluator

    feeds = {name: np.asarray(found[name]) for name in node.input if name}
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
        for name, value in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "constant", values, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    if node.op_type in _GROWING and any(
        np.prod(np.abs(value), dtype=float) > _MAX_CONSTANT
        for value in feeds.values()
        if value.dtype.kind in "iu" and value.size < 16
    ):
        raise UnsupportedError("its output is too large")
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # the evaluator's errors share no base class
        raise UnsupportedError(f"it cannot be evaluated ({type(error).__name__})") from error
    return [np.asarray(value) for value in results]


def _rejection(where: str, node: Any, reason: str) -> InputError:
    name = f" {node.name}" if node.name else ""
    return InputError(f"{where}: the {node.op_type} node{name} is not supported: {reason}")
