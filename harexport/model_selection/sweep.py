"""Sweep: cross-validates variants of a recipe and measures latency and size of their exported models."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harexport import runtimes
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.evaluation import plots
from harexport.evaluation.environment import NoiseMonitor, pin_to_idle_cores
from harexport.evaluation.latency import Latency, Model, measure
from harexport.exporters import options
from harexport.exporters.export import build_model
from harexport.model.recipe import Recipe, parse
from harexport.model_selection import pareto
from harexport.model_selection.cross_validation import SCORES, Summary, cache_folder, make_folds, summarize
from harexport.model_selection.parallel import Execution, check_recipes, describe_trial, run_trials
from harexport.model_selection.search_space import MAX_RECIPES, Variant
from harexport.model_selection.trials import Trial, take
from harexport.training.validation import apply_recipe_to_dataset
from harexport.utils import files, tables
from harexport.utils.console import info, progress
from harexport.utils.tables import pluralize

SCHEMES = ("float32", "float16", "int8-weights")
_MAX_KEY_LINES = 12  # below the figure
_NO_SHAPE_SECTIONS = ("name", "description", "augment", "optimizer", "schedule", "validation")
_EXAMPLE_WINDOWS = 256  # training windows of the networks whose cost is measured
_RUNS, _SESSIONS = 1000, 8


@dataclass(frozen=True)
class Point:
    """A variant with its scores, and latency (microseconds) and size of its model file.

    Attributes:
        variant: Recipe and changes.
        runs: Number of trials.
        failures: Error message of each failed trial; a variant with failures is on no front.
        summary: Statistics of each score on held-out subjects.
        lowering: LSTM lowering of the model file.
        size_bytes: Size of the model file.
        latency: Latency in LiteRT.
        fronts: Costs ("latency", "size") for which the variant is on the Pareto front.
    """

    variant: Variant
    runs: int
    failures: tuple[str, ...]
    summary: dict[str, Summary]
    lowering: str
    size_bytes: int
    latency: Latency
    fronts: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float | None:
        return self.summary["accuracy"].mean

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "changes": self.variant.changes,
            "runs": self.runs,
            "failures": list(self.failures),
            "summary": {score: dataclasses.asdict(summary) for score, summary in self.summary.items()},
            "lowering": self.lowering,
            "size_bytes": self.size_bytes,
            "latency_us": dataclasses.asdict(self.latency),
            "fronts": list(self.fronts),
        }


@dataclass(frozen=True)
class Sweep:
    """Result of a sweep.

    Attributes:
        base: Recipe that was varied.
        points: Variants, the most accurate one first.
        folds: Held-out subjects of each fold.
        seeds: Seeds of the trials.
        scheme: Quantization scheme of the measured files.
        noise: Disturbances during the latency measurement.
        table: CSV file.
        json_path: JSON file.
        picture: Figure; None if every variant failed.
    """

    base: Recipe
    points: tuple[Point, ...]
    folds: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]
    scheme: str
    noise: tuple[str, ...]
    table: Path
    json_path: Path
    picture: Path | None

    @property
    def failures(self) -> tuple[str, ...]:
        return tuple(failure for point in self.points for failure in point.failures)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "recipe": self.base.to_dict(),
            "folds": [list(fold) for fold in self.folds],
            "seeds": list(self.seeds),
            "scheme": self.scheme,
            "points": [point.to_dict() for point in self.points],
            "noise": list(self.noise),
            "table": str(self.table),
            "picture": str(self.picture) if self.picture else None,
        }


def sweep(
    dataset: Dataset,
    base: Recipe,
    variants: Sequence[Variant],
    out: Path,
    folds: str = "3",
    seeds: Sequence[int] = (0, 1),
    scheme: str = "float32",
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Sweep:
    """Cross-validate variants of a recipe and measure the latency of one file per architecture.

    Writes `<recipe>.sweep.csv` (one row per variant), `<recipe>.sweep.json` and `<recipe>.sweep.png` (accuracy against
    latency and size). Finished trials are cached in the folder that `cross_validate` uses.

    Args:
        dataset: Dataset; its test windows are not used.
        base: Recipe that was varied.
        variants: Variants of the recipe.
        out: Output folder.
        folds: "loso" or a number of folds.
        seeds: Seeds of the random number generators.
        scheme: Quantization scheme of the measured files, one of SCHEMES.
        execution: Where the trials run.

    Raises:
        InputError: Dataset and recipes do not fit, there are too many trials, or a file cannot be written.
        MissingExtraError: PyTorch or Ray is not installed.
    """
    held_out = make_folds(dataset.train.subjects.tolist(), folds)
    per_variant = len(held_out) * len(seeds)
    if len(variants) * per_variant > MAX_RECIPES:
        raise InputError(
            f"{len(variants)} recipes, {len(held_out)} folds and {len(seeds)} seeds are {len(variants) * per_variant} "
            f"trainings, at most {MAX_RECIPES} are allowed. Use fewer values, --folds or --seeds"
        )
    recipes = [variant.recipe for variant in variants]
    trials = [Trial(recipe, fold, seed) for recipe in recipes for fold in held_out for seed in seeds]
    check_recipes(dataset, recipes)
    costs = model_costs(dataset, recipes, scheme)
    results = run_trials(dataset, trials, cache_folder(out, base), execution)
    latencies, noise = measure_latencies(costs)
    points = []
    for index, variant in enumerate(variants):
        part = slice(index * per_variant, (index + 1) * per_variant)
        failures = tuple(
            f"{describe_variant(variant)}: {describe_trial(trial, dataset)}: {result.error}"
            for trial, result in zip(trials[part], results[part], strict=True)
            if result.error
        )
        summary = summarize(trials[part], results[part])
        cost = costs[index]
        points.append(Point(variant, per_variant, failures, summary, cost.lowering, len(cost.model), latencies[index]))
    points.sort(key=lambda point: (bool(point.failures), -(point.accuracy or 0)))
    json_path, table, picture = (out / f"{base.name}.sweep.{suffix}" for suffix in ("json", "csv", "png"))
    ranked = _mark_fronts(points)
    complete = any(not point.failures for point in points)
    result = Sweep(
        base, ranked, tuple(held_out), tuple(seeds), scheme, noise, table, json_path, picture if complete else None
    )
    _write(result)
    for disturbance in noise:
        info(f"Latencies may be inaccurate: {disturbance}")
    return result


def _mark_fronts(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points with the costs for which they are on the Pareto front."""
    complete = [k for k, point in enumerate(points) if not point.failures]
    fronts: dict[int, list[str]] = {}
    for name, costs in (
        ("latency", [points[k].latency.p50 for k in complete]),
        ("size", [float(points[k].size_bytes) for k in complete]),
    ):
        accuracies = [points[k].accuracy or 0 for k in complete]
        for position in pareto.pareto_front(list(zip(costs, accuracies, strict=True))):
            fronts.setdefault(complete[position], []).append(name)
    return tuple(dataclasses.replace(point, fronts=tuple(fronts.get(k, ()))) for k, point in enumerate(points))


@dataclass(frozen=True)
class ModelCost:
    """A network with the architecture of a recipe as .tflite bytes, and one input window."""

    model: bytes
    lowering: str
    window: np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def model_cost(dataset: Dataset, recipe: Recipe, scheme: str) -> ModelCost:
    """Build the .tflite file of a recipe's architecture, with the lowering that `export` chooses.

    Size and latency do not depend on the values of the weights, so the network is trained on a few windows only.

    Raises:
        InputError: The recipe does not fit the dataset.
    """
    from harexport.training.trainer import fit

    dataset = apply_recipe_to_dataset(dataset, recipe)
    contract = dataset.contract
    table = recipe.to_dict()
    table["schedule"] |= {"epochs": 1, "coarse_epochs": 0}
    table["optimizer"]["learning_rate"] = 1e-6  # cannot diverge
    positions = np.unique(np.linspace(0, len(dataset.train) - 1, _EXAMPLE_WINDOWS).astype(np.intp))
    windows = take(dataset.train, positions)
    network, _ = fit(windows, None, parse(table, recipe.name), len(contract.labels), 0)
    resolved = options.resolve(network, "tflite", scheme)
    model = build_model(network, contract, {}, resolved, None)
    return ModelCost(model, resolved.lowering or "", windows.signals[:1])


def model_costs(dataset: Dataset, recipes: Sequence[Recipe], scheme: str) -> list[ModelCost]:
    """Build the file of each recipe. Recipes with the same architecture share one. Raises InputError."""
    costs: dict[str, ModelCost] = {}
    architectures = [
        json.dumps({key: value for key, value in recipe.to_dict().items() if key not in _NO_SHAPE_SECTIONS})
        for recipe in recipes
    ]
    with progress("architectures", len(set(architectures)), "networks") as advance:
        for architecture, recipe in zip(architectures, recipes, strict=True):
            if architecture not in costs:
                costs[architecture] = model_cost(dataset, recipe, scheme)
                advance(len(costs))
    return [costs[architecture] for architecture in architectures]


def measure_latencies(costs: Sequence[ModelCost]) -> tuple[list[Latency], tuple[str, ...]]:
    """Measure the latency of each file in LiteRT on one thread, all interleaved. Run this when the machine is idle.

    Returns:
        The latencies, and descriptions of disturbances during the measurement.
    """
    distinct = list({id(cost): cost for cost in costs}.values())
    names = {id(cost): str(k) for k, cost in enumerate(distinct)}

    def load() -> dict[str, Model]:
        return {names[id(cost)]: _load_model(cost) for cost in distinct}

    title = f"latency, {len(distinct)} architectures interleaved"
    with pin_to_idle_cores() as cores, progress(title, _RUNS, "runs each") as advance:
        monitor = NoiseMonitor(cores)
        # architectures may have different channels, so each model runs its own window and ignores this one
        ignored = np.zeros((1, 1, 1), np.float32)
        times = measure(load, ignored, _RUNS, sessions=_SESSIONS, progress=advance)
        conditions = monitor.conditions([times.round_medians(name) for name in times.by_model])
    return [times.latency(names[id(cost)]) for cost in costs], conditions.noise


def _load_model(cost: ModelCost) -> Model:
    runner, window = runtimes.load_bytes(cost.model, ".tflite", "a model of the sweep"), cost.window
    return lambda _: runner.run_batch(window)


def describe_variant(variant: Variant) -> str:
    """Return the changes as text, for example "hidden 48, learning_rate 0.003"."""
    return ", ".join(f"{key.partition('.')[2]} {_format_value(value)}" for key, value in variant.changes.items())


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _write(result: Sweep) -> None:
    keys = list(result.points[0].variant.changes)
    statistics = [f"{score}{suffix}" for score in SCORES for suffix in ("", "_std", "_subject_error", "_seed_error")]
    rows = [
        [
            rank,
            *(_format_value(value) if isinstance(value, list) else value for value in point.variant.changes.values()),
            point.runs,
            len(point.failures),
            *(value for score in SCORES for value in dataclasses.astuple(point.summary[score])),
            result.scheme,
            point.lowering,
            *(round(value, 3) for value in (point.latency.p50, point.latency.low, point.latency.high)),
            point.size_bytes,
            *(cost in point.fronts for cost in ("latency", "size")),
            "; ".join(point.failures) or None,
        ]
        for rank, point in enumerate(result.points, 1)
    ]
    header = ["rank", *keys, "runs", "failed", *statistics, "scheme", "lowering", "p50_us", "p50_low_us", "p50_high_us",
              "size_bytes", "on_latency_front", "on_size_front", "errors"]  # fmt: skip
    tables.write_csv(result.table, header, rows)
    files.write_json(result.json_path, result.to_dict())
    if result.picture:
        plots.save_figure(_plot(result), result.picture)


def _plot(result: Sweep) -> Any:
    complete = [(str(rank), point) for rank, point in enumerate(result.points, 1) if not point.failures]

    def make_marks(costs: list[float]) -> list[pareto.Mark]:
        return [
            pareto.Mark(rank, cost, point.accuracy or 0, point.summary["accuracy"].seed_error or 0)
            for (rank, point), cost in zip(complete, costs, strict=True)
        ]

    latencies = make_marks([point.latency.p50 for _, point in complete])
    sizes = make_marks([point.size_bytes / 1000 for _, point in complete])
    panels = [
        (f"p50 in LiteRT, µs per window ({result.scheme}, one thread)", latencies),
        (f"size of the .tflite file, KB ({result.scheme})", sizes),
    ]
    bars = "bars: standard error over seeds" if len(result.seeds) > 1 else "one seed: no error bars"
    note = f"Orange: Pareto front; {bars}. Numbers are ranks in the table; those of the fronts:"
    key = [f"{rank}: {describe_variant(point.variant)}" for rank, point in complete if point.fronts]
    if len(key) > _MAX_KEY_LINES:
        key[_MAX_KEY_LINES:] = [f"and {len(key) - _MAX_KEY_LINES} more in the table"]
    title = (
        f"{result.base.name}: {pluralize(len(complete), 'variant')}, {len(result.folds)} folds of the training "
        f"subjects, {pluralize(len(result.seeds), 'seed')}"
    )
    return pareto.plot_fronts(panels, title, note, key)


def format_sweep(result: Sweep) -> str:
    """Return the result as text."""
    keys = list(result.points[0].variant.changes)
    rows = [
        [
            str(rank),
            *(_format_value(value) for value in point.variant.changes.values()),
            *(
                tables.format_percent(value)
                for value in (point.accuracy, point.summary["accuracy"].std, point.summary["accuracy"].seed_error)
            ),
            tables.format_percent(point.summary["macro_f1"].mean),
            tables.format_number(point.summary["cross_entropy"].mean),
            f"{point.latency.p50:.1f}",
            f"{point.size_bytes / 1000:.1f}",
            f"{len(point.failures)} of {point.runs} failed" if point.failures else " ".join(point.fronts),
        ]
        for rank, point in enumerate(result.points, 1)
    ]
    header = ["rank", *(key.partition(".")[2] for key in keys), "accuracy, %", "std", "error by seeds", "macro F1, %",
              "cross-entropy", "p50, µs", "KB", "Pareto front"]  # fmt: skip
    lines = [
        f"{result.base.name}: {pluralize(len(result.points), 'variant')}, {len(result.folds)} folds by subject, "
        f"{pluralize(len(result.seeds), 'seed')}; the test set was not used",
        "",
        tables.format_text([header, *rows]),
        "(std: over folds and seeds; error by seeds: standard error of the mean over seeds; "
        f"p50 and KB: .tflite, {result.scheme}, LiteRT on one thread)",
        "",
        f"Table:   {result.table}",
    ]
    return "\n".join(lines + ([f"Picture: {result.picture}"] if result.picture else []))
