"""What a model file really holds, read from its bytes: a converter's word is not evidence (FACTS, trap 5)."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from harexport.errors import InputError


@dataclass(frozen=True)
class Weight:
    """A constant with two dimensions above 1 (the others are biases, axes, scalars).

    Its name, shape, dtype ("float32", "int8") and bytes in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int


@dataclass(frozen=True)
class Structure:
    """Operators with their counts; inputs and outputs as name -> shape; weights; the cell clips of fused LSTMs.

    `metadata` is what harexport wrote into the file: its strings, and the contract as plain JSON values.
    """

    ops: dict[str, int]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    weights: tuple[Weight, ...]
    cell_clips: tuple[float, ...]
    metadata: dict[str, str]
    contract: Any

    @property
    def scheme(self) -> str:
        """The scheme that the weights themselves show: float32 unless all of them are int8; a mixture by its dtypes.

        A network so small that it has no weight matrix is held to what float32 promises.
        """
        dtypes = "+".join(sorted({weight.dtype for weight in self.weights})) or "float32"
        return "int8-weights" if dtypes == "int8" else dtypes


def of(model: bytes, fmt: str, where: str) -> Structure:
    """Read a file of the format "onnx" or "tflite". Raises InputError where it is damaged."""
    try:
        return of_onnx(model, where) if fmt == "onnx" else of_tflite(model, where)
    except InputError:
        raise
    except Exception as error:  # offsets, names and JSON of a damaged file lead anywhere
        raise InputError(f"{where} is damaged ({type(error).__name__}); export it again") from error


def of_tflite(model: bytes, where: str) -> Structure:
    """Read a .tflite file. Raises InputError where it is damaged."""
    from ai_edge_litert import schema_py_generated as schema

    from harexport.exporting import flat

    file = flat.read(model, where)
    graph = file.subgraphs[0]
    types = {number: name.lower() for name, number in vars(schema.TensorType).items() if not name.startswith("_")}
    codes = [flat.operator_name(code) for code in file.operatorCodes]

    def text(value: bytes | None) -> str:
        return (value or b"").decode()

    def named(indices: Any) -> dict[str, tuple[int, ...]]:
        return {text(graph.tensors[k].name): tuple(int(n) for n in graph.tensors[k].shape) for k in indices}

    weights = {}
    for tensor in graph.tensors:
        data = flat.payload(file, tensor.buffer)
        shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
        if len(data) and _is_matrix(shape):
            weights[tensor.buffer] = Weight(text(tensor.name), shape, types[tensor.type], len(data))
    clips = [
        float(record.builtinOptions.cellClip)
        for record in graph.operators
        if codes[record.opcodeIndex] == "UNIDIRECTIONAL_SEQUENCE_LSTM"
    ]
    facts = flat.read_facts(model, where)
    return Structure(
        ops=dict(Counter(codes[record.opcodeIndex] for record in graph.operators)),
        inputs=named(graph.inputs),
        outputs=named(graph.outputs),
        weights=tuple(weights.values()),
        cell_clips=tuple(clips),
        metadata=facts["metadata"],
        contract=facts["contract"],
    )


def of_onnx(model: bytes, where: str) -> Structure:
    """Read a .onnx file. Raises InputError where it is damaged."""
    import onnx

    from harexport.exporting.onnx import CONTRACT_KEY

    try:
        file = onnx.load_from_string(model)
        onnx.checker.check_model(file)
    except Exception as error:  # protobuf's DecodeError and onnx's ValidationError share no base class
        raise InputError(f"{where} is damaged or not a .onnx file; export it again") from error
    graph = file.graph

    def named(values: Any) -> dict[str, tuple[int, ...]]:
        return {v.name: tuple(int(d.dim_value) for d in v.type.tensor_type.shape.dim) for v in values}

    weights = tuple(
        Weight(
            t.name,
            tuple(int(n) for n in t.dims),
            str(onnx.helper.tensor_dtype_to_np_dtype(t.data_type)),
            len(t.raw_data),
        )
        for t in graph.initializer
        if _is_matrix(tuple(t.dims)) and t.data_type != onnx.TensorProto.INT64
    )
    clips = [a.f for node in graph.node if node.op_type == "LSTM" for a in node.attribute if a.name == "clip"]
    strings = {entry.key: entry.value for entry in file.metadata_props}
    contract = strings.pop(CONTRACT_KEY, None)
    return Structure(
        ops=dict(Counter(node.op_type for node in graph.node)),
        inputs=named(graph.input),
        outputs=named(graph.output),
        weights=weights,
        cell_clips=tuple(clips),
        metadata=strings,
        contract=None if contract is None else json.loads(contract),
    )


def _is_matrix(shape: tuple[int, ...]) -> bool:
    return sum(size > 1 for size in shape) >= 2
