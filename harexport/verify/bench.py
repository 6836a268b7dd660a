"""`harexport bench`: every file against its reference on all test windows, then all of them against the clock."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata as installed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport import __version__, metrics, runtimes
from harexport.console import say, track
from harexport.data.windows import Dataset
from harexport.errors import InputError
from harexport.exporting import structure
from harexport.parity import Parity, compare
from harexport.runtimes.reference import ReferenceRunner
from harexport.training import checkpoint as checkpoints
from harexport.training.checkpoint import Checkpoint
from harexport.verify.latency import ColdStart, Latency, cold_start, interleaved

_LATENCY_WINDOWS = 256


@dataclass(frozen=True)
class ModelResult:
    """One model in one runtime. `size_bytes` and `cold_start` are of a file; torch, the trainer, has none."""

    name: str
    recipe: str
    runtime: str
    scheme: str
    lowering: str | None
    file: str | None
    size_bytes: int | None
    parity: Parity
    latency: Latency
    cold_start: ColdStart | None


@dataclass(frozen=True)
class Reference:
    """What a recipe's checkpoint itself answers, in float64."""

    recipe: str
    checkpoint: str
    digest: str
    steps: int
    hidden: int
    parameters: int
    figures: metrics.Figures
    labels: tuple[str, ...]
    validation: dict[str, Any] | None
    test_watched: bool


@dataclass(frozen=True)
class BenchResult:
    """Everything a bench measured; tables, JSON and HTML are drawn from it and from nothing else."""

    models: tuple[ModelResult, ...]
    references: tuple[Reference, ...]
    data: dict[str, Any]
    machine: dict[str, Any]
    created: str
    tool_version: str = __version__

    @property
    def passed(self) -> bool:
        return all(model.parity.passed for model in self.models)

    def to_dict(self) -> dict[str, Any]:
        plain = dataclasses.asdict(self)
        return {"schema": "harexport-bench-1", "passed": self.passed, **plain}


@dataclass(frozen=True)
class _Candidate:
    """A model to be measured: what it is called, what it must answer like, and how to ask it."""

    name: str
    runtime: str
    scheme: str
    lowering: str | None
    path: Path | None
    digest: str
    logits: Callable[[NDArray[np.float32]], NDArray[np.floating]]
    one: Callable[[NDArray[np.float32]], object]


def bench(paths: Sequence[Path], dataset: Dataset, runs: int = 1000) -> BenchResult:
    """Prove and time every .onnx and .tflite file in `paths` (files or folders) against its checkpoint.

    Each file names, by digest, the network it was exported from; its .safetensors must be among `paths` or
    beside the file. torch joins in where it is installed. Raises InputError when a file or its checkpoint
    cannot be found or read; broken promises do not raise, they stand in the result.
    """
    files, known = _gather(paths)
    candidates = [_file_candidate(path, known) for path in files]
    used = {candidate.digest: known[candidate.digest] for candidate in candidates}
    candidates += _torch_candidates(used)
    truth = dataset.test.labels
    signals = np.ascontiguousarray(dataset.test.signals)
    expected, references = {}, []
    for digest, (path, checkpoint) in used.items():
        with track(f"float64 reference of {checkpoint.recipe.name}", len(signals), "windows") as advance:
            expected[digest] = ReferenceRunner(checkpoint.network).logits(signals, advance)
        references.append(_reference(path, checkpoint, expected[digest], truth))
    parities = {}
    with track("parity on all test windows", len(candidates), "models") as advance:
        for done, candidate in enumerate(candidates, 1):
            try:
                answered = candidate.logits(signals)
                parities[candidate.name] = compare(expected[candidate.digest], answered, truth, candidate.scheme)
            except InputError as error:
                raise InputError(f"{candidate.name}: {error}") from error
            advance(done)
    with track(f"latency, {len(candidates)} models interleaved", runs, "runs each") as advance:
        timed = interleaved({c.name: c.one for c in candidates}, signals[:_LATENCY_WINDOWS], runs, progress=advance)
    colds: dict[str, ColdStart] = {}
    with track("cold start in fresh processes", len(files), "files") as advance:
        for done, path in enumerate(files, 1):
            colds[path.name] = cold_start(path)
            advance(done)
    models = tuple(
        ModelResult(
            name=c.name,
            recipe=used[c.digest][1].recipe.name,
            runtime=c.runtime,
            scheme=c.scheme,
            lowering=c.lowering,
            file=c.path.name if c.path else None,
            size_bytes=c.path.stat().st_size if c.path else None,
            parity=parities[c.name],
            latency=timed[c.name],
            cold_start=colds.get(c.name),
        )
        for c in candidates
    )
    data = {"source": dataset.source, "digest": dataset.digest, "test_windows": len(dataset.test)}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return BenchResult(models, tuple(references), data, machine(), created)


def machine() -> dict[str, Any]:
    """The processor, the system and the versions that the figures were taken with; no host name, no path."""
    versions: dict[str, str | None] = {}
    for package in ("numpy", "onnxruntime", "ai-edge-litert", "torch"):
        try:
            versions[package] = installed.version(package)
        except installed.PackageNotFoundError:
            versions[package] = None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": 1,
        "versions": versions,
    }


def _processor() -> str:
    try:  # Linux tells its name nowhere else; other systems answer platform.processor()
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _gather(paths: Sequence[Path]) -> tuple[list[Path], dict[str, tuple[Path, Checkpoint]]]:
    """The model files among `paths`, and every checkpoint there or beside them, by network digest."""
    files: list[Path] = []
    given = {path.resolve(): None for path in paths if path.suffix == ".safetensors"}  # an ordered set
    beside: list[Path] = []
    for path in paths:
        if path.resolve() in given:
            continue
        if path.is_dir():
            # one level down too: artifacts/<recipe>/<files>
            inside = sorted(p for p in [*path.iterdir(), *path.glob("*/*")] if not p.name.startswith("."))
            files += [p for p in inside if p.suffix.lower() in runtimes.SUFFIXES]
            beside += [p for p in inside if p.suffix == ".safetensors"]
        elif path.exists():
            files.append(path)
            beside += sorted(path.resolve().parent.glob("*.safetensors"))
        else:
            raise InputError(f"not found: {path}. Give .onnx or .tflite files, or a folder of them")
    files = list({path.resolve(): path for path in files}.values())
    if not files:
        where = ", ".join(str(path) for path in paths)
        raise InputError(f"no .onnx or .tflite file in {where}; `harexport export` writes them")
    if len({path.name for path in files}) < len(files):
        raise InputError("two of the files have the same name; the table could not tell them apart: rename one")
    known = {}
    for path in given | {path.resolve(): None for path in beside}:
        try:
            checkpoint = checkpoints.load(path)
        except InputError as error:
            if path in given:
                raise
            say(f"Leaving out {error}")  # it only happened to lie there
            continue
        known[checkpoint.digest] = (path, checkpoint)
    return files, known


def _file_candidate(path: Path, known: dict[str, tuple[Path, Checkpoint]]) -> _Candidate:
    runner = runtimes.load(path)  # first: it has the words for a file that is missing or something else
    held = structure.of(path.read_bytes(), path.suffix[1:].lower(), str(path))
    digest = held.metadata.get("network_sha256", "")
    if digest not in known:
        raise InputError(
            f"{path}: no checkpoint among the given paths or beside it is the one it was exported from "
            f"(network {digest[:12] or 'unnamed'}); give its .safetensors too, export it again, or delete it"
        )
    # What is promised depends on the scheme, so the weights decide it and not what the file says of itself.
    if held.weights and held.scheme != (claimed := held.metadata.get("scheme")):
        raise InputError(
            f"{path} says that its scheme is {claimed}, but its weights are {held.scheme}; export it again"
        )
    if held.contract != known[digest][1].contract.to_dict():
        raise InputError(f"{path}: the contract in it (labels, units, window) is not its checkpoint's; export it again")
    lowering = held.metadata.get("lowering")
    return _Candidate(path.name, runner.runtime, held.scheme, lowering, path, digest, runner.logits, runner.one)


def _torch_candidates(used: dict[str, tuple[Path, Checkpoint]]) -> list[_Candidate]:
    if importlib.util.find_spec("torch") is None:
        say("torch is not installed: the trainer itself is not compared (pip install 'harexport[train]')")
        return []
    from harexport.runtimes.torch import TorchRunner

    found = []
    names = [checkpoint.recipe.name for _, checkpoint in used.values()]
    for digest, (_, checkpoint) in used.items():
        runner = TorchRunner(checkpoint.network)
        # two runs of one recipe are told apart by their network
        recipe = checkpoint.recipe.name
        name = f"{recipe} in torch" if names.count(recipe) == 1 else f"{recipe} {digest[:8]} in torch"
        found.append(_Candidate(name, runner.runtime, "torch", None, None, digest, runner.logits, runner.one))
    return found


def _reference(path: Path, checkpoint: Checkpoint, logits: NDArray[np.float64], truth: NDArray[np.int64]) -> Reference:
    network = checkpoint.network
    return Reference(
        recipe=checkpoint.recipe.name,
        checkpoint=path.name,
        digest=checkpoint.digest,
        steps=network.steps,
        hidden=network.stack[0].hidden,
        parameters=network.parameters,
        figures=metrics.classify(truth, logits.argmax(axis=1), network.labels),
        labels=checkpoint.contract.labels,
        validation=checkpoint.figures.get("validation"),
        test_watched=bool(checkpoint.figures.get("test_watched")),
    )
