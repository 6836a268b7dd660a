"""Reads .tflite files. The generated FlatBuffers reader does not check offsets, so all values are validated here."""

from __future__ import annotations

import contextlib
import io
import itertools
import zipfile
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.formats import op_versions, tflite_metadata
from harexport.formats.model_file import (
    Graph,
    ModelFile,
    Operator,
    Role,
    Signature,
    Tensor,
    break_down_size,
    to_printable,
    to_quantization,
    unique_constants,
)
from harexport.formats.tflite_builder import IDENTIFIER, OPERATOR_NAMES
from harexport.utils.files import parse_json

_TYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if not name.startswith("_")}
_BODIES = (
    "condSubgraphIndex", "bodySubgraphIndex", "thenSubgraphIndex", "elseSubgraphIndex", "initSubgraphIndex", "subgraph",
)  # fmt: skip
# Fields of a table that are vectors: shape and name; inputs and outputs.
_VECTORS = {schema.Tensor: (4, 10), schema.Operator: (6, 8)}
_MAX_SHARING = 8  # of the file's size; converters share names and shapes, but few
_NUMPY = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def read(model: bytes, where: str) -> ModelFile:
    """Parse a .tflite file.

    Args:
        model: Content of the file.
        where: Name of the file in error messages.

    Raises:
        InputError: The file is damaged.
    """
    file = unpack(model, where)
    try:
        return _parse(file, model, where)
    except InputError:
        raise
    except Exception as error:  # invalid indices, names or JSON in a damaged file
        raise InputError(f"{where} is damaged ({type(error).__name__}: {error}); get or export it again") from error


def unpack(model: bytes, where: str) -> Any:
    """Unpack a .tflite file into the schema's objects.

    Args:
        model: Content of the file.
        where: Name of the file in error messages.

    Returns:
        A schema.ModelT.

    Raises:
        InputError: The bytes are not a complete .tflite file.
    """
    _check_identifier(model, where)
    try:
        is_too_large = _unpacked_size(model, _MAX_SHARING * len(model)) > _MAX_SHARING * len(model)
    except Exception as error:  # as below
        raise InputError(f"{where} is damaged: it cannot be read as a .tflite file; export it again") from error
    if is_too_large:
        raise InputError(f"{where} is damaged: its tables share their content many times; get or export it again")
    try:
        return schema.ModelT.InitFromPackedBuf(model, 0)
    except Exception as error:  # the generated reader does not check offsets: struct.error, IndexError, ...
        raise InputError(f"{where} is damaged: it cannot be read as a .tflite file; export it again") from error


def _unpacked_size(model: bytes, limit: int) -> int:
    """The bytes that unpacking visits, counted up to a limit. They exceed the file's where offsets share tables."""
    file = schema.Model.GetRootAs(model, 0)
    size: int = 0
    for k in range(file.SubgraphsLength()):
        graph = file.Subgraphs(k)
        size += 4 * (graph.TensorsLength() + graph.OperatorsLength())
        items = itertools.chain(
            map(graph.Tensors, range(graph.TensorsLength())), map(graph.Operators, range(graph.OperatorsLength()))
        )
        for item in items:
            if size > limit:
                return size
            size += sum(_vector_bytes(item._tab, field) for field in _VECTORS[type(item)])
    return size


def _vector_bytes(table: Table, field: int) -> int:
    offset = table.Offset(field)
    return 4 + table.VectorLen(offset) if offset else 0


def read_metadata(model: bytes, where: str) -> dict[str, Any]:
    """Read the metadata entry "harexport" without unpacking the rest of the file.

    Args:
        model: Content of the file.
        where: Name of the file in error messages.

    Returns:
        {"contract": ..., "metadata": {...}}; None and an empty dictionary for a file of another tool.

    Raises:
        InputError: The file is damaged.
    """
    _check_identifier(model, where)
    try:
        file = schema.Model.GetRootAs(model, 0)
        for k in range(file.MetadataLength()):
            entry = file.Metadata(k)
            if entry.Name() == tflite_metadata.HAREXPORT_ENTRY.encode():
                text = file.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
                facts: dict[str, Any] = parse_json(text, "its metadata")
                if "contract" not in facts or not all(isinstance(text, str) for text in facts["metadata"].values()):
                    raise ValueError("not written by an export")
                return facts
    except Exception as error:  # the generated reader does not check offsets: struct.error, IndexError, ...
        raise InputError(f"{where} is damaged: its metadata cannot be read; export it again") from error
    return {"contract": None, "metadata": {}}


def has_variables(model: bytes) -> bool:
    """Return whether a valid file has variable tensors, which keep their values between invocations."""
    file = schema.Model.GetRootAs(model, 0)
    graphs = (file.Subgraphs(k) for k in range(file.SubgraphsLength()))
    return any(graph.Tensors(k).IsVariable() for graph in graphs for k in range(graph.TensorsLength()))


def persistent_variables(model: bytes) -> list[int]:
    """Return the variable tensors of a valid file's main graph that no operator overwrites."""
    graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    operators = (graph.Operators(k) for k in range(graph.OperatorsLength()))
    written = {operator.Outputs(k) for operator in operators for k in range(operator.OutputsLength())}
    return [k for k in range(graph.TensorsLength()) if graph.Tensors(k).IsVariable() and k not in written]


def operator_name(code: Any) -> str:
    """Return the name in schema.fbs of a schema.OperatorCodeT."""
    # files before TensorFlow Lite 2.4 have the one-byte field only
    return OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def buffer_data(model: Any, buffer: int) -> NDArray[np.uint8]:
    """Return the bytes of a buffer of a schema.ModelT; an empty array if it has none."""
    data = model.buffers[buffer].data
    return np.zeros(0, np.uint8) if data is None else np.asarray(data, dtype=np.uint8)


def _check_identifier(model: bytes, where: str) -> None:
    if model[4:8] != IDENTIFIER:
        raise InputError(f"{where} is not a .tflite file: the identifier TFL3 is missing")


def _parse(file: Any, model: bytes, where: str) -> ModelFile:
    if not file.subgraphs:
        raise InputError(f"{where} is damaged: it has no graph; get or export it again")
    payloads = [_payload(buffer, model) for buffer in file.buffers or []]
    graphs = tuple(_graph(file, graph, payloads) for graph in file.subgraphs)
    entries = {to_printable(entry.name): payloads[entry.buffer] for entry in file.metadata or []}
    attached, attached_size = _attached(model)
    contract, strings = _harexport_metadata(entries, where)
    if contract is not None and tflite_metadata.TFLITE_METADATA in entries and not tflite_metadata.is_complete(model):
        raise InputError(f"{where} is truncated: its label files are missing; get or export it again")
    constants = unique_constants(graphs)
    described = {entry.buffer for entry in file.metadata or []} - {tensor.storage for tensor in constants}
    metadata_size = sum(len(payloads[buffer]) for buffer in described)
    kinds = {(op.kind, op.version) for graph in graphs for op in graph.ops if not op.custom}
    declared = {"schema": str(file.version)}
    if runtime := entries.get("min_runtime_version", b"").rstrip(b"\0"):
        declared["min_runtime_version"] = to_printable(runtime)
    signatures = tuple(_signature(entry, graphs) for entry in file.signatureDefs or [])
    return ModelFile(
        name=where,
        format="tflite",
        size_bytes=len(model),
        graphs=graphs,
        signatures=signatures,
        description=to_printable(file.description),
        about=_about(entries),
        metadata=strings,
        contract=contract,
        versions=declared,
        min_runtime=("TensorFlow Lite", op_versions.min_tflite(kinds)),
        size_breakdown=break_down_size(len(model), constants, metadata_size, attached_size),
        attached=attached,
    )


def _payload(buffer: Any, model: bytes) -> bytes:
    if buffer.data is not None and len(buffer.data):
        return np.asarray(buffer.data, dtype=np.uint8).tobytes()
    offset, size = getattr(buffer, "offset", 0), getattr(buffer, "size", 0)
    return model[offset : offset + size] if offset > 1 else b""  # models above 2 GB store constants after the graph


def _graph(file: Any, graph: Any, payloads: list[bytes]) -> Graph:
    inputs, outputs = _indices(graph.inputs), _indices(graph.outputs)
    tensors = tuple(_tensor(k, tensor, payloads, inputs, outputs) for k, tensor in enumerate(graph.tensors or []))
    ops = tuple(_op(record, file.operatorCodes[record.opcodeIndex]) for record in graph.operators or [])
    used = [*inputs, *outputs, *(k for op in ops for k in (*op.inputs, *op.outputs))]
    bodies = [body for op in ops for body in op.bodies]
    if any(not -1 <= k < len(tensors) for k in used) or any(not 0 <= k < len(file.subgraphs) for k in bodies):
        raise ValueError("an index is out of range")
    return Graph(to_printable(graph.name), tensors, ops, inputs, outputs)


def _tensor(k: int, tensor: Any, payloads: list[bytes], inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Tensor:
    data = payloads[tensor.buffer]
    role: Role = "activation"
    if tensor.isVariable:
        role = "variable"
    elif data:
        role = "constant"
    elif k in inputs:
        role = "input"
    elif k in outputs:
        role = "output"
    sizes = _indices(tensor.shape)
    signature = _indices(tensor.shapeSignature)  # -1: a dynamic axis
    shape = tuple("?" if size == -1 else known for size, known in zip(signature or sizes, sizes, strict=False))
    dtype = _TYPES[tensor.type]
    found = tensor.quantization
    return Tensor(
        name=to_printable(tensor.name),
        shape=shape,
        dtype=dtype,
        role=role,
        size_bytes=len(data) if role == "constant" else 0,
        storage=tensor.buffer if role == "constant" else None,
        quantization=to_quantization(found.scale, found.zeroPoint, found.quantizedDimension) if found else None,
        values=_values(data, dtype, sizes) if role == "constant" else None,
    )


def _values(data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
    if dtype not in _NUMPY:
        return None
    kind = np.dtype(dtype).newbyteorder("<")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    return np.frombuffer(data, kind).reshape(shape) if count * kind.itemsize == len(data) else None


def _op(record: Any, code: Any) -> Operator:
    kind = operator_name(code)
    custom = kind == "CUSTOM"
    kind = to_printable(code.customCode) or kind if custom else kind
    options = {
        name: option
        for name, option in (vars(record.builtinOptions) if record.builtinOptions else {}).items()
        if isinstance(option, bool | int | float)
    }
    bodies = tuple(int(options[name]) for name in _BODIES if name in options)
    return Operator(kind, int(code.version), _indices(record.inputs), _indices(record.outputs), options, bodies, custom)


def _indices(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(value) for value in values)


def _signature(entry: Any, graphs: tuple[Graph, ...]) -> Signature:
    index = int(entry.subgraphIndex)
    inputs, outputs = (
        {to_printable(item.name): int(item.tensorIndex) for item in maps or []}
        for maps in (entry.inputs, entry.outputs)
    )
    if not all(0 <= k < len(graphs[index].tensors) for k in (*inputs.values(), *outputs.values())):
        raise ValueError("a signature has an index out of range")
    return Signature(to_printable(entry.signatureKey), index, inputs, outputs)


def _harexport_metadata(entries: dict[str, bytes], where: str) -> tuple[Any, dict[str, str]]:
    """Return contract and metadata of an export; None and an empty dictionary for files of other tools."""
    if tflite_metadata.HAREXPORT_ENTRY not in entries:
        return None, {}
    facts = parse_json(entries[tflite_metadata.HAREXPORT_ENTRY].decode(), f"the metadata of {where}")
    return facts["contract"], {str(key): str(value) for key, value in facts["metadata"].items()}


def _about(entries: dict[str, bytes]) -> dict[str, str]:
    """Return the standard metadata fields that can be read. They are not needed to run the model."""
    found: dict[str, str] = {}
    with contextlib.suppress(Exception):  # FlatBuffers readers do not check offsets
        # ModelMetadata of LiteRT's metadata_schema.fbs
        table = _root(entries[tflite_metadata.TFLITE_METADATA])
        for position, name in enumerate(("name", "description", "version", "", "author", "license")):
            if name and (text := _string(table, position)):
                found[name] = text
    with contextlib.suppress(Exception):
        # ConversionMetadata of TensorFlow's conversion_metadata.fbs: environment.tensorflow_version
        table = _root(entries["CONVERSION_METADATA"])
        environment = Table(table.Bytes, table.Indirect(table.Pos + table.Offset(4)))
        found["converted by"] = f"TensorFlow {_string(environment, 0)}"
    return found


def _root(data: bytes) -> Table:
    return Table(data, int(np.frombuffer(data, "<u4", 1)[0]))


def _string(table: Table, position: int) -> str:
    offset = table.Offset(4 + 2 * position)
    return to_printable(table.String(table.Pos + offset)) if offset else ""


def _attached(model: bytes) -> tuple[tuple[str, ...], int]:
    """Return the names of the files in an appended zip archive (such as labels.txt), and the size of the archive."""
    end = model.rfind(b"PK\x05\x06")
    if end < 0:
        return (), 0
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError):
        return (), 0  # bytes of a weight that look like an archive
    if not entries:
        return (), 0
    return tuple(to_printable(entry.filename) for entry in entries), len(model) - min(e.header_offset for e in entries)
