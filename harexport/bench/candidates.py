"""Who takes part in a bench: every model that could be asked, with its answers to all test windows."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harexport.bench.discovery import ModelUnderTest, ReferenceCheckpoint, find_models, load_model_under_test
from harexport.bench.result import SkippedModel
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.evaluation import comparison
from harexport.evaluation.comparison import Predictions
from harexport.evaluation.latency import Model
from harexport.model.checkpoint import Checkpoint
from harexport.model.contract import Contract
from harexport.utils.console import info, progress
from harexport.utils.files import unique_names


@dataclass(frozen=True)
class Candidate:
    """A model to be measured: what it is called, what it must answer like, and how to ask it."""

    name: str
    runtime: str
    scheme: str
    digest: str | None
    batch: int | None
    answers: Predictions
    load: Callable[[int], Model]
    entrant: ModelUnderTest | None


@dataclass(frozen=True)
class Benchmark:
    """Everyone who takes part, with the answers of the references: of checkpoints (by digest), in float64.

    `dataset` has the channels that all of them read.
    """

    candidates: list[Candidate]
    refused: list[SkippedModel]
    known: dict[str, ReferenceCheckpoint]
    expected: dict[str, Predictions]
    against: str | None  # what it is called
    dataset: Dataset

    @property
    def labels(self) -> tuple[str, ...]:
        """What the labels are called."""
        return self.dataset.contract.labels

    def reference(self, candidate: Candidate) -> Predictions:
        """What a candidate is compared with: its own checkpoint, else --against, else a given checkpoint, else the
        first file."""
        if candidate.digest is not None:
            return self.expected[candidate.digest]
        return self.other or next(iter(self.expected.values()), self.candidates[0].answers)

    @property
    def other(self) -> Predictions | None:
        """The answers of --against."""
        everyone = [*self.expected.values(), *(candidate.answers for candidate in self.candidates)]
        return next((answers for answers in everyone if answers.name == self.against), None)

    @property
    def baseline(self) -> str:
        """The model that ratios are in: --against, else the first float32 file, else the first of all."""
        named = [candidate.name for candidate in self.candidates]
        if self.against in named:
            return str(self.against)
        files = [c.name for c in self.candidates if c.entrant and c.scheme == "float32"]
        return (files or named)[0]


def prepare_benchmark(paths: Sequence[Path], dataset: Dataset, against: Path | None = None) -> Benchmark:
    """Read, check and ask everything there is. Raises InputError where nothing is left to measure."""
    files, known = find_models([*paths, *([against] if against else [])])
    named = unique_names(files)
    entrants, refused = _load_all(files, named, known, dataset.contract, lone=against is not None)
    dataset, entrants, apart = _select_common_channels(entrants, known, dataset)
    refused += apart
    used = [entrant.digest for entrant in entrants if entrant.digest]
    used += [digest for digest, one in known.items() if one.given]
    expected: dict[str, Predictions] = {}
    for digest in dict.fromkeys(used):
        recipe = known[digest].checkpoint.recipe.name
        with progress(f"float64 reference of {recipe}", len(dataset.test), "windows") as advance:
            logits = known[digest].checkpoint.network.logits(dataset.test.signals, advance)
        expected[digest] = Predictions(_recipe_name(known, digest, expected), "logits", logits)
    candidates, more = _run_test_set(entrants, dataset)
    refused += more
    named_against = _against(against, files, named, known, expected)
    for one in refused:
        if one.name == named_against:
            raise InputError(f"nothing can be compared with --against: {one.reason}")
    candidates += _torch_candidates({digest: known[digest].checkpoint for digest in expected}, dataset)
    if not candidates:
        reasons = [one.reason for one in refused] or ["nothing to measure: torch, which runs checkpoints, is missing"]
        raise InputError("; ".join(reasons))
    return Benchmark(candidates, refused, known, expected, named_against, dataset)


def _select_common_channels(
    entrants: list[ModelUnderTest], known: dict[str, ReferenceCheckpoint], dataset: Dataset
) -> tuple[Dataset, list[ModelUnderTest], list[SkippedModel]]:
    """The data with the channels that the first model reads, and who reads the same ones.

    Raises InputError where a given checkpoint does not fit the data, or reads other channels than the first model.
    """
    given = [one for one in known.values() if one.given]
    fitted = [dataset.matching(one.checkpoint.contract, one.path.name) for one in given]
    reading = [(entrant.name, entrant.channels) for entrant in entrants]
    reading += [(one.path.name, part.contract.channels) for one, part in zip(given, fitted, strict=True)]
    if not reading:
        return dataset, [], []
    first, channels = reading[0]
    other = {
        name: f"{name} reads other channels than {first}: bench them apart" for name, own in reading if own != channels
    }
    for one in given:
        if one.path.name in other:
            raise InputError(other[one.path.name])
    left = [entrant for entrant in entrants if entrant.name not in other]
    return dataset.select_channels(channels), left, [SkippedModel(name, reason) for name, reason in other.items()]


def _recipe_name(known: dict[str, ReferenceCheckpoint], digest: str, taken: dict[str, Predictions]) -> str:
    """What a reference is called; two runs of one recipe are told apart by their network."""
    recipe = known[digest].checkpoint.recipe.name
    name = f"{recipe} in float64"
    return name if name not in {answers.name for answers in taken.values()} else f"{recipe} {digest[:8]} in float64"


def _against(
    against: Path | None,
    files: list[Path],
    named: list[str],
    known: dict[str, ReferenceCheckpoint],
    expected: dict[str, Predictions],
) -> str | None:
    """What --against is called."""
    if against is None:
        return None
    wanted = against.resolve()
    for path, name in zip(files, named, strict=True):
        if path.resolve() == wanted:
            return name
    for digest, one in known.items():
        if one.path.resolve() == wanted and digest in expected:
            return expected[digest].name
    raise InputError(f"--against {against}: give one .onnx, .tflite or .safetensors file")


def _load_all(
    files: list[Path], named: list[str], known: dict[str, ReferenceCheckpoint], data: Contract, lone: bool
) -> tuple[list[ModelUnderTest], list[SkippedModel]]:
    entrants, refused = [], []
    with progress("looking into the files, each tried in a process of its own", len(files), "files") as advance:
        for done, (path, name) in enumerate(zip(files, named, strict=True), 1):
            try:
                entrants.append(load_model_under_test(path, name, known, data, lone))
            except InputError as error:
                refused.append(SkippedModel(name, str(error)))
            advance(done)
    return entrants, refused


def _run_test_set(entrants: list[ModelUnderTest], dataset: Dataset) -> tuple[list[Candidate], list[SkippedModel]]:
    candidates, refused = [], []
    with progress("parity on all test windows", len(entrants), "models") as advance:
        for done, entrant in enumerate(entrants, 1):
            asked = entrant.load()
            try:
                if entrant.digest is not None and entrant.scheme not in comparison.TOLERANCES:
                    known = ", ".join(scheme for scheme in comparison.TOLERANCES if scheme != "torch")
                    raise InputError(f"{entrant.name} is {entrant.scheme}: promises are made for {known}")
                values = asked.logits(dataset.test.signals)
            except InputError as error:
                refused.append(SkippedModel(entrant.name, str(error)))
                continue
            finally:
                advance(done)
            answers = Predictions(entrant.name, entrant.answers, values)
            candidates.append(
                Candidate(
                    entrant.name, asked.runtime, entrant.scheme, entrant.digest, entrant.batch, answers,
                    _loader(entrant), entrant,
                )
            )  # fmt: skip
    return candidates, refused


def _loader(entrant: ModelUnderTest) -> Callable[[int], Model]:
    return lambda threads: entrant.load(threads).run_batch


def _torch_candidates(used: dict[str, Checkpoint], dataset: Dataset) -> list[Candidate]:
    if not used:
        return []
    if importlib.util.find_spec("torch") is None:
        info("torch is not installed: the trainer itself is not compared (pip install 'harexport[train]')")
        return []
    from harexport.runtimes.torch import TorchRunner

    found = []
    recipes = [checkpoint.recipe.name for checkpoint in used.values()]
    for digest, checkpoint in used.items():
        # two runs of one recipe are told apart by their network
        recipe = checkpoint.recipe.name
        name = f"{recipe} in torch" if recipes.count(recipe) == 1 else f"{recipe} {digest[:8]} in torch"
        runner = TorchRunner(checkpoint.network)
        answers = Predictions(name, "logits", runner.logits(dataset.test.signals))
        found.append(Candidate(name, runner.runtime, "torch", digest, None, answers, _torch_loader(checkpoint), None))
    return found


def _torch_loader(checkpoint: Checkpoint) -> Callable[[int], Model]:
    def load(threads: int) -> Model:
        import torch

        from harexport.runtimes.torch import TorchRunner

        runner = TorchRunner(checkpoint.network)
        torch.set_num_threads(threads)
        return runner.run_batch

    return load
