"""A file read, judged and run: everything that `harexport inspect` says."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harexport.errors import InputError
from harexport.formats import macs
from harexport.formats.macs import Macs
from harexport.formats.model_file import Graph, ModelFile, Tensor
from harexport.inspection import rules
from harexport.inspection.findings import Trap
from harexport.runtimes.sandbox import SandboxResult, run_sandboxed

SCHEMA = "harexport-inspect-1"
# What people give by mistake, by the first bytes: the sentence ends "..., not a model".
_MISTAKEN = {
    b"version https://git-lfs": "a Git LFS pointer (fetch the file itself: git lfs pull)",
    b"PK\x03\x04": "a zip archive (a .keras, .pt2 or .task file; unpack it, or convert it to .tflite or .onnx)",
    b"\x89HDF": "a Keras .h5 file (convert it to .tflite first)",
    b"\x80\x02": "a pickle (a PyTorch checkpoint; export it first)",
    b"\x1f\x8b": "gzip (unpack it first)",
    b"<": "an HTML or XML page (a download that went wrong?)",
}


@dataclass(frozen=True)
class Anatomy:
    """What is in the file, what it costs, what running it showed (None: it was not run) and what it trips over."""

    contents: ModelFile
    macs: Macs
    verdict: SandboxResult | None
    traps: tuple[Trap, ...]

    @property
    def alarming(self) -> tuple[Trap, ...]:
        """The traps that are more than notes."""
        return tuple(trap for trap in self.traps if trap.severity != "note")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; constants without their numbers."""
        held = self.contents
        return {
            "schema": SCHEMA,
            "name": held.name,
            "format": held.format,
            "size_bytes": held.size_bytes,
            "description": held.description,
            "about": held.about,
            "needs": {"runtime": held.min_runtime[0], "version": held.min_runtime[1]},
            "versions": held.versions,
            "operators": held.ops,
            "operator_versions": _operator_versions(held),
            "macs": {"total": self.macs.total, "complete": self.macs.complete, "operators": self.macs.kinds},
            "parts": {part.name: part.size_bytes for part in held.size_breakdown},
            "inputs": [_plain(tensor) for tensor in held.inputs],
            "outputs": [_plain(tensor) for tensor in held.outputs],
            "signatures": [
                {
                    "key": signature.key,
                    "inputs": _named(signature.inputs, held.graphs[signature.graph]),
                    "outputs": _named(signature.outputs, held.graphs[signature.graph]),
                }
                for signature in held.signatures
            ],
            "variables": [_plain(tensor) for tensor in held.variables],
            "graphs": [
                {
                    "name": graph.name,
                    "operators": dict(Counter(op.kind for op in graph.ops)),
                    "tensors": [_plain(tensor) for tensor in graph.tensors],
                }
                for graph in held.graphs
            ],
            "attached_files": list(held.attached),
            "external_files": held.external,
            "metadata": held.metadata,
            "contract": held.contract,
            "run": self.verdict.to_dict() if self.verdict else None,
            "traps": [dataclasses.asdict(trap) for trap in self.traps],
        }


def inspect(path: Path, run: bool = True) -> Anatomy:
    """Read, judge and (`run`) try a .onnx or .tflite file. Raises InputError."""
    model = _bytes(path)
    contents = read(model, path.name, path.parent)
    verdict = None
    if run:
        # ONNX Runtime finds weights beside a file by the file's path only
        given = path if contents.external else model
        verdict = run_sandboxed(given, f".{contents.format}")
    counted = macs.count_macs(contents)
    return Anatomy(contents, counted, verdict, rules.find(contents, counted, verdict))


def read(model: bytes, where: str, folder: Path | None = None) -> ModelFile:
    """Read a model of either format, told apart by its bytes; `where` is what errors call it, `folder` where weights
    outside of it may lie. Raises InputError."""
    from harexport.formats import tflite_reader

    if model[4:8] == tflite_reader.IDENTIFIER:
        return tflite_reader.read(model, where)
    for start, what in _MISTAKEN.items():
        if model.startswith(start):
            raise InputError(f"{where} is {what}, not a .onnx or .tflite model")
    if not model:
        raise InputError(f"{where} is empty; get or export it again")
    if where.lower().endswith(".tflite"):
        raise InputError(f"{where} is not a .tflite file: the identifier TFL3 is missing; get or export it again")
    from harexport.formats import onnx_reader

    return onnx_reader.read(model, where, folder)


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a .onnx or .tflite file in it")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file; name a .onnx or .tflite file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"model not found: {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _operator_versions(contents: ModelFile) -> dict[str, list[int]]:
    found: dict[str, set[int]] = {}
    for graph in contents.graphs:
        for op in graph.ops:
            if op.version:
                found.setdefault(op.kind, set()).add(op.version)
    return {kind: sorted(versions) for kind, versions in found.items()}


def _named(arguments: dict[str, int], graph: Graph) -> dict[str, str]:
    return {name: graph.tensors[index].name for name, index in arguments.items()}


def _plain(tensor: Tensor) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    plain["role"] = tensor.role
    if tensor.size_bytes:
        plain["size_bytes"] = tensor.size_bytes
    if tensor.quantization:
        plain["quantisation"] = dataclasses.asdict(tensor.quantization)
    return plain
