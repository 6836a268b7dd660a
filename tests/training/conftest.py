"""A small part of UCI HAR, and a recipe that trains on it in a second."""

from __future__ import annotations

import pytest

from harexport.data import Dataset
from harexport.model import recipe as recipes
from harexport.model.recipe import Recipe


@pytest.fixture(autouse=True)
def no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which take longer than these trainings, except in tests with the marker `figures`."""
    if request.node.get_closest_marker("figures") is None:
        monkeypatch.setattr("harexport.training.report.plot_results", lambda *_: ())


def small_recipe(**sections: dict[str, object]) -> Recipe:
    """Return a recipe of 16 units and 3 epochs with everything that draws random numbers."""
    table: dict[str, object] = {
        "name": "small",
        "model": {"hidden": 16, "input_units": 16, "dropout": 0.2},
        "augment": {"shift": 32, "speed": 0.1, "rotation_deg": 10.0, "noise": 0.05, "gain": 0.02},
        "optimizer": {"average": 0.9, "label_smoothing": 0.1, "clip_norm": 1.0},
        "schedule": {"epochs": 3, "batch": 64},
        "validation": {"subjects": [3]},
    }
    for section, keys in sections.items():
        table[section] = {**table.get(section, {}), **keys}  # type: ignore[dict-item]
    return recipes.parse(table, "small")


@pytest.fixture(scope="session")
def small(dataset: Dataset) -> Dataset:
    """Two training subjects and one test subject."""
    return Dataset(
        dataset.train.select_subjects([1, 3]), dataset.test.select_subjects([2]), dataset.source, dataset.digest
    )
