"""The final figures: recipes trained on all 21 training subjects with five seeds, the test set opened once by each.

Nothing is chosen here: protocol.md says what was, before. Figures are of the float64 reference. Writes
benchmarks/seeds.json after every run and skips what stands there for the same recipe, so it can be stopped; from it
the README's block between the `seeds` markers.
Usage: python benchmarks/seeds.py [RECIPE or .toml ...]
       python benchmarks/seeds.py --render          (summaries and README from the runs that stand there)
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks import readme, ship_pretrained
from harexport.data import Windows, load_dataset
from harexport.errors import InputError
from harexport.model import checkpoint as checkpoints
from harexport.model import recipe as recipes
from harexport.model.contract import LABELS
from harexport.model.network import Network
from harexport.training import coarse_labels
from harexport.training.validation import apply_recipe_to_dataset
from harexport.utils import files
from harexport.utils.console import info, print_messages

JSON = ROOT / "benchmarks" / "seeds.json"
SEEDS = (0, 1, 2, 3, 4)
RECIPES = ("edge", "edge-tiny", "seed-lstm", "seed-lstm-acc", "seed-gru")
_PROTOCOL = "all 21 training subjects, the official test set once a run, float64 reference; protocol.md"
_OVER = ("accuracy", "macro_f1", "f1", "ece")  # what the seeds' mean is taken of, where all have it
# and of those that have it: runs made before it was measured do not
_COARSE = {"coarse_accuracy_after_stage_1": "after stage 1", "coarse_accuracy": "both stages done"}

# What was published of the models that the seed recipes reproduce; both watched the test set while training.
PUBLISHED = {
    "seed-lstm": "88.56, 90.77 and 91.65% (three runs)",
    "seed-lstm-acc": "86.90%",
    "seed-gru": "89.45%; coarse labels, after stage 1: 96.54%",
}


def train_and_evaluate(name: str, seed: int) -> dict[str, Any]:
    """Train on all training subjects, answer the test windows once."""
    from harexport.training.history import LogEntry, TrainerState
    from harexport.training.report import evaluate_logits
    from harexport.training.trainer import fit, network_at

    stage_1: TrainerState | None = None

    def keep(row: LogEntry, state: TrainerState, steps: int) -> None:
        nonlocal stage_1
        if row.stage == 1:
            stage_1 = copy.deepcopy(state)  # the loop goes on changing what it handed over

    recipe = recipes.load(name)
    dataset = apply_recipe_to_dataset(load_dataset(), recipe)
    test = dataset.test
    began = time.monotonic()
    labels = len(dataset.contract.labels)
    network, _ = fit(dataset.train, None, recipe, labels, seed, on_report=keep)
    found = evaluate_logits(network.logits(test.signals), test)
    figures: dict[str, Any] = found.figures.to_dict()
    figures["ece"] = found.reliability.error
    if network.coarse_head is not None:
        figures["coarse_accuracy"] = _coarse_accuracy(network, recipe, test)
    if stage_1 is not None:
        first = network_at(stage_1, dataset.train, recipe, labels)
        figures["coarse_accuracy_after_stage_1"] = _coarse_accuracy(first, recipe, test)
    subjects = {str(subject): share.accuracy for subject, share in found.by_subject.items()}
    return {**figures, "subjects": subjects, "train_seconds": round(time.monotonic() - began, 1)}


def _coarse_accuracy(network: Network, recipe: recipes.Recipe, test: Windows) -> float:
    answers = network.logits(test.signals, head="coarse").argmax(axis=1)
    return float((answers == coarse_labels.to_coarse(recipe.model.coarse, test.labels)).mean())


def summarize(runs: dict[str, Any]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, and the ends of their range."""

    def over(values: list[float]) -> dict[str, float]:
        spread = {"std": float(np.std(values, ddof=1))} if len(values) > 1 else {}
        return {"mean": float(np.mean(values)), **spread}

    ordered = [runs[seed] for seed in sorted(runs, key=int)]
    accuracies = [figures["accuracy"] for figures in ordered]
    return {
        "seeds": len(ordered),
        **{key: over([one[key] for one in ordered]) for key in _OVER if all(key in one for one in ordered)},
        **{
            key: {**over(values), "seeds": len(values)}
            for key in _COARSE
            if (values := [one[key] for one in ordered if key in one])
        },
        "label_recall": {label: over([one["label_recall"][k] for one in ordered]) for k, label in enumerate(LABELS)},
        "subjects": {
            subject: over([one["subjects"][subject] for one in ordered]) for subject in ordered[0]["subjects"]
        },
        "worst_seed": min(accuracies),
        "best_seed": max(accuracies),
    }


def add_summaries(results: dict[str, Any]) -> dict[str, Any]:
    """`results` by recipe with their summaries, and what held-out subjects said of the shipped checkpoint."""
    for name, result in results.items():
        if result["runs"]:
            result["summary"] = summarize(result["runs"])
        result.pop("held_out", None)
        path = ship_pretrained.checkpoint_path(name)
        checkpoint = checkpoints.load(path) if path.exists() else None
        if checkpoint and checkpoint.figures["validation"] and is_same_recipe(result["recipe"], checkpoint.recipe):
            result["held_out"] = {key: checkpoint.figures["validation"][key] for key in ("subjects", "accuracy")}
    return {"command": "python benchmarks/seeds.py", "protocol": _PROTOCOL, "recipes": results}


def render_table(measured: dict[str, Any]) -> str:
    """Render the block `seeds`, Markdown: the recipes in RECIPES that have been measured."""
    lines = [
        "| recipe | accuracy, mean ± std | seeds | min .. max | macro F1 | ECE | held-out subjects | published |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    shown = {name: measured["recipes"][name] for name in RECIPES if measured["recipes"].get(name, {}).get("runs")}
    for name, result in shown.items():
        over, held = result["summary"], result.get("held_out")
        cells = [
            name,
            format_mean_std(over["accuracy"]),
            str(over["seeds"]),
            f"{over['worst_seed']:.2%} .. {over['best_seed']:.2%}",
            f"{over['macro_f1']['mean']:.2%}",
            f"{over['ece']['mean']:.3f}" if "ece" in over else "-",
            f"{held['accuracy']:.2%}" if held else "-",
            PUBLISHED.get(name, ""),
        ]
        lines.append(f"| {' | '.join(cells)} |")
        for key in (key for key in _COARSE if key in over):
            value = format_mean_std(over[key])
            lines.append(f"| {name}, coarse labels, {_COARSE[key]} | {value} | {over[key]['seeds']} | | | | | |")
    return "\n".join(
        [
            *lines,
            "",
            "Accuracy on the official test set, computed with the float64 reference; each seed is trained on all 21 "
            "training subjects. *held-out subjects*: seed 0 of the recipe, trained without four training subjects and "
            "evaluated on them. The published runs monitored the test set during training; these evaluate it once. "
            "From [seeds.json](../benchmarks/seeds.json).",
        ]
    )


def format_mean_std(over: dict[str, float]) -> str:
    """97.86% ± 0.31, in points; of one seed the mean alone."""
    spread = f" ± {100 * over['std']:.2f}" if "std" in over else ""
    return f"{over['mean']:.2%}{spread}"


def _load_runs() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(JSON.read_text("utf-8"))["recipes"] if JSON.exists() else {}
    return found


def is_same_recipe(table: dict[str, Any], recipe: recipes.Recipe) -> bool:
    """Whether runs of `table` are runs of `recipe`; keys that came later have their defaults."""
    try:
        return recipes.parse(table, recipe.name) == recipe
    except InputError:
        return False


def train(names: list[str]) -> None:
    """Make the runs that are missing. Raises InputError where there are runs of another recipe of the same name."""
    results, wanted = _load_runs(), {name: recipes.load(name) for name in names}
    for recipe in wanted.values():
        result = results.setdefault(recipe.name, {"recipe": recipe.to_dict(), "runs": {}})
        if not is_same_recipe(result["recipe"], recipe):
            raise InputError(f"{JSON} holds runs of another recipe {recipe.name}: rename or delete them there first")
    load_dataset()  # once, so that the processes find it cached
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        waiting = {
            pool.submit(train_and_evaluate, name, seed): (recipe.name, seed)
            for name, recipe in wanted.items()
            for seed in SEEDS
            if str(seed) not in results[recipe.name]["runs"]
        }
        for future in as_completed(waiting):
            name, seed = waiting[future]
            results[name]["runs"][str(seed)] = future.result()
            files.write_json(JSON, add_summaries(results))
            found = results[name]
            info(f"{name}, seed {seed}: {found['runs'][str(seed)]['accuracy']:.2%}; {found['summary']['accuracy']}")


def main(arguments: list[str]) -> None:
    if arguments != ["--render"]:
        train(arguments or list(RECIPES))
    measured = add_summaries(_load_runs())
    files.write_json(JSON, measured)
    readme.refresh("seeds", render_table(measured))


if __name__ == "__main__":
    print_messages()
    main(sys.argv[1:])
