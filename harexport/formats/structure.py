"""Structure of a model file: operators, tensor shapes, weight types and quantization scheme, read from its bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from harexport.errors import InputError
from harexport.formats import macs
from harexport.formats.model_file import FLOATS, ModelFile

_CELL_CLIP_OPTIONS = ("cellClip", "clip")  # in .tflite and .onnx


@dataclass(frozen=True)
class Weight:
    """A weight matrix: a constant with at least two axes longer than 1.

    Attributes:
        name: Name of the tensor.
        shape: Shape of the tensor.
        dtype: "float32", "float16" or "int8"; uint8 weights of a .onnx file count as int8.
        size_bytes: Size in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int


@dataclass(frozen=True)
class Structure:
    """Structure of a model file.

    Attributes:
        ops: Number of operators by kind.
        inputs: Shapes by name; a dynamic axis is -1.
        outputs: Shapes by name; a dynamic axis is -1.
        weights: Weight matrices.
        cell_clips: Cell clips of the LSTM operators.
        is_integer: Whether every matrix product reads integer activations.
        min_runtime: Lowest version of TensorFlow Lite (2.6 at least) or ONNX Runtime that has the operators: "2.6".
        metadata: Strings that harexport wrote into the file.
        contract: Contract as JSON values; None in files of other tools.
    """

    ops: dict[str, int]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    weights: tuple[Weight, ...]
    cell_clips: tuple[float, ...]
    is_integer: bool
    min_runtime: str
    metadata: dict[str, str]
    contract: Any

    @property
    def scheme(self) -> str:
        """Quantization scheme of weights and operators; mixed weight types are joined by "+".

        int8 is full integer; int8-weights has float activations. A network without a weight matrix counts as float32,
        unless its LSTM operator quantizes the states.
        """
        if not self.weights and "DynamicQuantizeLSTM" in self.ops:
            return "int8-weights"
        dtypes = "+".join(sorted({weight.dtype for weight in self.weights})) or "float32"
        return "int8-weights" if dtypes == "int8" and not self.is_integer else dtypes


def read_structure(model: bytes, fmt: str, where: str) -> Structure:
    """Read the structure of a model file.

    Args:
        model: Content of the file.
        fmt: "onnx" or "tflite".
        where: Name of the file in error messages.

    Raises:
        InputError: The file is damaged.
    """
    from harexport.formats import onnx_reader, tflite_reader

    file = (onnx_reader if fmt == "onnx" else tflite_reader).read(model, where)
    if file.problem:
        raise InputError(f"{where} is damaged or not a .onnx file ({file.problem}); export it again")
    return to_structure(file)


def to_structure(file: ModelFile) -> Structure:
    """Return the structure of a parsed model file."""
    graph = file.main
    copied = _copied_constants(file)

    def shapes(indices: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return {graph.tensors[k].name: _sizes(graph.tensors[k].shape) for k in indices}

    return Structure(
        ops=dict(Counter(op.kind.rpartition(".")[2] for g in file.graphs for op in g.ops)),  # without the domain
        inputs=shapes(graph.inputs),
        outputs=shapes(graph.outputs),
        weights=tuple(
            Weight(t.name, _sizes(t.shape), _weight_dtype(t.dtype, file.format), t.size_bytes)
            for t in file.weights
            if t.name not in copied
        ),
        cell_clips=tuple(
            float(value)
            for g in file.graphs
            for op in g.ops
            for key, value in op.options.items()
            if key in _CELL_CLIP_OPTIONS
        ),
        is_integer=not any(dtype in FLOATS for dtype in macs.matmul_input_dtypes(file)),
        min_runtime=file.min_runtime[1],
        metadata=file.metadata,
        contract=file.contract,
    )


def _weight_dtype(dtype: str, fmt: str) -> str:
    # ONNX Runtime's quantized operators take int8, or uint8 with the zero point 128
    return "int8" if (dtype, fmt) == ("uint8", "onnx") else dtype


def _copied_constants(file: ModelFile) -> set[str]:
    """Return the names of constants that only SLICE reads: the initial states of the fused lowering, no weights."""
    readers: dict[str, set[str]] = {}
    for graph in file.graphs:
        for op in graph.ops:
            for index in op.inputs:
                if (tensor := graph.tensor_at(index)) is not None:
                    readers.setdefault(tensor.name, set()).add(op.kind)
    return {name for name, kinds in readers.items() if kinds == {"SLICE"}}


def _sizes(shape: tuple[int | str, ...]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in shape)
