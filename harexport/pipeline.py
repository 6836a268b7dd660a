"""`harexport demo`: the chain from windows to a proven, timed file, using what an earlier run left."""

from __future__ import annotations

from pathlib import Path

from harexport.bench.discovery import find_models
from harexport.bench.report import save
from harexport.bench.result import BenchResult
from harexport.bench.run import bench
from harexport.data.dataset import Dataset
from harexport.errors import CheckFailedError, InputError
from harexport.exporters.export import ExportFailure, check_output_folder, export_checkpoint, format_result
from harexport.model import checkpoint as checkpoints
from harexport.model.checkpoint import Checkpoint
from harexport.model.recipe import Recipe
from harexport.training.resume import ResumeError
from harexport.training.train import checkpoint_path, resume_path, train
from harexport.training.validation import apply_recipe_to_dataset
from harexport.utils.console import info
from harexport.version import __version__


def run(recipe: Recipe, dataset: Dataset, out: Path, seed: int = 0) -> tuple[BenchResult, Path]:
    """Train (or reuse, or resume), export ONNX and TFLite in float32 and int8 weights, prove, time, report.

    Returns the bench result and the report's path. Raises what its stages raise.
    """
    check_output_folder(out, apply_recipe_to_dataset(dataset, recipe).contract)  # before minutes of training
    checkpoint = trained(recipe, dataset, out, seed)
    results = export_checkpoint(checkpoint, out, dataset, "all", ("float32", "int8-weights"))
    for result in results:
        if isinstance(result, ExportFailure):
            raise CheckFailedError(result.reason)
        info(format_result(result))
    measured = bench(find_models([checkpoint_path(out, recipe), *(result.path for result in results)]), dataset)
    return measured, save.save(measured, out, [out])


def trained(recipe: Recipe, dataset: Dataset, out: Path, seed: int = 0) -> Checkpoint:
    """The recipe's checkpoint in `out`: an earlier run's if it fits, else trained now, going on with what was cut off.

    Raises what `train` raises.
    """
    found = _left_over(checkpoint_path(out, recipe), recipe, dataset, seed)
    if found is not None:
        return found
    try:
        result = train(dataset, recipe, out, seed=seed, resume=resume_path(out, recipe).exists())
    except ResumeError as error:
        info(f"Training anew: {error}")
        result = train(dataset, recipe, out, seed=seed)
    info(f"\n{result.report}\n")
    return result.checkpoint


def _left_over(path: Path, recipe: Recipe, dataset: Dataset, seed: int) -> Checkpoint | None:
    """The checkpoint of an earlier run, if it came from the same recipe, seed, data and version."""
    if not path.exists():
        return None
    try:
        found = checkpoints.load(path)
    except InputError as error:
        info(f"Training anew: {error}")
        return None
    if (found.recipe, found.seed, found.data.get("digest"), found.tool_version) != (
        recipe, seed, dataset.digest, __version__,
    ):  # fmt: skip
        info(f"Training anew: {path} came from another recipe, seed, data set or version")
        return None
    info(f"Using {path} from an earlier run")
    return found
