"""What a model file really holds, read from its bytes: a converter's word is not evidence (FACTS, trap 5).

The reading is `harexport.inspection`'s, which takes any file; this is what gate and bench ask of ours.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from harexport.errors import InputError
from harexport.formats import macs
from harexport.formats.model_file import FLOATS, ModelFile

_CLIPS = ("cellClip", "clip")  # what the two formats call it


@dataclass(frozen=True)
class Weight:
    """A constant with two dimensions above 1 (the others are biases, axes, scalars).

    Its name, shape, dtype ("float32", "int8"; see `_dtype`) and bytes in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int


@dataclass(frozen=True)
class Structure:
    """Operators with their counts; inputs and outputs as name -> shape; weights; the cell clips of fused LSTMs.

    An axis of open length is -1 in a shape. `metadata` is what harexport wrote into the file: its strings, and the
    contract as plain JSON values. `integer` says whether every matrix product reads integers.
    """

    ops: dict[str, int]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    weights: tuple[Weight, ...]
    cell_clips: tuple[float, ...]
    integer: bool
    metadata: dict[str, str]
    contract: Any

    @property
    def scheme(self) -> str:
        """The scheme that weights and operators themselves show; a mixture of weights by its dtypes.

        int8 is full integer, int8-weights has activations in floats. A network so small that it has no weight
        matrix is held to what float32 promises, unless an operator of its own rounds the states.
        """
        if not self.weights and "DynamicQuantizeLSTM" in self.ops:
            return "int8-weights"
        dtypes = "+".join(sorted({weight.dtype for weight in self.weights})) or "float32"
        return "int8-weights" if dtypes == "int8" and not self.integer else dtypes


def read_structure(model: bytes, fmt: str, where: str) -> Structure:
    """Read a file of the format "onnx" or "tflite". Raises InputError where it is damaged."""
    return read_onnx_structure(model, where) if fmt == "onnx" else read_tflite_structure(model, where)


def read_tflite_structure(model: bytes, where: str) -> Structure:
    """Read a .tflite file. Raises InputError where it is damaged."""
    from harexport.formats import tflite_reader

    return to_structure(tflite_reader.read(model, where))


def read_onnx_structure(model: bytes, where: str) -> Structure:
    """Read a .onnx file. Raises InputError where it is damaged."""
    from harexport.formats import onnx_reader

    contents = onnx_reader.read(model, where)
    if contents.problem:
        raise InputError(f"{where} is damaged or not a .onnx file ({contents.problem}); export it again")
    return to_structure(contents)


def min_runtime(model: bytes, fmt: str) -> str:
    """The oldest TensorFlow Lite (2.6 at least) or ONNX Runtime that has the file's operators: "2.6", "1.6"."""
    from harexport.formats import onnx_reader, tflite_reader

    read = onnx_reader.read if fmt == "onnx" else tflite_reader.read
    return read(model, "the model").needs[1]


def to_structure(contents: ModelFile) -> Structure:
    """What gate and bench ask, of a file that was read already."""
    graph = contents.main
    written = _only_written(contents)

    def named(indices: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return {graph.tensors[k].name: _sizes(graph.tensors[k].shape) for k in indices}

    return Structure(
        ops=dict(Counter(op.kind.rpartition(".")[2] for g in contents.graphs for op in g.ops)),  # without its domain
        inputs=named(graph.inputs),
        outputs=named(graph.outputs),
        weights=tuple(
            Weight(t.name, _sizes(t.shape), _dtype(t.dtype, contents.format), t.size_bytes)
            for t in contents.weights
            if t.name not in written
        ),
        cell_clips=tuple(
            float(value) for g in contents.graphs for op in g.ops for key, value in op.options.items() if key in _CLIPS
        ),
        integer=not any(dtype in FLOATS for dtype in macs.matmul_input_dtypes(contents)),
        metadata=contents.metadata,
        contract=contents.contract,
    )


def _dtype(held: str, fmt: str) -> str:
    """ONNX Runtime's quantised operators take int8 as well as uint8 around 128: eight bits either way."""
    return "int8" if (held, fmt) == ("uint8", "onnx") else held


def _only_written(contents: ModelFile) -> set[str]:
    """The constants that are copied and multiplied with nothing: the zeros that the fused lowering begins with."""
    readers: dict[str, set[str]] = {}
    for graph in contents.graphs:
        for op in graph.ops:
            for index in op.inputs:
                if (tensor := graph.at(index)) is not None:
                    readers.setdefault(tensor.name, set()).add(op.kind)
    return {name for name, kinds in readers.items() if kinds == {"SLICE"}}


def _sizes(shape: tuple[int | str, ...]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in shape)
