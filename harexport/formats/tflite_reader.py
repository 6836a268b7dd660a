"""A .tflite file -> Contents. The generated reader follows offsets blindly: nothing here trusts what it answers."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.formats import op_versions, tflite_builder, tflite_metadata
from harexport.formats.model_file import (
    Contents,
    Graph,
    Op,
    Role,
    Signature,
    Tensor,
    parts_of,
    quantised,
    readable,
    stored,
)

IDENTIFIER = b"TFL3"
_TYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if not name.startswith("_")}
_CODES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_BODIES = (
    "condSubgraphIndex", "bodySubgraphIndex", "thenSubgraphIndex", "elseSubgraphIndex", "initSubgraphIndex", "subgraph",
)  # fmt: skip
_NUMPY = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def read(model: bytes, where: str) -> Contents:
    """Read a .tflite file; `where` names it in errors. Raises InputError where it is damaged."""
    file = tflite_builder.read(model, where)
    try:
        return _contents(file, model, where)
    except InputError:
        raise
    except Exception as error:  # indices, names and JSON of a damaged file lead anywhere
        raise InputError(f"{where} is damaged ({type(error).__name__}: {error}); get or export it again") from error


def _contents(file: Any, model: bytes, where: str) -> Contents:
    if not file.subgraphs:
        raise InputError(f"{where} is damaged: it has no graph; get or export it again")
    payloads = [_payload(buffer, model) for buffer in file.buffers or []]
    graphs = tuple(_graph(file, graph, payloads) for graph in file.subgraphs)
    entries = {readable(entry.name): payloads[entry.buffer] for entry in file.metadata or []}
    attached, attached_size = _attached(model)
    contract, strings = _ours(entries)
    if contract is not None and tflite_metadata.METADATA_NAME in entries and not tflite_metadata.is_whole(model):
        raise InputError(f"{where} is cut off: the labels behind the model are missing; get or export it again")
    constants = stored(graphs)
    described = {entry.buffer for entry in file.metadata or []} - {tensor.storage for tensor in constants}
    metadata_size = sum(len(payloads[buffer]) for buffer in described)
    kinds = {(op.kind, op.version) for graph in graphs for op in graph.ops if not op.custom}
    declared = {"schema": str(file.version)}
    if runtime := entries.get("min_runtime_version", b"").rstrip(b"\0"):
        declared["min_runtime_version"] = readable(runtime)
    signatures = tuple(_signature(entry, graphs) for entry in file.signatureDefs or [])
    return Contents(
        name=where,
        format="tflite",
        size_bytes=len(model),
        graphs=graphs,
        signatures=signatures,
        description=readable(file.description),
        about=_about(entries),
        metadata=strings,
        contract=contract,
        versions=declared,
        needs=("TensorFlow Lite", op_versions.tflite(kinds)),
        parts=parts_of(len(model), constants, metadata_size, attached_size),
        attached=attached,
    )


def _payload(buffer: Any, model: bytes) -> bytes:
    if buffer.data is not None and len(buffer.data):
        return np.asarray(buffer.data, dtype=np.uint8).tobytes()
    offset, size = getattr(buffer, "offset", 0), getattr(buffer, "size", 0)
    return model[offset : offset + size] if offset > 1 else b""  # models above 2 GB keep constants behind the graph


def _graph(file: Any, graph: Any, payloads: list[bytes]) -> Graph:
    inputs, outputs = _indices(graph.inputs), _indices(graph.outputs)
    tensors = tuple(_tensor(k, tensor, payloads, inputs, outputs) for k, tensor in enumerate(graph.tensors or []))
    ops = tuple(_op(record, file.operatorCodes[record.opcodeIndex]) for record in graph.operators or [])
    used = [*inputs, *outputs, *(k for op in ops for k in (*op.inputs, *op.outputs))]
    bodies = [body for op in ops for body in op.bodies]
    if any(not -1 <= k < len(tensors) for k in used) or any(not 0 <= k < len(file.subgraphs) for k in bodies):
        raise ValueError("an index leads out of it")
    return Graph(readable(graph.name), tensors, ops, inputs, outputs)


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
    asked = _indices(tensor.shapeSignature)
    shape = tuple("?" if size == -1 else known for size, known in zip(asked or sizes, sizes, strict=False))
    dtype = _TYPES[tensor.type]
    found = tensor.quantization
    return Tensor(
        name=readable(tensor.name),
        shape=shape,
        dtype=dtype,
        role=role,
        size_bytes=len(data) if role == "constant" else 0,
        storage=tensor.buffer if role == "constant" else None,
        quantisation=quantised(found.scale, found.zeroPoint, found.quantizedDimension) if found else None,
        values=_values(data, dtype, sizes) if role == "constant" else None,
    )


def _values(data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
    if dtype not in _NUMPY:
        return None
    kind = np.dtype(dtype).newbyteorder("<")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    return np.frombuffer(data, kind).reshape(shape) if count * kind.itemsize == len(data) else None


def _op(record: Any, code: Any) -> Op:
    value = max(code.builtinCode, code.deprecatedBuiltinCode)  # before TensorFlow Lite 2.4 there was one byte
    custom = value == schema.BuiltinOperator.CUSTOM
    kind = readable(code.customCode) or "CUSTOM" if custom else _CODES[value]
    options = {
        name: option
        for name, option in (vars(record.builtinOptions) if record.builtinOptions else {}).items()
        if isinstance(option, bool | int | float)
    }
    bodies = tuple(int(options[name]) for name in _BODIES if name in options)
    return Op(kind, int(code.version), _indices(record.inputs), _indices(record.outputs), options, bodies, custom)


def _indices(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(value) for value in values)


def _signature(entry: Any, graphs: tuple[Graph, ...]) -> Signature:
    index = int(entry.subgraphIndex)
    inputs, outputs = (
        {readable(one.name): int(one.tensorIndex) for one in maps or []} for maps in (entry.inputs, entry.outputs)
    )
    if not all(0 <= k < len(graphs[index].tensors) for k in (*inputs.values(), *outputs.values())):
        raise ValueError("a signature leads out of it")
    return Signature(readable(entry.signatureKey), index, inputs, outputs)


def _ours(entries: dict[str, bytes]) -> tuple[Any, dict[str, str]]:
    """Contract and strings that harexport wrote; None and nothing in other people's files."""
    if tflite_builder.METADATA_NAME not in entries:
        return None, {}
    facts = json.loads(entries[tflite_builder.METADATA_NAME])
    return facts["contract"], {str(key): str(value) for key, value in facts["metadata"].items()}


def _about(entries: dict[str, bytes]) -> dict[str, str]:
    """What the standard metadata say of the model, as far as they can be read: nothing that it needs to run."""
    found: dict[str, str] = {}
    with contextlib.suppress(Exception):  # the readers of FlatBuffers follow offsets blindly
        # ModelMetadata of LiteRT's metadata_schema.fbs
        table = _root(entries[tflite_metadata.METADATA_NAME])
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
    return readable(table.String(table.Pos + offset)) if offset else ""


def _attached(model: bytes) -> tuple[tuple[str, ...], int]:
    """Files in a zip archive behind the model (labels.txt, mostly), and the archive's size."""
    end = model.rfind(b"PK\x05\x06")
    if end < 0:
        return (), 0
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError):
        return (), 0  # four bytes of a weight that looked like one
    if not entries:
        return (), 0
    return tuple(readable(entry.filename) for entry in entries), len(model) - min(e.header_offset for e in entries)
