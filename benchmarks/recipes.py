"""What held-out training subjects say of the edge recipe and its neighbours: three folds of 7 of the 21.

Never opens the test set. Writes benchmarks/recipes.json after every variant and skips what stands there, so it
can be stopped. About half an hour on two cores. Usage: python benchmarks/recipes.py
"""

from __future__ import annotations

import copy
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from harexport import files
from harexport.console import say
from harexport.data import load
from harexport.training import recipe as recipes

JSON = Path(__file__).resolve().parent / "recipes.json"
FOLDS = 3
SHORT = {"schedule.epochs": 120}
# Changes to the shipped recipe. A fold moves by half a point with the seed, so the shipped one runs with two seeds.
VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "as shipped (300 epochs)": ({}, 0),
    "as shipped, seed 1": ({}, 1),
    "300 epochs, learning rate 0.003": ({"optimiser.learning_rate": 0.003}, 0),
    "300 epochs, batch 128": ({"schedule.batch": 128}, 0),
    "300 epochs, batch 128, learning rate 0.003": ({"schedule.batch": 128, "optimiser.learning_rate": 0.003}, 0),
    "300 epochs, batch 512": ({"schedule.batch": 512}, 0),
    "120 epochs": (SHORT, 0),
    "120 epochs, seed 1": (SHORT, 1),
    "120 epochs, sensor noise 0.05": ({**SHORT, "augment.noise": 0.05}, 0),
    "120 epochs, gain errors 0.03": ({**SHORT, "augment.gain": 0.03}, 0),
    "120 epochs, weight decay 0.05": ({**SHORT, "optimiser.weight_decay": 0.05}, 0),
    "120 epochs, no rotations": ({**SHORT, "augment.rotation_deg": 0.0}, 0),
    "120 epochs, no random offset": ({**SHORT, "augment.shift": 0}, 0),
    "120 epochs, no speed change": ({**SHORT, "augment.speed": 0.0}, 0),
    "120 epochs, no weight average": ({**SHORT, "optimiser.average": 0.0}, 0),
    "120 epochs, steps side by side": ({**SHORT, "model.frame": 16}, 0),
}


def run(name: str) -> dict[str, Any]:
    """Train a variant once per fold, on the other folds' subjects; accuracies on the fold in %."""
    from harexport.training.loop import fit

    changes, seed = VARIANTS[name]
    table = copy.deepcopy(recipes.load("edge").to_dict())
    for key, value in changes.items():
        section, _, leaf = key.partition(".")
        table[section][leaf] = value
    train = load().train
    subjects = sorted(set(train.subjects.tolist()))
    accuracies = []
    for fold in (subjects[k::FOLDS] for k in range(FOLDS)):
        held_out = train.of_subjects(fold)
        network, _ = fit(train.of_subjects(fold, without=True), None, recipes.parse(table, "edge"), 6, seed)
        right = network.logits(held_out.signals).argmax(axis=1) == held_out.labels
        accuracies.append(round(100 * float(right.mean()), 2))
    return {"changes": changes, "seed": seed, "folds": accuracies, "mean": round(sum(accuracies) / FOLDS, 2)}


def main() -> None:
    results = json.loads(JSON.read_text("utf-8"))["variants"] if JSON.exists() else {}
    load()
    with ProcessPoolExecutor(2) as pool:
        waiting = {pool.submit(run, name): name for name in VARIANTS if name not in results}
        for future in as_completed(waiting):
            results[waiting[future]] = future.result()
            ordered = {name: results[name] for name in VARIANTS if name in results}
            protocol = "subjects k, k + 3, k + 6, ... of the 21 training subjects held out, k = 0, 1, 2; accuracy in %"
            base = recipes.load("edge").to_dict()
            files.write_json(JSON, {"command": "python benchmarks/recipes.py", "protocol": protocol, "recipe": base,
                                    "variants": ordered})  # fmt: skip
            say(f"{waiting[future]}: {results[waiting[future]]['mean']} {results[waiting[future]]['folds']}")


if __name__ == "__main__":
    main()
