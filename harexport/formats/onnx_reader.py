"""Reads .onnx files, with the shapes that ONNX's own inference finds."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, numpy_helper

from harexport.errors import InputError
from harexport.formats import op_versions
from harexport.formats.model_file import (
    Graph,
    ModelFile,
    Operator,
    Role,
    Size,
    Tensor,
    break_down_size,
    to_printable,
    to_quantization,
    unique_constants,
)
from harexport.model.contract import CONTRACT_KEY
from harexport.utils.files import parse_json

_TYPES = {number: name.lower() for name, number in TensorProto.DataType.items()} | {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
}
_STANDARD = ("", "ai.onnx", "ai.onnx.ml")


def read(
    model: bytes, where: str, folder: Path | None = None, checked: tuple[str | None, bytes] | None = None
) -> ModelFile:
    """Parse a .onnx file.

    Args:
        model: Content of the file.
        where: Name of the file in error messages.
        folder: Folder of files with external weights.
        checked: Result of `check`; None to run it here.

    Raises:
        InputError: The file is damaged or no .onnx file.
    """
    file = _load(model, where)
    problem, inferred = checked or check(model, where)
    try:
        with_shapes = onnx.load_from_string(inferred) if inferred else file
        return _parse(file, with_shapes, problem, model, where, folder)
    except InputError:
        raise
    except Exception as error:  # invalid types, attributes or JSON in a damaged file
        raise InputError(f"{where} is damaged ({type(error).__name__}: {error}); get or export it again") from error


def check(model: bytes, where: str) -> tuple[str | None, bytes]:
    """Run ONNX's checker, inliner and shape inference, which are native code.

    Args:
        model: Content of the file.
        where: Name of the file in error messages.

    Returns:
        The checker's message, None if there is none; the model with inlined functions and inferred shapes, empty bytes
        if that fails.

    Raises:
        InputError: The file is damaged or no .onnx file.
    """
    file = _load(model, where)
    problem = None
    try:
        onnx.checker.check_model(file)
    except Exception as error:  # onnx's ValidationError, protobuf's EncodeError
        problem = to_printable(str(error).split("\n\n")[0].replace("\n", " "))[:200]
    return problem, _infer_shapes(file)


def _load(model: bytes, where: str) -> Any:
    try:
        file = onnx.load_from_string(model)
    except Exception as error:  # protobuf's DecodeError
        raise InputError(f"{where} is damaged or not a .onnx file; get or export it again") from error
    if not file.graph.node or not file.opset_import:
        what = "operators" if not file.graph.node else "opset"
        raise InputError(f"{where} is damaged or not a .onnx file: it has no {what}; get or export it again")
    return file


def _parse(
    file: Any, with_shapes: Any, problem: str | None, model: bytes, where: str, folder: Path | None
) -> ModelFile:
    reader = _Reader(folder)
    reader.graph(with_shapes.graph, {})
    graphs = tuple(reader.graphs)
    strings = {to_printable(entry.key): entry.value for entry in file.metadata_props}
    contract = None
    with contextlib.suppress(KeyError, InputError):  # a contract that is no JSON remains a string of the metadata
        contract = parse_json(strings[CONTRACT_KEY], where)
        del strings[CONTRACT_KEY]
    opsets = {entry.domain if entry.domain != "ai.onnx" else "": entry.version for entry in file.opset_import}
    producer = f"{file.producer_name} {file.producer_version}".strip()
    declared = {"opset": str(opsets.pop("", 0)), "ir": str(file.ir_version)}
    declared |= {f"opset {to_printable(domain)}": str(version) for domain, version in opsets.items()}
    metadata_size = sum(entry.ByteSize() for entry in file.metadata_props)
    inside = tuple(tensor for tensor in unique_constants(graphs) if tensor.storage not in reader.outside)
    return ModelFile(
        name=where,
        format="onnx",
        size_bytes=len(model),
        graphs=graphs,
        signatures=(),
        description=to_printable(file.doc_string or file.graph.doc_string),
        about={"made by": to_printable(producer)} if producer else {},
        metadata={key: to_printable(value) for key, value in strings.items()},
        contract=contract,
        versions=declared,
        min_runtime=("ONNX Runtime", op_versions.min_onnx_runtime(int(declared["opset"]), file.ir_version)),
        size_breakdown=break_down_size(len(model), inside, metadata_size, 0),
        external=reader.external,
        problem=problem,
    )


def _infer_shapes(file: Any) -> bytes:
    """Return the model with inlined functions and inferred shapes; empty if that fails.

    ONNX's shape inference stops at ONNX Runtime's quantized LSTM; for the inference, an LSTM replaces it.
    """
    inlined = b""
    try:
        if file.functions:
            file = onnx.inliner.inline_local_functions(file)
            inlined = bytes(file.SerializeToString())
        standard = onnx.ModelProto()
        standard.CopyFrom(file)
        for node in standard.graph.node:
            if (node.domain, node.op_type) == ("com.microsoft", "DynamicQuantizeLSTM"):
                node.domain, node.op_type = "", "LSTM"
                del node.input[8:]  # scales and zero points
        inferred = onnx.shape_inference.infer_shapes(standard, data_prop=True)
        for node, original in zip(inferred.graph.node, file.graph.node, strict=True):
            if original.domain:
                node.CopyFrom(original)
        return bytes(inferred.SerializeToString())
    except Exception:  # InferenceError, or ValueError above 2 GB; MACs are then counted from the known shapes
        return inlined


class _Reader:
    """Converts graphs: tensors get indices instead of names, and nested graphs become a list.

    Attributes:
        graphs: Converted graphs, the main graph first.
        external: As in ModelFile.
        outside: Storage identifiers of external tensors.
    """

    def __init__(self, folder: Path | None) -> None:
        self.graphs: list[Graph] = []
        self.external: dict[str, int | None] = {}
        self.outside: set[int] = set()
        self._folder = folder
        self._count = 0

    def graph(self, graph: Any, around: dict[str, Tensor]) -> int:
        """Convert a graph and its nested graphs.

        Args:
            graph: An onnx.GraphProto.
            around: Tensors of the enclosing graphs by name.

        Returns:
            The index of the graph.
        """
        number = len(self.graphs)
        self.graphs.append(Graph("", (), (), (), ()))  # a placeholder, so that the main graph is the first
        tensors: dict[str, Tensor] = {}
        for tensor in graph.initializer:
            tensors[tensor.name] = self._constant(tensor, tensor.name)
        for sparse in graph.sparse_initializer:
            tensors[sparse.values.name] = self._constant(sparse.values, sparse.values.name)
        inputs = [value.name for value in graph.input if value.name not in tensors]
        described: tuple[tuple[Role, Any], ...] = (
            ("input", graph.input),
            ("output", graph.output),
            ("activation", graph.value_info),
        )
        for role, values in described:
            for value in values:
                tensors.setdefault(value.name, _value(value, role))
        used: dict[str, None] = dict.fromkeys(tensors)
        ops = []
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    tensors[node.output[0]] = self._constant(attribute.t, node.output[0])
            for name in (*node.input, *node.output):
                if name and name not in tensors:
                    tensors[name] = around.get(name, Tensor(to_printable(name), ("?",), "unknown", "activation"))
                used.setdefault(name)
        used.pop("", None)
        _set_quantization(graph.node, tensors)
        numbers = {name: k for k, name in enumerate(used)}
        scope = {**around, **tensors}
        for node in graph.node:
            ops.append(self._op(node, numbers, scope))
        self.graphs[number] = Graph(
            to_printable(graph.name),
            tuple(tensors[name] for name in used),
            tuple(ops),
            tuple(numbers[name] for name in inputs),
            tuple(numbers[value.name] for value in graph.output),
        )
        return number

    def _op(self, node: Any, numbers: dict[str, int], scope: dict[str, Tensor]) -> Operator:
        options: dict[str, Any] = {}
        bodies = []
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                bodies.append(self.graph(attribute.g, scope))
            elif attribute.type in (AttributeProto.INT, AttributeProto.FLOAT, AttributeProto.INTS):
                value = onnx.helper.get_attribute_value(attribute)
                options[attribute.name] = tuple(value) if attribute.type == AttributeProto.INTS else value
            elif attribute.type == AttributeProto.STRING:
                options[attribute.name] = to_printable(attribute.s)
        custom = node.domain not in _STANDARD
        return Operator(
            kind=to_printable(f"{node.domain}.{node.op_type}" if custom else node.op_type),
            version=0,
            inputs=tuple(numbers.get(name, -1) for name in node.input),
            outputs=tuple(numbers.get(name, -1) for name in node.output),
            options=options,
            bodies=tuple(bodies),
            custom=custom,
        )

    def _constant(self, tensor: Any, name: str) -> Tensor:
        self._count += 1
        shape: tuple[Size, ...] = tuple(int(size) for size in tensor.dims)
        dtype = _TYPES.get(tensor.data_type, "unknown")
        if tensor.data_location == TensorProto.EXTERNAL:
            self.outside.add(self._count)
            data = self._read_external(tensor)
            inside = TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=data)
            return Tensor(to_printable(name), shape, dtype, "constant", len(data), self._count, values=_values(inside))
        size = len(tensor.raw_data) or tensor.ByteSize()
        return Tensor(to_printable(name), shape, dtype, "constant", size, self._count, values=_values(tensor))

    def _read_external(self, tensor: Any) -> bytes:
        """Return the bytes of a tensor in another file of the same folder; empty if the file cannot be read."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        self.external.setdefault(location, 0)
        try:
            if self._folder is None or Path(location).name != location:
                raise OSError("not a file of this folder")
            if not (self._folder / location).is_file():  # a link to a device would never end
                raise OSError("not a regular file")
            with (self._folder / location).open("rb") as opened:
                opened.seek(int(entries.get("offset", 0)))
                data: bytes = opened.read(int(entries.get("length", -1)))
        except (OSError, ValueError):
            self.external[location] = None
            return b""
        known = self.external[location]
        self.external[location] = None if known is None else known + len(data)
        return data


def _value(value: Any, role: Role) -> Tensor:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        shape: tuple[Size, ...] = ("?",)
    else:
        shape = tuple(
            int(size.dim_value) if size.HasField("dim_value") else to_printable(size.dim_param) or "?"
            for size in kind.shape.dim
        )
    return Tensor(to_printable(value.name), shape, _TYPES.get(kind.elem_type, "unknown"), role)


def _values(tensor: Any) -> NDArray[Any] | None:
    try:
        values: NDArray[Any] = numpy_helper.to_array(tensor)
    except Exception:  # bytes that do not fit the shape, types that NumPy does not have
        return None
    return values


def _set_quantization(nodes: Any, tensors: dict[str, Tensor]) -> None:
    """Set the quantization of constants that a DequantizeLinear reads."""
    for node in nodes:
        if node.op_type != "DequantizeLinear" or len(node.input) < 2:
            continue
        held, scale = tensors.get(node.input[0]), tensors.get(node.input[1])
        if held is None or scale is None or scale.values is None or held.role != "constant":
            continue
        zero = tensors[node.input[2]].values if len(node.input) > 2 and node.input[2] in tensors else None
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        found = to_quantization(np.ravel(scale.values), zero, int(axis))
        tensors[node.input[0]] = dataclasses.replace(held, quantization=found)
