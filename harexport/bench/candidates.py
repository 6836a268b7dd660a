"""Models under test with their predictions on the test set."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harexport.bench.discovery import FoundModels, ModelUnderTest, ReferenceCheckpoint, load_model_under_test
from harexport.bench.result import SkippedModel, group_reasons
from harexport.data.dataset import Dataset
from harexport.data.mounting import adapt_dataset
from harexport.data.splits import check_split
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
    """A model with its predictions on the test set.

    Attributes:
        name: Unique name.
        runtime: Runtime's name in tables.
        scheme: Quantization scheme, or "torch".
        digest: Digest of its reference checkpoint; None without one.
        batch: Windows per call, None for any number.
        predictions: On all test windows.
        load: Builds the model with a number of threads.
        file: The model file; None for PyTorch.
    """

    name: str
    runtime: str
    scheme: str
    digest: str | None
    batch: int | None
    predictions: Predictions
    load: Callable[[int], Model]
    file: ModelUnderTest | None


@dataclass(frozen=True)
class Benchmark:
    """All candidates and references of a benchmark.

    Attributes:
        candidates: Models to measure.
        skipped: Files that cannot be measured.
        checkpoints: Checkpoints by digest.
        references: float64 predictions of the checkpoints that are references, by digest.
        against: Name of the --against model.
        dataset: The data, reduced to the channels that all candidates use.
    """

    candidates: list[Candidate]
    skipped: list[SkippedModel]
    checkpoints: dict[str, ReferenceCheckpoint]
    references: dict[str, Predictions]
    against: str | None
    dataset: Dataset

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.dataset.contract.labels

    def reference(self, candidate: Candidate) -> Predictions:
        """Return what a candidate is compared with.

        This is its own checkpoint, --against, a named checkpoint, or the first model with finite predictions.
        """
        if candidate.digest is not None:
            return self.references[candidate.digest]
        others = (*self.references.values(), *(candidate.predictions for candidate in self.candidates))
        return self.against_predictions or next((p for p in others if not p.num_nonfinite), candidate.predictions)

    @property
    def against_predictions(self) -> Predictions | None:
        """Predictions of the --against model."""
        every = [*self.references.values(), *(candidate.predictions for candidate in self.candidates)]
        return next((predictions for predictions in every if predictions.name == self.against), None)

    @property
    def baseline(self) -> str:
        """Name of the model that latency ratios are relative to.

        This is --against, else the first float32 file, else the first model.
        """
        names = [candidate.name for candidate in self.candidates]
        if self.against in names:
            return str(self.against)
        files = [candidate.name for candidate in self.candidates if candidate.file and candidate.scheme == "float32"]
        return (files or names)[0]


def prepare_benchmark(found: FoundModels, dataset: Dataset) -> Benchmark:
    """Load all models and run them on the test set. Raises InputError if none can be measured."""
    names = unique_names(found.files)
    models, skipped = _load_all(found, names, dataset.contract)
    dataset, models, other_channels = _select_common_channels(models, found.checkpoints, dataset)
    skipped += other_channels
    references = _run_references(found.checkpoints, models, dataset)
    candidates, failed = _run_test_set(models, dataset)
    skipped += failed
    against = _name_of_against(found, names, references)
    for model in skipped:
        if model.name == against:
            raise InputError(f"nothing can be compared with --against: {model.reason}")
    for candidate in candidates:
        if candidate.name == against and (count := candidate.predictions.num_nonfinite):
            raise InputError(
                f"nothing can be compared with --against: the predictions of {count} windows are not finite"
            )
    candidates += _torch_candidates({d: found.checkpoints[d].checkpoint for d in references}, dataset)
    if not candidates:
        raise InputError("; ".join(group_reasons(skipped)) or "no model to measure: torch is not installed")
    return Benchmark(candidates, skipped, found.checkpoints, references, against, dataset)


def _load_all(found: FoundModels, names: list[str], data: Contract) -> tuple[list[ModelUnderTest], list[SkippedModel]]:
    models, skipped = [], []
    reference_optional = found.against is not None
    with progress("loading each file in a child process", len(found.files), "files") as advance:
        for done, (path, name) in enumerate(zip(found.files, names, strict=True), 1):
            try:
                models.append(load_model_under_test(path, name, found.checkpoints, data, reference_optional))
            except InputError as error:
                skipped.append(SkippedModel(name, str(error)))
            advance(done)
    return models, skipped


def _select_common_channels(
    models: list[ModelUnderTest], known: dict[str, ReferenceCheckpoint], dataset: Dataset
) -> tuple[Dataset, list[ModelUnderTest], list[SkippedModel]]:
    """Reduce the data to the channels of the first model, and drop the models that use other channels.

    Raises InputError if a named checkpoint does not fit the data or uses other channels than the first model.
    """
    named = [reference for reference in known.values() if reference.is_named]
    matching = [adapt_dataset(dataset, reference.checkpoint.contract, reference.path.name) for reference in named]
    for reference in named:
        check_split(dataset, reference.checkpoint.data.get("split"), reference.path.name)
    channels_of = [(model.name, model.channels) for model in models]
    channels_of += [(r.path.name, part.contract.channels) for r, part in zip(named, matching, strict=True)]
    if not channels_of:
        return dataset, [], []
    first, channels = channels_of[0]
    different = {
        name: f"{name} uses other channels than {first}; run bench separately for it"
        for name, own in channels_of
        if own != channels
    }
    for reference in named:
        if reference.path.name in different:
            raise InputError(different[reference.path.name])
    selected = [model for model in models if model.name not in different]
    return dataset.select_channels(channels), selected, [SkippedModel(*item) for item in different.items()]


def _run_references(
    known: dict[str, ReferenceCheckpoint], models: list[ModelUnderTest], dataset: Dataset
) -> dict[str, Predictions]:
    """Run the float64 forward pass of the checkpoints that files refer to, and of the named ones."""
    digests = [model.digest for model in models if model.digest]
    digests += [digest for digest, reference in known.items() if reference.is_named]
    references: dict[str, Predictions] = {}
    for digest in dict.fromkeys(digests):
        checkpoint = known[digest].checkpoint
        name = f"{checkpoint.recipe.name} in float64"
        if name in {predictions.name for predictions in references.values()}:  # two runs of one recipe
            name = f"{checkpoint.recipe.name} {digest[:8]} in float64"
        with progress(f"float64 reference of {checkpoint.recipe.name}", len(dataset.test), "windows") as advance:
            logits = checkpoint.network.logits(dataset.test.signals, advance)
        accuracy = float((logits.argmax(axis=1) == dataset.test.labels).mean())
        checkpoint.check_test_accuracy(accuracy, len(dataset.test), dataset.digest, dataset.source)
        if not np.isfinite(logits).all():
            raise InputError(f"{known[digest].path.name}: its float64 predictions are NaN or infinite; train it again")
        references[digest] = Predictions(name, "logits", logits)
    return references


def _name_of_against(found: FoundModels, names: list[str], references: dict[str, Predictions]) -> str | None:
    if found.against is None:
        return None
    against = found.against.resolve()
    for path, name in zip(found.files, names, strict=True):
        if path.resolve() == against:
            return name
    for digest, reference in found.checkpoints.items():
        if reference.path.resolve() == against and digest in references:
            return references[digest].name
    raise InputError(f"--against {found.against}: give one .onnx, .tflite or .safetensors file")


def _run_test_set(models: list[ModelUnderTest], dataset: Dataset) -> tuple[list[Candidate], list[SkippedModel]]:
    candidates, skipped = [], []
    with progress("predictions on all test windows", len(models), "models") as advance:
        for done, model in enumerate(models, 1):
            runner = model.load()
            try:
                if model.digest is not None and model.scheme not in comparison.TOLERANCES:
                    schemes = ", ".join(scheme for scheme in comparison.TOLERANCES if scheme != "torch")
                    raise InputError(f"{model.name} is {model.scheme}; tolerances are defined for {schemes}")
                values = runner.logits(dataset.test.signals)
            except InputError as error:
                skipped.append(SkippedModel(model.name, str(error)))
                continue
            finally:
                advance(done)
            candidates.append(
                Candidate(
                    name=model.name,
                    runtime=runner.runtime,
                    scheme=model.scheme,
                    digest=model.digest,
                    batch=model.batch,
                    predictions=Predictions(model.name, model.kind, values),
                    load=_loader(model),
                    file=model,
                )
            )
    return candidates, skipped


def _loader(model: ModelUnderTest) -> Callable[[int], Model]:
    return lambda threads: model.load(threads)


def _torch_candidates(used: dict[str, Checkpoint], dataset: Dataset) -> list[Candidate]:
    if not used:
        return []
    if importlib.util.find_spec("torch") is None:
        info("PyTorch is not installed and not compared. In a checkout: pip install -c constraints.txt '.[train]'")
        return []
    from harexport.runtimes.torch import TorchRunner

    candidates = []
    recipes = [checkpoint.recipe.name for checkpoint in used.values()]
    for digest, checkpoint in used.items():
        recipe = checkpoint.recipe.name
        name = f"{recipe} in torch" if recipes.count(recipe) == 1 else f"{recipe} {digest[:8]} in torch"
        runner = TorchRunner(checkpoint.network)
        predictions = Predictions(name, "logits", runner.logits(dataset.test.signals))
        loader = _torch_loader(checkpoint)
        candidates.append(Candidate(name, runner.runtime, "torch", digest, None, predictions, loader, None))
    return candidates


def _torch_loader(checkpoint: Checkpoint) -> Callable[[int], Model]:
    def load(threads: int) -> Model:
        import torch

        from harexport.runtimes.torch import TorchRunner

        runner = TorchRunner(checkpoint.network)
        torch.set_num_threads(threads)
        return runner.run_batch

    return load
