"""A MODEL_CARD.md for every model in artifacts/, from committed files only: nothing is measured, nothing typed by hand.

Figures come from the checkpoint's header and from seeds.json, exports.json and robustness.json.
Usage: python artifacts/model_cards.py   (writes the cards and SHA256SUMS anew)
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import seeds, ship_pretrained
from harexport.evaluation.plots import format_label
from harexport.model.checkpoint import Checkpoint
from harexport.utils import files, tables
from harexport.utils.console import info, print_messages

CARD = "MODEL_CARD.md"
_BENCHMARKS = ROOT / "benchmarks"
_TURN = "turn"

_USE = {
    "edge": "The model to put into an app.",
    "edge-tiny": "For where `edge` is too large or too slow: the same steps with half the units.",
    "seed-lstm": "For comparison: a published model, retrained as its authors did. In an app use `edge`.",
    "seed-gru": "For comparison: a published model with a coarse and a fine head, retrained as its authors did. In an "
    "app use `edge`.",
}
_CITATION = """\
The data:

> Davide Anguita, Alessandro Ghio, Luca Oneto, Xavier Parra and Jorge L. Reyes-Ortiz. *A Public Domain Dataset for
> Human Activity Recognition Using Smartphones.* 21st European Symposium on Artificial Neural Networks, Computational
> Intelligence and Machine Learning (ESANN), Bruges, 2013.

The model: this repository, the version and the network's SHA-256 that stand above."""


def card(
    name: str, checkpoint: Checkpoint, seeded: dict[str, Any], exported: list[dict[str, Any]], robust: dict[str, Any]
) -> str:
    """The card of one model.

    `seeded`: its recipe's entry in seeds.json (empty where there is none yet); `exported`: in exports.json; `robust`:
    that of robustness.json's models.
    """
    sections = {
        f"# {name}": _what(checkpoint),
        "## Intended use": _use(name, checkpoint),
        "## Data": _data(checkpoint, robust),
        "## Protocol": _protocol(name, checkpoint),
        "## Figures": _figures(name, checkpoint, seeded),
        "### By activity and by test subject": _by_class_and_subject(checkpoint, seeded, robust),
        "### When a phone is worn, or samples, otherwise": _robustness(robust),
        "## Files": _files(name, exported),
        "## Limits": _limits(checkpoint, robust),
        "## Licence": _licence(),
        "## To reproduce": _reproduce(name, checkpoint),
        "## To cite": _CITATION,
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items()) + "\n"


def _what(checkpoint: Checkpoint) -> str:
    network, contract = checkpoint.network, checkpoint.contract
    kind, units = (
        network.kind.upper(),
        " and ".join(dict.fromkeys(str(layer.hidden) for layer in network.recurrent_layers)),
    )
    every = f"a step each sample ({network.num_steps} steps)"
    if network.input.kernel_size > 1:
        every = f"{network.num_steps} steps of {network.input.kernel_size} samples, one every {network.input.stride}"
    heads = "" if network.coarse_head is None else "; a second head answers coarse labels"
    seconds, hop = contract.window / contract.rate_hz, contract.hop / contract.rate_hz
    return (
        f"{checkpoint.recipe.description}.\n\n"
        f"{len(network.recurrent_layers)} {kind} layer{'s' * (len(network.recurrent_layers) > 1)} of {units} units on {every}; "
        f"{network.parameters:,} parameters{heads}. It reads {contract.window} samples ({seconds:g} s at "
        f"{contract.rate_hz:g} Hz) of {len(contract.channels)} channels in physical units and answers logits and "
        f"probabilities of {', '.join(format_label(label).lower() for label in contract.labels)}; a new window every "
        f"{contract.hop} samples ({hop:g} s). Normalisation is inside. `contract.json` says all of this to programs."
        "\n\n"
        f"Recipe `{checkpoint.recipe.name}`, seed {checkpoint.seed}, harexport {checkpoint.tool_version}, PyTorch "
        f"{checkpoint.figures['versions']['torch']}; network SHA-256 `{checkpoint.digest}`."
    )


def _use(name: str, checkpoint: Checkpoint) -> str:
    labels = len(checkpoint.contract.labels)
    return (
        f"{_USE[name]}\n\nMeant for telling {labels} everyday activities of a person who wears the phone as the "
        "volunteers did, at the waist, and for learning and research. Not meant for anything that harms somebody when "
        "it is wrong: diagnosis, falls, care, work surveillance, insurance."
    )


def _data(checkpoint: Checkpoint, robust: dict[str, Any]) -> str:
    data, contract = checkpoint.data, checkpoint.contract
    subjects, windows = robust["subjects"], robust["figures"]["windows"]
    filters = contract.filters
    channels = ", ".join(f"{name} ({unit})" for name, unit in zip(contract.channels, contract.units, strict=True))
    return (
        "UCI HAR: 30 volunteers of 19 to 48 years, a Samsung Galaxy S II at the waist, activities as asked for, "
        f"labelled by video. Trained on {data['train_windows']} windows of the 21 training subjects, judged on "
        f"{windows} windows of the other {len(subjects)} (subjects {', '.join(subjects)}), as the authors divided "
        f"them. Read from: {data['source']}; SHA-256 `{data['digest']}`.\n\n"
        f"How the windows were made, as recovered from the published files: each recording whole through a median of "
        f"{filters.median} samples and a causal Butterworth low-pass of order {filters.noise.order} at "
        f"{filters.noise.cutoff_hz:g} Hz; body acceleration is what a low-pass of order {filters.gravity.order} at "
        f"{filters.gravity.cutoff_hz:g} Hz leaves over, body_gyro of order {filters.drift.order} at "
        f"{filters.drift.cutoff_hz:g} Hz; windows of {contract.window} samples every {contract.hop}. Channels: "
        f"{channels}. Whoever feeds the model must run that chain, as `harexport/preprocessing/stream.py` does."
    )


def _protocol(name: str, checkpoint: Checkpoint) -> str:
    validation = checkpoint.figures["validation"]
    held = ""
    if validation:
        held = (
            f" A first pass without subjects {', '.join(str(one) for one in validation['subjects'])} answered "
            f"{validation['accuracy']:.2%} of their windows right; nothing was picked by it either."
        )
    chosen = (
        "The recipe is the published one; what" if name in seeds.PUBLISHED else "How the recipe was chosen, and what"
    )
    watched = "was watched while training" if checkpoint.figures["test_watched"] else "answered once, at the end"
    return (
        f"{chosen} the test set was opened for before: [benchmarks/protocol.md](../../benchmarks/protocol.md). No "
        f"epoch, threshold or seed was picked by it.{held} The model here was then trained on all 21 training "
        f"subjects with the same recipe and length, and the test set {watched}. It is seed {checkpoint.seed}, the "
        "first, not the best of several. Figures are of the float64 reference unless a file is named."
    )


def _figures(name: str, checkpoint: Checkpoint, seeded: dict[str, Any]) -> str:
    test, over = checkpoint.figures["test"], seeded.get("summary")
    rows = [("official test set", "this model", _head(over), "worst .. best")]
    for key, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("ece", "calibration error (ECE)")):
        if key not in test:
            continue
        form = "{:.3f}" if key == "ece" else "{:.2%}"
        spread = _spread(over, key) if over else ""
        ends = f"{over['worst_seed']:.2%} .. {over['best_seed']:.2%}" if over and key == "accuracy" else ""
        rows.append((title, form.format(test[key]), spread, ends))
    if coarse := checkpoint.figures.get("coarse"):
        spread = _spread(over, "coarse_accuracy") if over else ""
        rows.append(("accuracy on the coarse labels", f"{coarse['test']['accuracy']:.2%}", spread, ""))
    said = [_table(rows)]
    if over is None:
        said.append(f"No other seed has been trained yet: `python benchmarks/seeds.py {name}`.")
    if name in seeds.PUBLISHED:
        said.append(
            f"Published for this model: {seeds.PUBLISHED[name]}. Those runs watched the test set while training; these "
            "did not."
        )
    if coarse:
        names = [format_label(label).lower() for label in checkpoint.contract.coarse_labels if label]
        said.append(f"Coarse labels: {'; '.join(names)}. Their head is judged after both stages of the training.")
        if first := over and over.get("coarse_accuracy_after_stage_1"):
            said[-1] += (
                f" After stage 1, before the labels themselves were trained: {seeds.mean_std(first)}, of "
                f"{first['seeds']} seed{'s' * (first['seeds'] > 1)} of which that was measured."
            )
    return "\n\n".join(said)


def _head(over: dict[str, Any]) -> str:
    if not over:
        return ""
    return f"mean ± std of {over['seeds']} seeds" if over["seeds"] > 1 else "one seed"


def _spread(over: dict[str, Any], key: str) -> str:
    if key not in over:
        return ""
    return f"{over[key]['mean']:.3f}" if key == "ece" else seeds.mean_std(over[key])


def _by_class_and_subject(checkpoint: Checkpoint, seeded: dict[str, Any], robust: dict[str, Any]) -> str:
    test, over = checkpoint.figures["test"], seeded.get("summary", {})
    head = ("this model", _head(over))
    counts = [sum(row) for row in test["confusion"]]
    classes = [("recall", "windows", *head)]
    for k, label in enumerate(checkpoint.contract.labels):
        mean = seeds.mean_std(over["label_recall"][label]) if over else ""
        classes.append((format_label(label), str(counts[k]), f"{test['label_recall'][k]:.2%}", mean))
    subjects = [("accuracy of subject", "windows", *head)]
    for subject, share in robust["subjects"].items():
        mean = seeds.mean_std(over["subjects"][subject]) if over else ""
        subjects.append((subject, str(share["windows"]), f"{share['accuracy']:.2%}", mean))
    return f"{_table(classes)}\n\n{_table(subjects)}"


def _robustness(robust: dict[str, Any]) -> str:
    rows = [("what changes", "accuracy", "worst draw", "draws")]
    rows.append(("nothing", f"{robust['figures']['accuracy']:.1%}", "", ""))
    for one in robust["outcomes"]:
        drawn = (f"{one['worst']:.1%}", str(one["draws"])) if one["draws"] > 1 else ("", "")
        rows.append((one["name"], f"{one['mean']:.1%}", *drawn))
    left_out = sum(one["left_out"] for one in robust["outcomes"])
    room = f" Windows without room for it were left out: {left_out}." if left_out else ""
    return (
        f"{_table(rows)}\n\nThe same test windows, perturbed as `harexport robustness --help` says, on the "
        f"float64 reference.{room}\n\n![All models](../robustness.png)"
    )


def _files(name: str, exported: list[dict[str, Any]]) -> str:
    rows = [("file", "KB", "test accuracy", "points lost", "oldest runtime")]
    refused = []
    for one in exported:
        if "refused" in one:
            refused.append(f"- {one['path']}: {one['refused'].split(': ', 1)[1]}")
            continue
        parity = one["gate"]["parity"]
        runtime = "TensorFlow Lite" if one["format"] == "tflite" else "ONNX Runtime"
        size, oldest = f"{one['size_bytes'] / 1000:.1f}", f"{runtime} {one['oldest_runtime']}"
        rows.append((f"`{one['path']}`", size, f"{parity['accuracy']:.2%}", f"{parity['drop']:.2f}", oldest))
    said = [_table(rows)]
    if refused:
        said.append(
            "Not shipped, because the gate refused them (it is not lowered for anyone):\n\n" + "\n".join(refused)
        )
    said.append(
        f"Also here: `{name}.safetensors` (trained arrays, recipe and figures), `contract.json`, `labels.txt`, the "
        "training's log and pictures; `../SHA256SUMS` covers all of them (`sha256sum -c SHA256SUMS`). Every model file "
        "was proven on all test windows in its own runtime."
    )
    return "\n\n".join(said)


def _limits(checkpoint: Checkpoint, robust: dict[str, Any]) -> str:
    labels = [format_label(label).lower() for label in checkpoint.contract.labels]
    shares = [share["accuracy"] for share in robust["subjects"].values()]
    error = 100 * statistics.stdev(shares) / math.sqrt(len(shares))
    turned = [one["mean"] for one in robust["outcomes"] if one["group"] == _TURN]
    lines = [
        "Worn at the waist, on its side, the x axis up, as in the data. With another side up, or turned round, "
        f"{min(turned):.0%} to {max(turned):.0%} of the windows are answered right (table above).",
        "30 adults of 19 to 48 years who could do all of it, one phone model, activities as they were told to: no "
        "children, no old people, no pockets, hands or bags, no everyday life.",
        f"Only {', '.join(labels)}: whatever else a person does, changes of posture too, is called one of these, and "
        "not always with doubt.",
        "Samples must come through the filters above; for some seconds after the start these have not settled.",
        f"{len(shares)} test subjects are few: their mean accuracy has a standard error of {error:.1f} points.",
        "Not a medical device.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _licence() -> str:
    return (
        "Code and weights: Apache 2.0. The data are not part of this repository: their own README forbids commercial "
        "use and asks for the citation below, the UCI archive's page states CC BY 4.0. Decide for yourself what of "
        "this binds a model trained on them."
    )


def _reproduce(name: str, checkpoint: Checkpoint) -> str:
    lines = {
        f"harexport train --recipe {name} --seed {checkpoint.seed} --out OUT": "the checkpoint",
        "make artifacts": "every file from the checkpoint, this card, SHA256SUMS",
        f"python benchmarks/seeds.py {name}": "the seeds",
        "python benchmarks/robustness.py": "the perturbations",
    }
    width = max(map(len, lines))
    return "\n".join(f"    {command:<{width}}  # {what}" for command, what in lines.items())


def _table(rows: list[tuple[str, ...]]) -> str:
    """Markdown, without the columns that hold nothing yet."""
    filled = [k for k in range(len(rows[0])) if any(row[k] for row in rows[1:])]
    return tables.markdown([tuple(row[k] for k in filled) for row in rows])


def _seeded(checkpoint: Checkpoint, measured: dict[str, Any]) -> dict[str, Any]:
    """The seeds of this very recipe; of an earlier one of the same name nothing is told."""
    found: dict[str, Any] = measured["recipes"].get(checkpoint.recipe.name, {})
    return found if found and seeds.same(found["recipe"], checkpoint.recipe) else {}


def cards() -> dict[Path, str]:
    """Every card by its path. Raises KeyError where exports.json or robustness.json know nothing of a model."""
    seeded, exported, robust = (
        json.loads((_BENCHMARKS / f"{one}.json").read_text("utf-8")) for one in ("seeds", "exports", "robustness")
    )
    by_name = {model["name"]: model for model in robust["models"]}
    return {
        ship_pretrained.ARTIFACTS / name / CARD: card(
            name, checkpoint, _seeded(checkpoint, seeded), exported[name], by_name[name]
        )
        for name, checkpoint in ship_pretrained.standing().items()
    }


def write() -> None:
    """Write every card."""
    for path, text in cards().items():
        files.write_text(path, text)
        info(f"{path.relative_to(ROOT)}")


def main() -> None:
    write()
    ship_pretrained.seal()


if __name__ == "__main__":
    print_messages()
    main()
