"""`harexport inspect`: read a file, run it in a child process, and find its problems."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harexport.formats import read_model_bytes
from harexport.formats.macs import Macs, count_macs
from harexport.formats.model_file import Graph, ModelFile, Tensor
from harexport.inspection.performance_rules import PERFORMANCE_RULES
from harexport.inspection.rules import CORRECTNESS_RULES, SEVERITIES, Finding, RuleContext
from harexport.runtimes.sandbox import SandboxResult, read_sandboxed
from harexport.utils import files

SCHEMA = "harexport-inspect-2"


@dataclass(frozen=True)
class Inspection:
    """The result of inspecting a file."""

    model: ModelFile
    macs: Macs
    run: SandboxResult | None  # None: the file was not run
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings above the level of a note."""
        return tuple(finding for finding in self.findings if finding.severity != "note")

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON values, without the values of constants."""
        model = self.model
        return {
            "schema": SCHEMA,
            "name": model.name,
            "format": model.format,
            "size_bytes": model.size_bytes,
            "description": model.description,
            "about": model.about,
            "needs": {"runtime": model.min_runtime[0], "version": model.min_runtime[1]},
            "versions": model.versions,
            "operators": model.ops,
            "operator_versions": model.op_versions,
            "macs": {"total": self.macs.total, "complete": self.macs.complete, "operators": self.macs.kinds},
            "parts": {part.name: part.size_bytes for part in model.size_breakdown},
            "inputs": [_to_dict(tensor) for tensor in model.inputs],
            "outputs": [_to_dict(tensor) for tensor in model.outputs],
            "signatures": [
                {
                    "key": signature.key,
                    "inputs": _tensor_names(signature.inputs, model.graphs[signature.graph]),
                    "outputs": _tensor_names(signature.outputs, model.graphs[signature.graph]),
                }
                for signature in model.signatures
            ],
            "variables": [_to_dict(tensor) for tensor in model.variables],
            "graphs": [
                {
                    "name": graph.name,
                    "operators": dict(Counter(op.kind for op in graph.ops)),
                    "tensors": [_to_dict(tensor) for tensor in graph.tensors],
                }
                for graph in model.graphs
            ],
            "attached_files": list(model.attached),
            "external_files": model.external,
            "metadata": model.metadata,
            "contract": files.replace_nonfinite(model.contract),
            "run": self.run.to_dict() if self.run else None,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }


def inspect(path: Path, run: bool = True) -> Inspection:
    """Inspect a .onnx or .tflite file; see `harexport.inspection.inspect`. Raises InputError."""
    content = read_model_bytes(path)
    model, result = read_sandboxed(content, path.name, path, run=run)
    macs, outcome = count_macs(model), result if run else None
    return Inspection(model, macs, outcome, run_rules(model, macs, outcome))


def run_rules(model: ModelFile, macs: Macs, run: SandboxResult | None) -> tuple[Finding, ...]:
    """Find all problems of a file.

    Args:
        model: The file.
        macs: Its multiply-accumulates.
        run: The result of running it, None if it was not run.

    Returns:
        The findings, the most severe first.
    """
    context = RuleContext(model, macs, run)
    found = [finding for rule in (*CORRECTNESS_RULES, *PERFORMANCE_RULES) for finding in rule(context)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def _tensor_names(arguments: dict[str, int], graph: Graph) -> dict[str, str]:
    return {name: graph.tensors[index].name for name, index in arguments.items()}


def _to_dict(tensor: Tensor) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    plain["role"] = tensor.role
    if tensor.size_bytes:
        plain["size_bytes"] = tensor.size_bytes
    if tensor.quantization:
        plain["quantization"] = dataclasses.asdict(tensor.quantization)
    return plain
