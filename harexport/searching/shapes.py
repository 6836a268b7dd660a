"""What the recipes of a search would cost on a device: size and time of their .tflite files, one for each shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harexport import runtimes
from harexport.console import track
from harexport.data.windows import Dataset
from harexport.exporting import forms
from harexport.exporting.write import emitted
from harexport.searching.runs import some
from harexport.training.fitness import as_seen
from harexport.training.recipe import Recipe, parse
from harexport.verify.latency import Latency, Model, measure
from harexport.verify.machine import Watch, pinned

SCHEMES = ("float32", "float16", "int8-weights")
_NO_PART = ("name", "description", "augment", "optimiser", "schedule", "validation")  # of a recipe, in its shape
_WINDOWS = 256
_RUNS, _SITTINGS = 1000, 8


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
    from harexport.training.loop import fit

    dataset = as_seen(dataset, recipe)
    contract = dataset.contract
    table = recipe.to_dict()
    table["schedule"] |= {"epochs": 1, "coarse_epochs": 0}
    table["optimiser"]["learning_rate"] = 1e-6  # one that cannot diverge
    picked = np.unique(np.linspace(0, len(dataset.train) - 1, _WINDOWS).astype(np.intp))
    windows = some(dataset.train, picked)
    network, _ = fit(windows, None, parse(table, recipe.name), len(contract.labels), 0)
    form = forms.choose(network, "tflite", scheme)
    return File(emitted(network, contract, {}, form, None), form.lowering or "", windows.signals[:1])


def files_of(dataset: Dataset, recipes: Sequence[Recipe], scheme: str) -> list[File]:
    """The file of each recipe; recipes of one shape share one. Raises InputError."""
    made: dict[str, File] = {}
    names = [
        json.dumps({key: value for key, value in recipe.to_dict().items() if key not in _NO_PART}) for recipe in recipes
    ]
    with track("shapes", len(set(names)), "networks") as advance:
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

    with pinned() as cores, track(f"latency, {len(different)} shapes interleaved", _RUNS, "runs each") as advance:
        watch = Watch(cores)
        # Shapes may read different channels: each is asked its own window, whichever is offered.
        times = measure(load, np.zeros((1, 1, 1), np.float32), _RUNS, sittings=_SITTINGS, progress=advance)
        conditions = watch.judge([times.rounds(name) for name in times.taken])
    return [times.latency(names[id(file)]) for file in files], conditions.noise


def _asking(file: File) -> Model:
    runner, window = runtimes.load_bytes(file.model, ".tflite", "a shape of the search"), file.window
    return lambda _: runner.one(window)
