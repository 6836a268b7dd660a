"""`harexport sweep`: a recipe's variants, each cross-validated, against what their files cost on a device."""

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
from harexport.model_selection.cross_validation import SCORES, Summary, folds, runs_folder, summaries
from harexport.model_selection.parallel import Where, check, described, gather
from harexport.model_selection.search_space import MOST, Variant
from harexport.model_selection.trials import Run, some
from harexport.training.validation import apply_recipe_to_dataset
from harexport.utils import files, tables
from harexport.utils.console import info, progress

_LINES = 12  # of the picture's key


@dataclass(frozen=True)
class Point:
    """A variant, what held-out subjects say of it, and its file's time (microseconds) and size.

    `failures`: a sentence for each run that came to nothing; a variant with any is on no front. `fronts`: of which
    costs ("latency", "size") no other variant is as cheap and as accurate, and better in one.
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
        """Plain JSON values."""
        return {
            "changes": self.variant.changes,
            "runs": self.runs,
            "failures": list(self.failures),
            "summary": {score: dataclasses.asdict(of) for score, of in self.summary.items()},
            "lowering": self.lowering,
            "size_bytes": self.size_bytes,
            "latency_us": dataclasses.asdict(self.latency),
            "fronts": list(self.fronts),
        }


@dataclass(frozen=True)
class Sweep:
    """A whole search, the most accurate variant first. `noise`: what was wrong with the machine while timing."""

    base: Recipe
    points: tuple[Point, ...]
    folds: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]
    scheme: str
    noise: tuple[str, ...]
    table: Path
    whole: Path
    picture: Path | None

    @property
    def failures(self) -> tuple[str, ...]:
        return tuple(failure for point in self.points for failure in point.failures)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
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
    found: Sequence[Variant],
    out: Path,
    asked: str = "3",
    seeds: Sequence[int] = (0, 1),
    scheme: str = "float32",
    where: Where = Where(),  # noqa: B008 - frozen
) -> Sweep:
    """Cross-validate each of the variants `found` of `base`, then time a file of each shape in LiteRT, interleaved.

    asked: the folds, as `crossval` has them. Writes `<recipe>.sweep.csv` (a row a variant), `<recipe>.sweep.json` and
    `<recipe>.sweep.png` (accuracy against time and size) to `out`; finished runs are kept where `crossval` keeps its,
    and are not done again. Raises InputError, MissingExtraError.
    """
    parted = folds(dataset.train.subjects.tolist(), asked)
    every = len(parted) * len(seeds)
    if len(found) * every > MOST:
        raise InputError(
            f"{len(found)} recipes, {len(parted)} folds and {len(seeds)} seeds are {len(found) * every} trainings, at "
            f"most {MOST}: take fewer values, --folds or --seeds"
        )
    runs = [Run(variant.recipe, fold, seed) for variant in found for fold in parted for seed in seeds]
    whole, table, picture = (out / f"{base.name}.sweep.{suffix}" for suffix in ("json", "csv", "png"))
    check(dataset, [variant.recipe for variant in found])
    devices = files_of(dataset, [variant.recipe for variant in found], scheme)
    outcomes = gather(dataset, runs, runs_folder(out, base), where)
    times, noise = latencies(devices)
    points = []
    for index, variant in enumerate(found):
        part = slice(index * every, (index + 1) * every)
        pairs = list(zip(runs[part], outcomes[part], strict=True))
        points.append(
            Point(
                variant,
                every,
                tuple(f"{named(variant)}: {described(run, dataset)}: {got.error}" for run, got in pairs if got.error),
                summaries(runs[part], outcomes[part]),
                devices[index].lowering,
                len(devices[index].model),
                times[index],
            )
        )
    points.sort(key=lambda point: (bool(point.failures), -(point.accuracy or 0)))
    fair = [point for point in points if not point.failures]
    on = {
        cost: [
            id(fair[k])
            for k in pareto.front([(of, point.accuracy or 0) for point, of in zip(fair, costs, strict=True)])
        ]
        for cost, costs in (
            ("latency", [point.latency.p50 for point in fair]),
            ("size", [float(point.size_bytes) for point in fair]),
        )
    }
    ranked = tuple(
        dataclasses.replace(point, fronts=tuple(cost for cost in on if id(point) in on[cost])) for point in points
    )
    result = Sweep(base, ranked, tuple(parted), tuple(seeds), scheme, noise, table, whole, picture if fair else None)
    _write(result)
    for complaint in noise:
        info(f"The times are of a machine that was not quiet: {complaint}")
    return result


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def named(variant: Variant) -> str:
    """Its changes in words: "hidden 48, learning_rate 0.003"."""
    return ", ".join(f"{key.partition('.')[2]} {_shown(value)}" for key, value in variant.changes.items())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(str(one) for one in value) if isinstance(value, list) else str(value)


def _write(result: Sweep) -> None:
    keys = list(result.points[0].variant.changes)
    spreads = [f"{score}{suffix}" for score in SCORES for suffix in ("", "_std", "_subject_error", "_seed_error")]
    rows = [
        [
            rank,
            *(_shown(value) if isinstance(value, list) else value for value in point.variant.changes.values()),
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
    head = ["rank", *keys, "runs", "failed", *spreads, "scheme", "lowering", "p50_us", "p50_low_us", "p50_high_us",
            "size_bytes", "on_latency_front", "on_size_front", "errors"]  # fmt: skip
    tables.write_csv(result.table, head, rows)
    files.write_json(result.whole, result.to_dict())
    if result.picture:
        plots.save_figure(_picture(result), result.picture)


def _picture(result: Sweep) -> Any:
    fair = [(str(rank), point) for rank, point in enumerate(result.points, 1) if not point.failures]

    def marks(costs: list[float]) -> list[pareto.Mark]:
        return [
            pareto.Mark(rank, cost, point.accuracy or 0, point.summary["accuracy"].seed_error or 0)
            for (rank, point), cost in zip(fair, costs, strict=True)
        ]

    panels = [
        (f"p50 in LiteRT, µs a window ({result.scheme}, one thread)", marks([point.latency.p50 for _, point in fair])),
        (f"size of the .tflite file, kB ({result.scheme})", marks([point.size_bytes / 1000 for _, point in fair])),
    ]
    bars = "bars: standard error by seeds" if len(result.seeds) > 1 else "one seed: no error bars"
    note = f"Orange: the front; {bars}. Numbers are ranks in the table; those of the fronts:"
    key = [f"{rank}: {named(point.variant)}" for rank, point in fair if point.fronts]
    if len(key) > _LINES:
        key[_LINES:] = [f"and {len(key) - _LINES} more, in the table"]
    title = (
        f"{result.base.name}: {_count(len(fair), 'variant')}, {len(result.folds)} folds of the training subjects, "
        f"{_count(len(result.seeds), 'seed')}"
    )
    return pareto.picture(panels, title, note, key)


def text(result: Sweep) -> str:
    """The table for people."""
    keys = list(result.points[0].variant.changes)
    rows = [
        [
            str(rank),
            *(_shown(value) for value in point.variant.changes.values()),
            *(
                tables.percent(value)
                for value in (point.accuracy, point.summary["accuracy"].std, point.summary["accuracy"].seed_error)
            ),
            tables.percent(point.summary["macro_f1"].mean),
            tables.number(point.summary["cross_entropy"].mean),
            f"{point.latency.p50:.1f}",
            f"{point.size_bytes / 1000:.1f}",
            f"{len(point.failures)} of {point.runs} failed" if point.failures else " ".join(point.fronts),
        ]
        for rank, point in enumerate(result.points, 1)
    ]
    head = ["rank", *(key.partition(".")[2] for key in keys), "accuracy, %", "std", "error by seeds", "macro F1, %",
            "cross-entropy", "p50, µs", "kB", "on the front of"]  # fmt: skip
    written = [f"Table:   {result.table}", *([f"Picture: {result.picture}"] if result.picture else [])]
    return "\n".join(
        [
            f"{result.base.name}: {_count(len(result.points), 'variant')}, {len(result.folds)} folds by subject, "
            f"{_count(len(result.seeds), 'seed')}; the test set was not opened",
            "",
            tables.columns(head, rows),
            "(std: over folds and seeds; error by seeds: standard error of the mean as far as seeds decide; "
            f"p50 and kB: .tflite, {result.scheme}, LiteRT on one thread)",
            "",
            *written,
        ]
    )


SCHEMES = ("float32", "float16", "int8-weights")
_NO_PART = ("name", "description", "augment", "optimizer", "schedule", "validation")  # of a recipe, in its shape
_WINDOWS = 256
_RUNS, _SESSIONS = 1000, 8


@dataclass(frozen=True)
class File:
    """A network of the recipe's shape as .tflite bytes, and one window as it reads them."""

    model: bytes
    lowering: str
    window: np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def file_of(dataset: Dataset, recipe: Recipe, scheme: str) -> File:
    """A file of the shape that `recipe` describes, its lowering chosen as `export` does.

    Neither size nor time depends on the weights, so they come from the shortest of trainings. Raises InputError for
    a recipe that does not fit the data.
    """
    from harexport.training.trainer import fit

    dataset = apply_recipe_to_dataset(dataset, recipe)
    contract = dataset.contract
    table = recipe.to_dict()
    table["schedule"] |= {"epochs": 1, "coarse_epochs": 0}
    table["optimizer"]["learning_rate"] = 1e-6  # one that cannot diverge
    picked = np.unique(np.linspace(0, len(dataset.train) - 1, _WINDOWS).astype(np.intp))
    windows = some(dataset.train, picked)
    network, _ = fit(windows, None, parse(table, recipe.name), len(contract.labels), 0)
    form = options.resolve(network, "tflite", scheme)
    return File(build_model(network, contract, {}, form, None), form.lowering or "", windows.signals[:1])


def files_of(dataset: Dataset, recipes: Sequence[Recipe], scheme: str) -> list[File]:
    """The file of each recipe; recipes of one shape share one. Raises InputError."""
    made: dict[str, File] = {}
    names = [
        json.dumps({key: value for key, value in recipe.to_dict().items() if key not in _NO_PART}) for recipe in recipes
    ]
    with progress("shapes", len(set(names)), "networks") as advance:
        for name, recipe in zip(names, recipes, strict=True):
            if name not in made:
                made[name] = file_of(dataset, recipe, scheme)
                advance(len(made))
    return [made[name] for name in names]


def latencies(files: Sequence[File]) -> tuple[list[Latency], tuple[str, ...]]:
    """The time of each file in LiteRT on one thread, all interleaved in one run; and what was wrong with the machine.

    To be asked when nothing else runs: after the trainings.
    """
    different = list({id(file): file for file in files}.values())
    names = {id(file): str(k) for k, file in enumerate(different)}

    def load() -> dict[str, Model]:
        return {names[id(file)]: _asking(file) for file in different}

    with pin_to_idle_cores() as cores, progress(f"latency, {len(different)} shapes interleaved", _RUNS, "runs each") as advance:
        watch = NoiseMonitor(cores)
        # Shapes may read different channels: each is asked its own window, whichever is offered.
        times = measure(load, np.zeros((1, 1, 1), np.float32), _RUNS, sessions=_SESSIONS, progress=advance)
        conditions = watch.conditions([times.round_medians(name) for name in times.by_model])
    return [times.latency(names[id(file)]) for file in files], conditions.noise


def _asking(file: File) -> Model:
    runner, window = runtimes.load_bytes(file.model, ".tflite", "a shape of the search"), file.window
    return lambda _: runner.run_batch(window)
