"""Accuracy of the recipes on the test set, with five seeds each, trained on all 21 training subjects.

Each trained network is evaluated once, with the float64 reference. How the recipes were chosen is in protocol.md.
Writes benchmarks/seeds.json after every run and skips the runs that it contains, so that this can be interrupted.
A recipe whose published checkpoint is calibrated gets the temperature of that checkpoint, which was fitted on held-out
subjects; its own seed is evaluated, not trained again. Networks with a mount stage are saved in harexport-out/seeds,
for benchmarks/mounting.py.

    python benchmarks/seeds.py [RECIPE or .toml ...]
    python benchmarks/seeds.py --render     # only summaries and tables, from the runs in the JSON file
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
from harexport.model.checkpoint import Checkpoint
from harexport.model.contract import LABELS
from harexport.model.network import Network
from harexport.training import coarse_labels
from harexport.training.validation import apply_recipe_to_dataset
from harexport.utils import files
from harexport.utils.console import info, print_messages

JSON = ROOT / "benchmarks" / "seeds.json"
SEEDS = (0, 1, 2, 3, 4)
RECIPES = (
    "edge", "edge-tiny", "edge-any-mount", "edge-any-mount-acc", "baseline-lstm", "baseline-lstm-acc", "baseline-gru",
)  # fmt: skip
NETWORKS = ROOT / "harexport-out" / "seeds"
_PROTOCOL = "all 21 training subjects, the official test set once a run, float64 reference; protocol.md"
_SUMMARIZED = ("accuracy", "macro_f1", "f1", "ece")  # if all runs have it
# summarized over the runs that have it; the first runs do not
_COARSE = {"coarse_accuracy_after_stage_1": "after stage 1", "coarse_accuracy": "both stages done"}

# Published accuracy of the baselines; the published runs monitored the test set during training.
PUBLISHED = {
    "baseline-lstm": "88.56, 90.77 and 91.65% (three runs)",
    "baseline-lstm-acc": "86.90%",
    "baseline-gru": "89.45%; coarse labels, after stage 1: 96.54%",
}


def train_and_evaluate(name: str, seed: int) -> dict[str, Any]:
    """Train on all training subjects and evaluate on the test set once."""
    from harexport.training.history import LogEntry, TrainerState
    from harexport.training.report import evaluate_logits
    from harexport.training.temperature import apply_temperature
    from harexport.training.trainer import fit, network_at

    stage_1: TrainerState | None = None

    def keep_stage_1(entry: LogEntry, state: TrainerState, steps: int) -> None:
        nonlocal stage_1
        if entry.stage == 1:
            stage_1 = copy.deepcopy(state)  # the trainer changes its state in place

    recipe = recipes.load(name)
    dataset = apply_recipe_to_dataset(load_dataset(), recipe)
    test = dataset.test
    start = time.monotonic()
    num_labels = len(dataset.contract.labels)
    calibrated = calibrated_checkpoint(recipe)
    if calibrated is not None and calibrated.seed == seed:
        network = calibrated.network
    else:
        network, _ = fit(dataset.train, None, recipe, num_labels, seed, on_report=keep_stage_1)
        if calibrated is not None:
            network = apply_temperature(network, calibrated.figures["temperature"]["value"])
    evaluation = evaluate_logits(network.logits(test.signals), test, calibrated is not None)
    figures: dict[str, Any] = evaluation.figures.to_dict()
    if recipe.data.mount != "none":
        checkpoint = Checkpoint(network, dataset.contract, recipe, seed=seed)
        checkpoints.save(checkpoint, NETWORKS / f"{recipe.name}-{seed}.safetensors")
    figures["ece"] = evaluation.reliability.error
    if network.coarse_head is not None:
        figures["coarse_accuracy"] = _coarse_accuracy(network, recipe, test)
    if stage_1 is not None:
        first = network_at(stage_1, dataset.train, recipe, num_labels)
        figures["coarse_accuracy_after_stage_1"] = _coarse_accuracy(first, recipe, test)
    subjects = {subject: result.accuracy for subject, result in evaluation.by_subject.items()}
    return {**figures, "subjects": subjects, "train_seconds": round(time.monotonic() - start, 1)}


def calibrated_checkpoint(recipe: recipes.Recipe) -> Checkpoint | None:
    """Return the published checkpoint of the same recipe, None if there is none or it is not calibrated."""
    path = ship_pretrained.checkpoint_path(recipe.name)
    checkpoint = checkpoints.load(path) if path.exists() else None
    if checkpoint is None or checkpoint.recipe != recipe or not checkpoint.figures.get("temperature"):
        return None
    return checkpoint


def _coarse_accuracy(network: Network, recipe: recipes.Recipe, test: Windows) -> float:
    predictions = network.logits(test.signals, head="coarse").argmax(axis=1)
    return float((predictions == coarse_labels.to_coarse(recipe.model.coarse, test.labels)).mean())


def summarize(runs: dict[str, Any]) -> dict[str, Any]:
    """Return mean and standard deviation over the seeds, and the range of the accuracy."""

    def statistics(values: list[float]) -> dict[str, float]:
        spread = {"std": float(np.std(values, ddof=1))} if len(values) > 1 else {}
        return {"mean": float(np.mean(values)), **spread}

    ordered = [runs[seed] for seed in sorted(runs, key=int)]
    accuracies = [figures["accuracy"] for figures in ordered]
    return {
        "seeds": len(ordered),
        **{key: statistics([run[key] for run in ordered]) for key in _SUMMARIZED if all(key in run for run in ordered)},
        **{
            key: {**statistics(values), "seeds": len(values)}
            for key in _COARSE
            if (values := [run[key] for run in ordered if key in run])
        },
        "label_recall": {
            label: statistics([run["label_recall"][k] for run in ordered]) for k, label in enumerate(LABELS)
        },
        "subjects": {
            subject: statistics([run["subjects"][subject] for run in ordered]) for subject in ordered[0]["subjects"]
        },
        "worst_seed": min(accuracies),
        "best_seed": max(accuracies),
    }


def add_summaries(results: dict[str, Any]) -> dict[str, Any]:
    """Add summaries, and the accuracy of the shipped checkpoints on held-out subjects, to results by recipe."""
    for name, result in results.items():
        if result["runs"]:
            result["summary"] = summarize(result["runs"])
        result.pop("held_out", None)
        path = ship_pretrained.checkpoint_path(name)
        checkpoint = checkpoints.load(path) if path.exists() else None
        if checkpoint and checkpoint.figures["validation"] and is_same_recipe(result["recipe"], checkpoint.recipe):
            result["held_out"] = {key: checkpoint.figures["validation"][key] for key in ("subjects", "accuracy")}
    return {"command": "python benchmarks/seeds.py", "protocol": _PROTOCOL, "recipes": results}


def render(measured: dict[str, Any]) -> str:
    """Render the block `seeds`, Markdown: the recipes in RECIPES that have been measured."""
    lines = [
        "| recipe | accuracy, mean ± std | seeds | min .. max | macro F1 | ECE | held-out subjects | published |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    shown = {name: measured["recipes"][name] for name in RECIPES if measured["recipes"].get(name, {}).get("runs")}
    for name, result in shown.items():
        summary, held_out = result["summary"], result.get("held_out")
        cells = [
            name,
            format_mean_std(summary["accuracy"]),
            str(summary["seeds"]),
            f"{summary['worst_seed']:.2%} .. {summary['best_seed']:.2%}",
            f"{summary['macro_f1']['mean']:.2%}",
            f"{summary['ece']['mean']:.3f}" if "ece" in summary else "-",
            f"{held_out['accuracy']:.2%}" if held_out else "-",
            PUBLISHED.get(name, ""),
        ]
        lines.append(f"| {' | '.join(cells)} |")
        for key in (key for key in _COARSE if key in summary):
            value = format_mean_std(summary[key])
            lines.append(f"| {name}, coarse labels, {_COARSE[key]} | {value} | {summary[key]['seeds']} | | | | | |")
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


def format_mean_std(statistics: dict[str, float]) -> str:
    """Return "97.86% ± 0.31", or the mean alone for one seed."""
    spread = f" ± {100 * statistics['std']:.2f}" if "std" in statistics else ""
    return f"{statistics['mean']:.2%}{spread}"


def _load_runs() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(JSON.read_text("utf-8"))["recipes"] if JSON.exists() else {}
    return found


def is_same_recipe(table: dict[str, Any], recipe: recipes.Recipe) -> bool:
    """Return whether `table` is the recipe; missing keys have their defaults."""
    try:
        return recipes.parse(table, recipe.name) == recipe
    except InputError:
        return False


def train(names: list[str]) -> None:
    """Run what is missing. Raises InputError if the file contains another recipe of the same name."""
    results, wanted = _load_runs(), {name: recipes.load(name) for name in names}
    for recipe in wanted.values():
        result = results.setdefault(recipe.name, {"recipe": recipe.to_dict(), "runs": {}})
        if not is_same_recipe(result["recipe"], recipe):
            raise InputError(f"{JSON} contains runs of another recipe {recipe.name}; rename or delete them first")
    load_dataset()  # fills the cache for the processes
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
    readme.refresh("seeds", render(measured))


if __name__ == "__main__":
    print_messages()
    main(sys.argv[1:])
