"""Every third window of four training subjects, and a recipe that trains on them quickly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from harexport.data import Dataset
from harexport.model import recipe as recipes
from harexport.model.recipe import Recipe
from harexport.model_selection.trials import take


def quick(**sections: dict[str, object]) -> Recipe:
    """Return a recipe of 8 units and one epoch with everything that draws random numbers."""
    table: dict[str, object] = {
        "name": "quick",
        "model": {"hidden": 8, "input_units": 8, "dropout": 0.2},
        "augment": {"shift": 32, "speed": 0.1, "rotation_deg": 10.0},
        "optimizer": {"average": 0.9, "learning_rate": 0.02},
        "schedule": {"epochs": 1, "batch": 32},
        "validation": {"subjects": [3]},
    }
    for section, keys in sections.items():
        table[section] = {**table.get(section, {}), **keys}  # type: ignore[dict-item]
    return recipes.parse(table, "quick")


@pytest.fixture(scope="session")
def people(dataset: Dataset) -> Dataset:
    """Every third window of the subjects 1, 3, 5 and 6."""
    train = dataset.train.select_subjects([1, 3, 5, 6])
    return dataclasses.replace(dataset, train=take(train, np.arange(0, len(train), 3)))


@pytest.fixture
def quick_toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`quick` as a file, for the command line."""
    path = tmp_path_factory.mktemp("recipe") / "quick.toml"
    path.write_text(
        "name = 'quick'\n[model]\nhidden = 8\ninput_units = 8\n[schedule]\nepochs = 1\n[validation]\nsubjects = []\n"
    )
    return path
