"""Pipeline: trains, exports and benchmarks a model in one call, and reuses the results of an earlier run."""

from __future__ import annotations

from pathlib import Path

from harexport.bench.discovery import find_models
from harexport.bench.report.html import save_report
from harexport.bench.result import BenchResult
from harexport.bench.run import bench
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.exporters.export import ExportFailure, check_output_folder, export_checkpoint, format_result
from harexport.model import checkpoint as checkpoints
from harexport.model.checkpoint import Checkpoint
from harexport.model.recipe import Recipe
from harexport.training.resume import ResumeError
from harexport.training.train import checkpoint_path, resume_path, train
from harexport.training.validation import apply_recipe_to_dataset
from harexport.utils.console import info
from harexport.version import __version__


def run_pipeline(recipe: Recipe, dataset: Dataset, out: Path, seed: int = 0) -> tuple[BenchResult, Path, list[str]]:
    """Train, export ONNX and TFLite files in float32 and int8 weights, benchmark them and write a report.

    Args:
        recipe: Hyperparameters.
        dataset: Training and test windows.
        out: Output folder. A checkpoint or interrupted run of the same recipe, seed and data in it is used.
        seed: Seed of the random number generators.

    Returns:
        The result of the benchmark, the path of the report, and why each file that failed its checks was not written.

    Raises:
        InputError, CheckFailedError, MissingExtraError: As `train`, `export_checkpoint` and `bench`.
    """
    check_output_folder(out, apply_recipe_to_dataset(dataset, recipe).contract)  # before minutes of training
    checkpoint = train_or_reuse(recipe, dataset, out, seed)
    results = export_checkpoint(checkpoint, out, dataset, "all", ("float32", "int8-weights"))
    for result in results:
        info(f"Failed: {result.reason}" if isinstance(result, ExportFailure) else format_result(result))
    paths = [result.path for result in results if not isinstance(result, ExportFailure)]
    measured = bench(find_models([checkpoint_path(out, recipe), *paths]), dataset)
    failures = [result.reason for result in results if isinstance(result, ExportFailure)]
    return measured, save_report(measured, out, [out]), failures


def train_or_reuse(recipe: Recipe, dataset: Dataset, out: Path, seed: int = 0) -> Checkpoint:
    """Return the checkpoint of an earlier run of the same training, or train it, resuming an interrupted run.

    Raises:
        InputError, CheckFailedError, MissingExtraError: As `train`.
    """
    existing = _load_matching(checkpoint_path(out, recipe), recipe, dataset, seed)
    if existing is not None:
        return existing
    try:
        result = train(dataset, recipe, out, seed=seed, resume=resume_path(out, recipe).exists())
    except ResumeError as error:
        info(f"Starting a new training: {error}")
        result = train(dataset, recipe, out, seed=seed)
    info(f"\n{result.report}\n")
    return result.checkpoint


def _load_matching(path: Path, recipe: Recipe, dataset: Dataset, seed: int) -> Checkpoint | None:
    """Load a checkpoint if it has the same recipe, seed, data and version."""
    if not path.exists():
        return None
    try:
        checkpoint = checkpoints.load(path)
    except InputError as error:
        info(f"Starting a new training: {error}")
        return None
    expected = (recipe, seed, dataset.digest, __version__)
    if (checkpoint.recipe, checkpoint.seed, checkpoint.data.get("digest"), checkpoint.tool_version) != expected:
        info(f"Starting a new training: {path} has another recipe, seed, dataset or version")
        return None
    info(f"Using {path} from an earlier run")
    return checkpoint
