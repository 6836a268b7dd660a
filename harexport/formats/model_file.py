"""Contents of a model file, the same for both formats: tensors, operators, graphs and metadata.

tflite_reader.py and onnx_reader.py parse a file into a `ModelFile`. Checks, bench and inspection use nothing else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Size = int | str  # length of an axis; a name ("batch", "?") for a dynamic axis
Role = Literal["input", "output", "constant", "variable", "activation"]
Format = Literal["onnx", "tflite"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
_CONVERSIONS = ("DEQUANTIZE", "DequantizeLinear", "Cast")
# Types of weights; constants of other types are shapes, indices and masks.
_WEIGHT_TYPES = (*FLOATS, "int2", "int4", "int8", "uint8", "uint4", "int16")


@dataclass(frozen=True)
class Quantization:
    """value = scale * (integer - zero_point), with one scale per tensor, or one per slice along `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph.

    Attributes:
        name: Name in the file.
        shape: Length of each axis.
        dtype: "float32", "int8", ...
        role: Role in the graph.
        size_bytes: Bytes of a constant in the file.
        storage: Identifier of a constant's bytes, equal for constants that share them.
        quantization: Quantization of an integer tensor.
        values: Values of a constant; None if NumPy does not have its type, or the bytes do not fit the shape.
    """

    name: str
    shape: tuple[Size, ...]
    dtype: str
    role: Role
    size_bytes: int = 0
    storage: int | None = None
    quantization: Quantization | None = None
    values: NDArray[Any] | None = field(default=None, repr=False, compare=False)

    @property
    def is_weight(self) -> bool:
        """Whether it is a weight matrix: a constant with at least two axes longer than 1, unlike biases and scalars."""
        num_long_axes = sum(not isinstance(size, int) or size > 1 for size in self.shape)
        return self.role == "constant" and num_long_axes >= 2 and self.dtype in _WEIGHT_TYPES

    @property
    def has_equal_values(self) -> bool:
        """Whether all values of a constant are equal."""
        return self.values is not None and self.values.size > 0 and bool((self.values == self.values.flat[0]).all())

    @property
    def count(self) -> int:
        """Number of values; a dynamic axis counts as 1."""
        product = 1
        for size in self.shape:
            product *= size if isinstance(size, int) else 1
        return product


@dataclass(frozen=True)
class Operator:
    """An operator of a graph.

    Attributes:
        kind: Name in the format, with its domain if that is not ONNX's own.
        version: Version in a .tflite file.
        inputs: Indices of its input tensors; -1: an optional input without a value.
        outputs: Indices of its output tensors.
        options: Scalar attributes.
        bodies: Graphs that it runs, as indices into `ModelFile.graphs`.
        custom: Whether it is not an operator of the format itself.
    """

    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]
    bodies: tuple[int, ...] = ()
    custom: bool = False


@dataclass(frozen=True)
class Graph:
    """Tensors and operators in the order of execution; `inputs` and `outputs` are indices of tensors."""

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def tensor_at(self, index: int) -> Tensor | None:
        """Return the tensor of an operator's input or output; None for a missing optional one."""
        return self.tensors[index] if 0 <= index < len(self.tensors) else None

    def producer(self, index: int) -> Operator | None:
        """Return the operator that computes a tensor; None for inputs and constants."""
        return self._producers.get(index)

    @cached_property
    def _producers(self) -> dict[int, Operator]:
        return {index: op for op in reversed(self.ops) for index in op.outputs}


@dataclass(frozen=True)
class Signature:
    """A signature of a .tflite file: names of inputs and outputs with the tensors of a graph."""

    key: str
    graph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass(frozen=True)
class Part:
    """Bytes of the file by purpose: weights, other constants, structure, metadata or attached files."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class ModelFile:
    """A parsed model file.

    Attributes:
        name: Name in messages.
        format: "onnx" or "tflite".
        size_bytes: Size of the file.
        graphs: Graphs; the first one is the main graph.
        signatures: Signatures of a .tflite file.
        description: Description in the file.
        about: Producer and similar standard fields.
        metadata: Metadata strings.
        contract: Contract of harexport as JSON values; None in files of other tools.
        versions: Declared versions (schema, opsets, IR).
        min_runtime: Name and version of the oldest runtime that has all operators.
        size_breakdown: Bytes by purpose.
        attached: Names of files in the appended archive.
        external: Files with external weights, with the bytes used; None for a missing file.
        problem: Message of ONNX's checker.
    """

    name: str
    format: Format
    size_bytes: int
    graphs: tuple[Graph, ...]
    signatures: tuple[Signature, ...]
    description: str
    about: dict[str, str]
    metadata: dict[str, str]
    contract: Any
    versions: dict[str, str]
    min_runtime: tuple[str, str]
    size_breakdown: tuple[Part, ...]
    attached: tuple[str, ...] = ()
    external: dict[str, int | None] = field(default_factory=dict)
    problem: str | None = None

    @property
    def main(self) -> Graph:
        return self.graphs[0]

    @property
    def ops(self) -> dict[str, int]:
        """Number of operators of all graphs by kind, the most frequent first."""
        return dict(Counter(op.kind for graph in self.graphs for op in graph.ops).most_common())

    @property
    def op_versions(self) -> dict[str, list[int]]:
        """Versions of the operators of a .tflite file by kind."""
        found: dict[str, set[int]] = {}
        for graph in self.graphs:
            for op in graph.ops:
                if op.version:
                    found.setdefault(op.kind, set()).add(op.version)
        return {kind: sorted(versions) for kind, versions in found.items()}

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(self.main.tensors[k] for k in self.main.inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return tuple(self.main.tensors[k] for k in self.main.outputs)

    @property
    def variables(self) -> tuple[Tensor, ...]:
        return tuple(tensor for graph in self.graphs for tensor in graph.tensors if tensor.role == "variable")

    @property
    def constants(self) -> tuple[Tensor, ...]:
        return unique_constants(self.graphs)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """Weight matrices, without the constants of a loop's initial state."""
        used = {
            graph.tensors[k].storage
            for graph in self.graphs
            for op in graph.ops
            if not op.bodies and op.kind not in _CONVERSIONS
            for k in op.inputs
            if k >= 0
        }
        return tuple(t for t in self.constants if t.is_weight and (t.storage in used or not t.has_equal_values))

    @property
    def repeated_bytes(self) -> int:
        """Bytes of weights that the file stores more than once."""
        seen: set[bytes] = set()
        extra = 0
        for tensor in self.weights:
            if tensor.values is not None:
                data = tensor.values.tobytes()
                extra += tensor.size_bytes if data in seen else 0
                seen.add(data)
        return extra


def unique_constants(graphs: tuple[Graph, ...]) -> tuple[Tensor, ...]:
    """Return one tensor for each stored constant; of tensors with shared bytes, a weight matrix if there is one."""
    found: dict[int | None, Tensor] = {}
    for graph in graphs:
        for tensor in graph.tensors:
            if tensor.role == "constant" and (tensor.storage not in found or tensor.is_weight):
                found[tensor.storage] = tensor
    return tuple(found.values())


def format_shape(shape: tuple[Size, ...]) -> str:
    """Return a shape as text: "[1, 128, 9]"."""
    return f"[{', '.join(str(size) for size in shape)}]"


def to_printable(text: bytes | str | None) -> str:
    """Return text of an untrusted file, decoded as UTF-8, with characters that a terminal interprets replaced."""
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text or ""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in decoded)


def break_down_size(size: int, constants: tuple[Tensor, ...], metadata: int, attached: int) -> tuple[Part, ...]:
    """Return the bytes of a file by purpose.

    Args:
        size: Size of the file.
        constants: Its constants.
        metadata: Bytes of its metadata.
        attached: Bytes of its attached files.
    """
    weights = sum(tensor.size_bytes for tensor in constants if tensor.is_weight)
    others = sum(tensor.size_bytes for tensor in constants) - weights
    rest = max(0, size - weights - others - metadata - attached)
    sizes = {
        "weights": weights,
        "other constants": others,
        "structure": rest,
        "metadata": metadata,
        "attached files": attached,
    }
    return tuple(Part(name, count) for name, count in sizes.items() if count)


def to_quantization(scales: Any, zero_points: Any, axis: int | None) -> Quantization | None:
    """Return a Quantization from arrays or lists; None without a scale, or with one that is NaN or infinite."""
    if scales is None or not len(scales) or not np.isfinite(np.asarray(scales, np.float64)).all():
        return None
    return Quantization(
        tuple(float(value) for value in np.asarray(scales).ravel()),
        tuple(int(value) for value in np.asarray([] if zero_points is None else zero_points).ravel()),
        axis if len(scales) > 1 else None,
    )
