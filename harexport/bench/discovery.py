"""What takes part in a bench: files and checkpoints found, read once, and let in or turned away with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from harexport import runtimes
from harexport.data.dataset import contract_mismatches
from harexport.data.load import check_default_dataset
from harexport.errors import InputError
from harexport.formats import macs, read_model, structure
from harexport.formats.model_file import Format, ModelFile, Size, Tensor
from harexport.model import checkpoint as checkpoints
from harexport.model.checkpoint import Checkpoint
from harexport.model.contract import LOGITS_NAME, Contract
from harexport.runtimes import Runner
from harexport.runtimes.sandbox import run_sandboxed
from harexport.utils.console import info

_CHECKPOINT = ".safetensors"
_READABLE = ("float32", "int8", "uint8", "int16")


@dataclass(frozen=True)
class ReferenceCheckpoint:
    """A checkpoint among the given paths or beside them; `given` says which."""

    path: Path
    checkpoint: Checkpoint
    given: bool


@dataclass(frozen=True)
class ModelUnderTest:
    """A file that loads, answers, and reads windows of the right shape.

    `digest`: the network it must answer like, of one of the known checkpoints; None for a file of which nothing is
    promised. `answers`: what its chosen output holds. `channels`: those of the data that it reads. `batch`: the windows
    it takes at once, None for any number. `size_bytes`: with the weights that lie in files beside it.
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
    answers: Literal["logits", "probabilities"]
    channels: tuple[str, ...]
    batch: int | None
    size_bytes: int
    macs: macs.Macs
    notes: tuple[str, ...]

    def load(self, threads: int = 1) -> Runner:
        """Build the runner of this file. Raises InputError."""
        model = self.path if self.has_external_weights else self.model
        return runtimes.load_bytes(model, f".{self.format}", self.name, threads=threads, output=self.output)


def find_models(
    paths: Sequence[Path], tell: Callable[[str], object] = info
) -> tuple[list[Path], dict[str, ReferenceCheckpoint]]:
    """The model files among `paths` (files or folders), and every checkpoint there or beside them, by digest.

    `tell` is told which of those beside cannot be read. Raises InputError for a path that is not there, and where
    there is nothing to measure.
    """
    files: list[Path] = []
    given = {path.resolve(): None for path in paths if path.suffix == _CHECKPOINT}  # an ordered set
    beside: list[Path] = []
    for path in paths:
        if path.resolve() in given:
            continue
        if path.is_dir():
            # one level down too: artifacts/<recipe>/<files>
            inside = sorted(p for p in [*path.iterdir(), *path.glob("*/*")] if not p.name.startswith("."))
            files += [p for p in inside if p.suffix.lower() in runtimes.SUFFIXES]
            beside += [p for p in inside if p.suffix == _CHECKPOINT]
        elif path.exists():
            files.append(path)
            beside += sorted(path.resolve().parent.glob(f"*{_CHECKPOINT}"))
        else:
            raise InputError(f"not found: {path}. Give .onnx or .tflite files, or a folder of them")
    files = list({path.resolve(): path for path in files}.values())
    if not files and not given:
        where = ", ".join(str(path) for path in paths)
        raise InputError(f"no .onnx or .tflite file in {where}; `harexport export` writes them")
    known: dict[str, ReferenceCheckpoint] = {}
    for path in given | {path.resolve(): None for path in beside}:
        try:
            checkpoint = checkpoints.load(path)
        except InputError as error:
            if path in given:
                raise
            tell(f"Leaving out {error}")  # it only happened to lie there
            continue
        known.setdefault(checkpoint.digest, ReferenceCheckpoint(path, checkpoint, path in given))
    return files, known


def check_default_data(paths: Sequence[Path]) -> None:
    """Raise InputError where no data were named and none of the checkpoints there or beside can be of UCI HAR."""
    of_others = []
    for one in find_models(paths, tell=lambda words: None)[1].values():
        try:
            check_default_dataset(one.checkpoint.contract, one.path.name)
        except InputError as error:
            of_others.append(error)
        else:
            return
    if of_others:
        raise of_others[0]


def load_model_under_test(
    path: Path, name: str, known: dict[str, ReferenceCheckpoint], data: Contract, lone: bool
) -> ModelUnderTest:
    """Read a file, look into it, run it in a child process; `lone`: it may do without its checkpoint.

    `data` is the contract of the windows that it will be asked: all their channels, or those of its own contract.
    Raises InputError, in one sentence that begins with `name`, for everything that cannot be measured.
    """
    try:
        model = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error
    held = read_model(model, name, path.parent)
    _check_operators(held)
    reads = _contract(held, known, data)
    window, labels = (reads.window, len(reads.channels)), len(data.labels)
    _check_input(held, window)
    _check_numbers(held)
    digest = _reference(held, known, lone)
    given = path if held.external else model  # ONNX Runtime finds weights beside a file by the file's path only
    verdict = run_sandboxed(given, f".{held.format}")
    if verdict.error:
        raise InputError(f"{name}: {verdict.error.rstrip('.')}; export it again")
    output = _output(held, labels, verdict.probabilities)
    answers: Literal["logits", "probabilities"] = "logits"
    if held.outputs[output].name in verdict.probabilities:
        answers = "probabilities"
    runner = runtimes.load_bytes(given, f".{held.format}", name, output=output)
    _check_answer(runner, name, labels, window)
    scheme = _scheme(held, digest)
    notes = [f"ONNX's checker: {held.problem}"] if held.problem else []
    if answers == "probabilities":
        notes.append("it answers probabilities only: its logits are taken as their logarithms")
    if verdict.is_stateful:
        notes.append(
            "it remembers the window before: here its state is reset before each window; where an app does not, its "
            "answers are others than these (harexport inspect says more)"
        )
    return ModelUnderTest(
        name=name,
        path=path,
        model=model,
        format=held.format,
        output=output,
        has_external_weights=bool(held.external),
        scheme=scheme,
        lowering=held.metadata.get("lowering"),
        digest=digest,
        answers=answers,
        channels=reads.channels,
        batch=runner.batch,
        size_bytes=len(model) + sum(size or 0 for size in held.external.values()),
        macs=macs.count_macs(held),
        notes=tuple(notes),
    )


def _contract(held: ModelFile, known: dict[str, ReferenceCheckpoint], data: Contract) -> Contract:
    """What the file reads: its checkpoint's contract, or for a stranger's file that of the data. Raises InputError."""
    one = known.get(held.metadata.get("network_sha256", ""))
    if one is None:
        return data
    contract = one.checkpoint.contract
    if differing := contract_mismatches(contract, data):
        raise InputError(
            f"{held.name} does not fit the data: {'; '.join(differing)}. With --data give the data that the model was "
            "trained on"
        )
    return contract


def _check_operators(held: ModelFile) -> None:
    custom = {op.kind for graph in held.graphs for op in graph.ops if op.custom}
    strange = sorted(kind for kind in custom if not kind.startswith("com.microsoft."))
    if not strange:
        return
    if flex := [kind for kind in strange if kind.startswith("Flex")]:
        raise InputError(
            f"{held.name} needs TensorFlow's Flex delegate for {', '.join(flex)}, which no stock runtime has; "
            "convert it with TFLITE_BUILTINS only"
        )
    raise InputError(
        f"{held.name} needs operators that no stock runtime has: {', '.join(strange)}; export without them"
    )


def _check_input(held: ModelFile, window: tuple[int, int]) -> None:
    wanted = f"the data are float32 windows [n, {window[0]}, {window[1]}]"
    if len(held.inputs) != 1:
        listed = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in held.inputs)
        raise InputError(
            f"{held.name} has {len(held.inputs)} inputs ({listed}); {wanted}, and nothing else is handed in"
        )
    (tensor,) = held.inputs
    shape = tensor.shape
    if len(shape) != 3 or not all(_fits(size, length) for size, length in zip(shape[1:], window, strict=True)):
        turned = len(shape) == 3 and all(_fits(s, n) for s, n in zip(shape[1:], window[::-1], strict=True))
        why = " with time and channels the other way round: put a transpose before its first layer" if turned else ""
        raise InputError(f"{held.name} reads {_shown(shape)}{why}; {wanted}")
    if tensor.dtype not in _READABLE or (tensor.dtype != "float32" and tensor.quantization is None):
        raise InputError(f"{held.name} reads {tensor.dtype}; {wanted} (int8 needs a scale)")


def _fits(size: Size, length: int) -> bool:
    return not isinstance(size, int) or size == length


def _shown(shape: tuple[Size, ...]) -> str:
    return f"[{', '.join(str(size) for size in shape)}]"


def _check_numbers(held: ModelFile) -> None:
    for tensor in held.constants:
        values = tensor.values
        if values is not None and values.dtype.kind == "f" and np.isnan(values).any():
            raise InputError(
                f"{held.name}: there is NaN among its weights ({tensor.name or 'unnamed'}); train it again"
            )


def _output(held: ModelFile, labels: int, probabilities: Sequence[str]) -> int:
    """Which output holds the answer: ours by its name, else logits before probabilities, else the first that fits."""
    named = [tensor.name for tensor in held.outputs]
    fitting = [k for k, tensor in enumerate(held.outputs) if _ends_in(tensor, labels)]
    if not fitting:
        shapes = ", ".join(f"{tensor.name} {_shown(tensor.shape)}" for tensor in held.outputs)
        raise InputError(f"{held.name} answers {shapes}; the data have {labels} labels")
    if LOGITS_NAME in named and named.index(LOGITS_NAME) in fitting:
        return named.index(LOGITS_NAME)
    return min(fitting, key=lambda k: (named[k] in probabilities, k))


def _ends_in(tensor: Tensor, labels: int) -> bool:
    return bool(tensor.shape) and _fits(tensor.shape[-1], labels)


def _check_answer(runner: Runner, name: str, labels: int, window: tuple[int, int]) -> None:
    """What the file says of its shapes may leave lengths open: ask it one window."""
    size = runner.batch or 1
    try:
        answer = runner.run_batch(np.zeros((size, *window), np.float32))
    except Exception as error:  # the runtimes' kinds of error share no base class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise InputError(f"{name} can be loaded but not run ({reason}); export it again") from error
    if answer.size != size * labels:
        raise InputError(f"{name} answers {list(answer.shape)} to {size} windows; the data have {labels} labels")


def _reference(held: ModelFile, known: dict[str, ReferenceCheckpoint], lone: bool) -> str | None:
    """The digest of the checkpoint it must answer like; None where nothing was promised."""
    digest = held.metadata.get("network_sha256")
    if digest is None:
        return None
    if digest not in known:
        if lone:
            return None
        raise InputError(
            f"{held.name}: no checkpoint among the given paths or beside it is the one it was exported from (network "
            f"{digest[:12]}); give its .safetensors too, name a file to compare with by --against, or export it again"
        )
    if held.contract != known[digest].checkpoint.contract.to_dict():
        raise InputError(
            f"{held.name}: the contract in it (labels, units, window) is not its checkpoint's; export it again"
        )
    return digest


def _scheme(held: ModelFile, digest: str | None) -> str:
    """What its weights show. What is promised depends on it, so what a file of ours says of itself must be the same."""
    found = structure.to_structure(held)
    claimed = held.metadata.get("scheme")
    if digest is not None and found.weights and found.scheme != claimed:
        raise InputError(
            f"{held.name} says that its scheme is {claimed}, but its weights are {found.scheme}; export it again"
        )
    return found.scheme
