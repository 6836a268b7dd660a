"""What a model file consists of, the same for both formats: tensors, operators, graphs, and what is said about them.

tflite.py and onnx.py read a file into `Contents`; everything else of this package looks at that and at nothing else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Size = int | str  # the length of an axis; a name ("batch", "?") where only the caller knows it
Role = Literal["input", "output", "constant", "variable", "activation"]
Format = Literal["onnx", "tflite"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
_WIDENING = ("DEQUANTIZE", "DequantizeLinear", "Cast")  # what hands on a constant as it is
# What a trained number can be stored as; other constants are shapes, indices and masks.
_WEIGHT_TYPES = (*FLOATS, "int2", "int4", "int8", "uint8", "uint4", "int16")


@dataclass(frozen=True)
class Quantization:
    """value = scale * (integer - zero_point), with one scale a tensor or one a slice along `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None


@dataclass(frozen=True)
class Tensor:
    """A value of a graph. A constant has `size_bytes` in the file; `storage` is equal where two share their bytes.

    `values` are a constant's numbers, None where its dtype has no NumPy equivalent or the bytes do not fit the shape.
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
        """Whether it is a weight matrix: trained numbers with two axes longer than 1 (biases and scalars have not)."""
        long = sum(not isinstance(size, int) or size > 1 for size in self.shape)
        return self.role == "constant" and long >= 2 and self.dtype in _WEIGHT_TYPES

    @property
    def is_filling(self) -> bool:
        """Whether all numbers of a constant are the same."""
        return self.values is not None and self.values.size > 0 and bool((self.values == self.values.flat[0]).all())

    @property
    def count(self) -> int:
        """How many numbers it has; an axis of unknown length counts as 1."""
        product = 1
        for size in self.shape:
            product *= size if isinstance(size, int) else 1
        return product


@dataclass(frozen=True)
class Operator:
    """An operator. Tensors are indices into its graph (-1: an optional one that is not there).

    `kind` is its name in the format, with its domain before it where that is not ONNX's own. `bodies` are the
    graphs that it runs, as indices into `Contents.graphs`; `options` its scalar attributes.
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
    """Tensors and the operators between them, in the order they run."""

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def tensor_at(self, index: int) -> Tensor | None:
        """The tensor of an operator's input or output; None where it is not there."""
        return self.tensors[index] if 0 <= index < len(self.tensors) else None

    def producer(self, index: int) -> Operator | None:
        """The operator that fills a tensor."""
        return next((op for op in self.ops if index in op.outputs), None)


@dataclass(frozen=True)
class Signature:
    """A named way in: argument names and the tensors (of which graph) behind them."""

    key: str
    graph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass(frozen=True)
class Part:
    """A share of the file, in bytes; `name` is one of weights, other constants, structure, metadata, ..."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class ModelFile:
    """A file as it was read. `graphs[0]` is the one that runs.

    about: who made it, by the formats' own fields. metadata: strings written for whoever reads the file; contract:
    harexport's, as plain JSON values. versions: what the file declares (schema, opsets, IR). needs: the oldest
    runtime that has its operators, as (name, version). problem: what the format's own checker says against it.
    external: files that hold its weights -> bytes that it takes from them, None where they cannot be found.
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
        """Operators of all graphs by kind, the most frequent first."""
        return dict(Counter(op.kind for graph in self.graphs for op in graph.ops).most_common())

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
        """The weight matrices; not the constants that fill a loop's first state."""
        used = {
            graph.tensors[k].storage
            for graph in self.graphs
            for op in graph.ops
            if not op.bodies and op.kind not in _WIDENING
            for k in op.inputs
            if k >= 0
        }
        return tuple(t for t in self.constants if t.is_weight and (t.storage in used or not t.is_filling))

    @property
    def repeated_bytes(self) -> int:
        """Bytes of weights that the file holds once more, in another place."""
        seen: set[bytes] = set()
        extra = 0
        for tensor in self.weights:
            if tensor.values is not None:
                data = tensor.values.tobytes()
                extra += tensor.size_bytes if data in seen else 0
                seen.add(data)
        return extra


def unique_constants(graphs: tuple[Graph, ...]) -> tuple[Tensor, ...]:
    """Every constant once; of tensors that share their bytes, one that shows what they are."""
    found: dict[int | None, Tensor] = {}
    for graph in graphs:
        for tensor in graph.tensors:
            if tensor.role == "constant" and (tensor.storage not in found or tensor.is_weight):
                found[tensor.storage] = tensor
    return tuple(found.values())


def sanitize(text: bytes | str | None) -> str:
    """Text of a file that strangers made: UTF-8 where it is, and nothing that a terminal would act on."""
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text or ""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in decoded)


def break_down_size(size: int, constants: tuple[Tensor, ...], metadata: int, attached: int) -> tuple[Part, ...]:
    """Where the `size` bytes of a file go; `metadata` and `attached` of them are strings and files behind it."""
    weights = sum(tensor.size_bytes for tensor in constants if tensor.is_weight)
    others = sum(tensor.size_bytes for tensor in constants) - weights
    rest = max(0, size - weights - others - metadata - attached)
    named = {
        "weights": weights,
        "other constants": others,
        "structure": rest,
        "metadata": metadata,
        "attached files": attached,
    }
    return tuple(Part(name, count) for name, count in named.items() if count)


def to_quantization(scales: Any, zero_points: Any, axis: int | None) -> Quantization | None:
    """A Quantisation of arrays or lists, None where there is no scale."""
    if scales is None or not len(scales):
        return None
    return Quantization(
        tuple(float(value) for value in np.asarray(scales).ravel()),
        tuple(int(value) for value in np.asarray([] if zero_points is None else zero_points).ravel()),
        axis if len(scales) > 1 else None,
    )
