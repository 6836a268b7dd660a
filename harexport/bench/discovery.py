"""Find, load and validate the models to benchmark."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harexport.data.dataset import contract_mismatches
from harexport.data.load import check_default_dataset
from harexport.errors import InputError
from harexport.evaluation.comparison import Kind
from harexport.exporters.locations import find_recorded_checkpoint
from harexport.formats import macs, read_model_bytes, structure
from harexport.formats.model_file import Format, ModelFile, Size, format_shape
from harexport.model import checkpoint as checkpoints
from harexport.model.checkpoint import Checkpoint
from harexport.model.contract import LOGITS_NAME, Contract
from harexport.runtimes.runner import SUFFIXES, Runner
from harexport.runtimes.sandbox import SandboxedRunner, read_sandboxed
from harexport.utils.console import info

CHECKPOINT_SUFFIX = ".safetensors"
_INPUT_DTYPES = ("float32", "int8", "uint8", "int16")
# Dynamically quantized activations share a scale across a batch, which couples its windows a little.
_BATCH_TOLERANCE = 0.2


@dataclass(frozen=True)
class ReferenceCheckpoint:
    """A checkpoint that can be the reference of a file.

    Attributes:
        path: Where it is.
        checkpoint: Its content.
        is_named: Whether the user named it; otherwise it was found in a folder or beside a file.
    """

    path: Path
    checkpoint: Checkpoint
    is_named: bool


@dataclass(frozen=True)
class FoundModels:
    """Result of `find_models`.

    Attributes:
        files: .onnx and .tflite files.
        checkpoints: Checkpoints by the digest of their network.
        folders: Folders that were named or contain a named file.
        against: Model with which all others are compared, from --against.
    """

    files: tuple[Path, ...]
    checkpoints: dict[str, ReferenceCheckpoint]
    folders: tuple[Path, ...]
    against: Path | None = None

    def check_default_dataset(self) -> None:
        """Raise InputError if there are checkpoints, and none of them fits UCI HAR, the default dataset."""
        errors = []
        for found in self.checkpoints.values():
            try:
                check_default_dataset(found.checkpoint.contract, found.path.name)
            except InputError as error:
                errors.append(error)
            else:
                return
        if errors:
            raise errors[0]


def list_models(paths: Sequence[Path]) -> list[tuple[Path, bool]]:
    """List model files and checkpoints.

    Args:
        paths: Files, or folders that are searched one level down too (artifacts/<recipe>/<file>).

    Returns:
        Each path with a flag: True if the user named it, False if it was found in a folder. A path can occur twice.

    Raises:
        InputError: A path does not exist.
    """
    listed: list[tuple[Path, bool]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in [*path.iterdir(), *path.glob("*/*")] if not p.name.startswith("."))
            suffixes = (*SUFFIXES, CHECKPOINT_SUFFIX)
            listed += [(p, False) for p in inside if p.suffix.lower() in suffixes]
        elif path.exists() or path.suffix == CHECKPOINT_SUFFIX:  # a missing checkpoint is reported when it is loaded
            listed.append((path, True))
        else:
            raise InputError(f"not found: {path}. Give .onnx or .tflite files, checkpoints, or folders of them")
    return listed


def find_models(paths: Sequence[Path], against: Path | None = None) -> FoundModels:
    """Find model files in `paths`, and checkpoints there or beside the files.

    Args:
        paths: Files or folders.
        against: Model with which all others are compared.

    Raises:
        InputError: A path does not exist, a named checkpoint cannot be loaded, or there is no model.
    """
    every_path = [*paths, *([against] if against else [])]
    listed = list_models(every_path)
    by_location = {path.resolve(): path for path, _ in listed if path.suffix != CHECKPOINT_SUFFIX}
    files = tuple(by_location.values())
    named = {path.resolve(): True for path, is_named in listed if is_named and path.suffix == CHECKPOINT_SUFFIX}
    if not files and not named:
        where = ", ".join(str(path) for path in paths)
        raise InputError(f"no .onnx or .tflite file in {where}; `harexport export` writes them")
    others = [path for path, is_named in listed if not is_named and path.suffix == CHECKPOINT_SUFFIX]
    for path, is_named in listed:
        if is_named and path.suffix != CHECKPOINT_SUFFIX:
            others += sorted(path.resolve().parent.glob(f"*{CHECKPOINT_SUFFIX}"))
    found: dict[str, ReferenceCheckpoint] = {}
    for path in named | {path.resolve(): False for path in others if path.resolve() not in named}:
        try:
            checkpoint = checkpoints.load(path)
        except InputError as error:
            if path in named:
                raise
            info(f"Skipped {error}")
            continue
        found.setdefault(checkpoint.digest, ReferenceCheckpoint(path, checkpoint, path in named))
    folders = tuple(path if path.is_dir() else path.parent for path in paths)
    return FoundModels(files, found, folders, against)


@dataclass(frozen=True)
class ModelUnderTest:
    """A model file that loads, runs, and accepts windows of the right shape.

    Attributes:
        name: Unique name in the benchmark.
        path: The file.
        model: Its content.
        format: "tflite" or "onnx".
        output: Index of the output with the predictions.
        has_external_weights: Whether weights are in files beside it.
        scheme: Quantization scheme, from the weights.
        lowering: Lowering of the recurrent layers, from the metadata.
        digest: Digest of the network it must match within a tolerance; None for a file without a known checkpoint.
        kind: What the output holds.
        channels: Channels of the data that it uses.
        batch: Windows per call, None for any number.
        size_bytes: Size with the weights beside it.
        macs: Multiply-accumulates.
        notes: Remarks for the report.
    """

    name: str
    path: Path
    model: bytes
    format: Format
    output: int
    has_external_weights: bool
    scheme: str
    lowering: str | None
    digest: str | None
    kind: Kind
    channels: tuple[str, ...]
    batch: int | None
    size_bytes: int
    macs: macs.Macs
    notes: tuple[str, ...]

    def load(self, threads: int = 1) -> SandboxedRunner:
        """Build the runner of this file, in the child process. Raises InputError."""
        model = self.path if self.has_external_weights else self.model
        return SandboxedRunner(model, f".{self.format}", self.name, threads=threads, output=self.output)


def load_model_under_test(
    path: Path,
    name: str,
    known: dict[str, ReferenceCheckpoint],
    data: Contract,
    reference_optional: bool,
) -> ModelUnderTest:
    """Parse a file, run it in the child process and validate it.

    Args:
        path: The file.
        name: Its name in messages; every message begins with it.
        known: Checkpoints by digest; one that `export` recorded is added.
        data: Contract of the test windows.
        reference_optional: Whether the checkpoint that the file names may be missing.

    Raises:
        InputError: The file cannot be benchmarked.
    """
    model = read_model_bytes(path, name)
    file, sandbox = read_sandboxed(model, name, path)
    _add_recorded_checkpoint(file.metadata.get("network_sha256", ""), known)
    _check_operators(file)
    contract = _contract(file, known, data)
    window, labels = (contract.window, len(contract.channels)), len(data.labels)
    _check_input(file, window)
    _check_constants(file)
    digest = _reference_digest(file, known, reference_optional)
    source = path if file.external else model  # ONNX Runtime finds external weights by the path of the file
    if sandbox.error:
        raise InputError(f"{name}: {sandbox.error.rstrip('.')}; export it again")
    output = _select_output(file, labels, sandbox.probabilities)
    kind: Kind = "probabilities" if file.outputs[output].name in sandbox.probabilities else "logits"
    runner = SandboxedRunner(source, f".{file.format}", name, output=output)
    _check_prediction(runner, name, labels, window)
    if not sandbox.is_random:
        _check_batch_axis(runner, name, window)
    scheme = _scheme(file, digest)
    notes = [f"ONNX's checker: {file.problem}"] if file.problem else []
    if kind == "probabilities":
        notes.append("outputs probabilities only; their logarithms are compared instead of logits")
    if sandbox.is_stateful:
        notes.append(
            "keeps state between windows; the state is reset before each window here, and predictions differ in an "
            "app that does not reset it (see harexport inspect)"
        )
    if sandbox.is_random:
        notes.append("its outputs differ between runs on the same window (see harexport inspect)")
    return ModelUnderTest(
        name=name,
        path=path,
        model=model,
        format=file.format,
        output=output,
        has_external_weights=bool(file.external),
        scheme=scheme,
        lowering=file.metadata.get("lowering"),
        digest=digest,
        kind=kind,
        channels=contract.channels,
        batch=runner.batch,
        size_bytes=len(model) + sum(size or 0 for size in file.external.values()),
        macs=macs.count_macs(file),
        notes=tuple(notes),
    )


def _add_recorded_checkpoint(digest: str, known: dict[str, ReferenceCheckpoint]) -> None:
    """Add the checkpoint of an exported file to `known` if `export` recorded where it is."""
    if digest in known or (path := find_recorded_checkpoint(digest)) is None:
        return
    with contextlib.suppress(InputError):  # damaged or replaced since
        checkpoint = checkpoints.load(path)
        if checkpoint.digest == digest:
            known[digest] = ReferenceCheckpoint(path, checkpoint, is_named=False)


def _contract(file: ModelFile, known: dict[str, ReferenceCheckpoint], data: Contract) -> Contract:
    """Return the contract of the file's checkpoint; for a file without a known checkpoint, that of the data."""
    reference = known.get(file.metadata.get("network_sha256", ""))
    if reference is None:
        return data
    contract = reference.checkpoint.contract
    if mismatches := contract_mismatches(contract, data):
        raise InputError(
            f"{file.name} does not fit the data: {'; '.join(mismatches)}. Give the model's training data with --data"
        )
    return contract


def _check_operators(file: ModelFile) -> None:
    custom = {op.kind for graph in file.graphs for op in graph.ops if op.custom}
    unsupported = sorted(kind for kind in custom if not kind.startswith("com.microsoft."))
    if not unsupported:
        return
    if flex := [kind for kind in unsupported if kind.startswith("Flex")]:
        raise InputError(
            f"{file.name} needs TensorFlow's Flex delegate for {', '.join(flex)}, which no standard runtime includes; "
            "convert it with TFLITE_BUILTINS only"
        )
    raise InputError(
        f"{file.name} needs operators that no standard runtime includes: {', '.join(unsupported)}; export without them"
    )


def _check_input(file: ModelFile, window: tuple[int, int]) -> None:
    expected = f"the data are float32 windows [n, {window[0]}, {window[1]}]"
    if len(file.inputs) != 1:
        listed = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in file.inputs)
        raise InputError(f"{file.name} has {len(file.inputs)} inputs ({listed}); one is supported, and {expected}")
    (tensor,) = file.inputs
    shape = tensor.shape
    if len(shape) != 3 or not all(_fits(size, length) for size, length in zip(shape[1:], window, strict=True)):
        is_swapped = len(shape) == 3 and all(_fits(s, n) for s, n in zip(shape[1:], window[::-1], strict=True))
        hint = " (time and channels are swapped: add a transpose before the first layer)" if is_swapped else ""
        raise InputError(f"{file.name} has the input {format_shape(shape)}{hint}; {expected}")
    if tensor.dtype not in _INPUT_DTYPES or (tensor.dtype != "float32" and tensor.quantization is None):
        raise InputError(f"{file.name} has an input of {tensor.dtype}; {expected} (int8 needs a scale)")


def _fits(size: Size, length: int) -> bool:
    return not isinstance(size, int) or size == length


def _check_constants(file: ModelFile) -> None:
    for tensor in file.constants:
        values = tensor.values
        if values is not None and values.dtype.kind == "f" and np.isnan(values).any():
            raise InputError(f"{file.name}: its weights contain NaN ({tensor.name or 'unnamed'}); train it again")


def _select_output(file: ModelFile, labels: int, probabilities: Sequence[str]) -> int:
    """Return the index of the output with the predictions.

    It is the one named as in our exports, else logits before probabilities, else the first of a fitting shape.
    """
    names = [tensor.name for tensor in file.outputs]
    fitting = [k for k, tensor in enumerate(file.outputs) if tensor.shape and _fits(tensor.shape[-1], labels)]
    if not fitting:
        shapes = ", ".join(f"{tensor.name} {format_shape(tensor.shape)}" for tensor in file.outputs)
        raise InputError(f"{file.name} has the outputs {shapes}; the data have {labels} labels")
    if LOGITS_NAME in names and names.index(LOGITS_NAME) in fitting:
        return names.index(LOGITS_NAME)
    return min(fitting, key=lambda k: (names[k] in probabilities, k))


def _check_batch_axis(runner: Runner, name: str, window: tuple[int, int]) -> None:
    """Refuse a model whose prediction for a window depends on the other windows of its batch.

    That is a model that expects time before the batch: [128, n, 9] accepts 128 windows as well as 128 samples.
    """
    size = runner.batch or 2
    if size == 1:
        return
    random = np.random.default_rng(0)
    first = random.normal(size=(size, *window)).astype(np.float32)
    second = random.normal(size=(size, *window)).astype(np.float32)
    second[0] = first[0]
    a, b = (np.array(runner.run_batch(windows), np.float64).reshape(size, -1) for windows in (first, second))
    with np.errstate(invalid="ignore"):  # outputs that are not finite are refused later
        spread = float(np.abs(a - a.mean(axis=0)).max())  # zero for a model that ignores its input
        difference = float(np.abs(a[0] - b[0]).max())
    if difference > _BATCH_TOLERANCE * spread:
        raise InputError(
            f"{name}: its prediction for a window depends on the other windows of the batch, so its first axis is not "
            "the batch; export it with the input [batch, samples, channels]"
        )


def _check_prediction(runner: Runner, name: str, labels: int, window: tuple[int, int]) -> None:
    """Run one batch of zeros: shapes in the file may be unknown before."""
    size = runner.batch or 1
    prediction = runner.run_batch(np.zeros((size, *window), np.float32))
    if prediction.size != size * labels:
        raise InputError(
            f"{name} has the output shape {list(prediction.shape)} for {size} windows; the data have {labels} labels"
        )


def _reference_digest(file: ModelFile, known: dict[str, ReferenceCheckpoint], reference_optional: bool) -> str | None:
    """Return the digest of the checkpoint that the file was exported from; None for a file without one."""
    digest = file.metadata.get("network_sha256")
    if digest is None:
        return None
    if digest not in known:
        if reference_optional:
            return None
        raise InputError(
            f"{file.name}: the checkpoint it was exported from (network {digest[:12]}) is missing. Give its "
            ".safetensors, or a file to compare with by --against"
        )
    if file.contract != known[digest].checkpoint.contract.to_dict():
        raise InputError(
            f"{file.name}: its contract (labels, units, window) differs from that of its checkpoint; export it again"
        )
    return digest


def _scheme(file: ModelFile, digest: str | None) -> str:
    """Return the scheme of the weights. The tolerance depends on it, so the metadata must agree."""
    found = structure.to_structure(file)
    declared = file.metadata.get("scheme")
    if digest is not None and found.weights and found.scheme != declared:
        raise InputError(
            f"{file.name} declares the scheme {declared}, but its weights are {found.scheme}; export it again"
        )
    return found.scheme
