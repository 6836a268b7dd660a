"""Write MODEL_CARD.md of each model in artifacts/, and SHA256SUMS.

All figures come from the checkpoint's header and from seeds.json, exports.json and robustness.json in benchmarks/.
Usage: python artifacts/model_cards.py
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
    "edge": "The model for apps.",
    "edge-tiny": "If `edge` is too large or too slow: the same steps with half the units.",
    "baseline-lstm": "Baseline: a published model, trained as its authors did. In an app use `edge`.",
    "baseline-gru": "Baseline: a published model with coarse and fine labels, trained as its authors did. In an app "
    "use `edge`.",
}
_CITATION = """\
Data:

> Davide Anguita, Alessandro Ghio, Luca Oneto, Xavier Parra and Jorge L. Reyes-Ortiz. *A Public Domain Dataset for
> Human Activity Recognition Using Smartphones.* 21st European Symposium on Artificial Neural Networks, Computational
> Intelligence and Machine Learning (ESANN), Bruges, 2013.

Model: this repository, with the version and the network's SHA-256 given above."""


def format_card(
    name: str, checkpoint: Checkpoint, seeded: dict[str, Any], exported: list[dict[str, Any]], robust: dict[str, Any]
) -> str:
    """Return the model card of one model.

    Args:
        name: Name of the model.
        checkpoint: Its checkpoint.
        seeded: Entry of its recipe in seeds.json; empty if there is none.
        exported: Its entry in exports.json.
        robust: Its entry in robustness.json.
    """
    sections = {
        f"# {name}": _what(checkpoint),
        "## Intended use": _use(name, checkpoint),
        "## Data": _data(checkpoint, robust),
        "## Protocol": _protocol(name, checkpoint),
        "## Figures": _figures(name, checkpoint, seeded),
        "### By activity and by test subject": _by_class_and_subject(checkpoint, seeded, robust),
        "### Robustness": _robustness(robust),
        "## Files": _files(name, exported),
        "## Limits": _limits(checkpoint, robust),
        "## License": _license(),
        "## Reproduction": _reproduce(name, checkpoint),
        "## Citation": _CITATION,
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items()) + "\n"


def _what(checkpoint: Checkpoint) -> str:
    network, contract = checkpoint.network, checkpoint.contract
    kind, units = (
        network.kind.upper(),
        " and ".join(dict.fromkeys(str(layer.hidden) for layer in network.recurrent_layers)),
    )
    steps = f"{network.num_steps} steps" + (" of one sample" if network.is_stack else "")
    if network.is_stack and network.input.kernel_size > 1:
        steps = (
            f"{network.num_steps} steps of {network.input.kernel_size} samples, every {network.input.stride} samples"
        )
    heads = "" if network.coarse_head is None else "; a second head predicts coarse labels"
    layers = f"{len(network.recurrent_layers)} {kind} layer{'s' * (len(network.recurrent_layers) > 1)}"
    labels = ", ".join(format_label(label).lower() for label in contract.labels)
    seconds, hop = contract.window / contract.rate_hz, contract.hop / contract.rate_hz
    return (
        f"{checkpoint.recipe.description}.\n\n"
        f"{layers} of {units} units on {steps}; {network.parameters:,} parameters{heads}.\n\n"
        f"Input: windows of {contract.window} samples ({seconds:g} s at {contract.rate_hz:g} Hz) of "
        f"{len(contract.channels)} channels in physical units, every {contract.hop} samples ({hop:g} s). Normalization "
        f"is part of the model. Output: logits and probabilities of {labels}. `contract.json` specifies both.\n\n"
        f"Recipe `{checkpoint.recipe.name}`, seed {checkpoint.seed}, harexport {checkpoint.tool_version}, PyTorch "
        f"{checkpoint.figures['versions']['torch']}; network SHA-256 `{checkpoint.digest}`."
    )


def _use(name: str, checkpoint: Checkpoint) -> str:
    labels = len(checkpoint.contract.labels)
    return (
        f"{_USE[name]}\n\nFor recognizing {labels} everyday activities of a person who wears the phone at the waist, "
        "as in the data, and for learning and research. Not for uses in which an error causes harm, such as "
        "diagnosis, fall detection, care, work surveillance or insurance."
    )


def _data(checkpoint: Checkpoint, robust: dict[str, Any]) -> str:
    data, contract = checkpoint.data, checkpoint.contract
    subjects, windows = robust["subjects"], robust["figures"]["windows"]
    filters = contract.filters
    channels = ", ".join(f"{name} ({unit})" for name, unit in zip(contract.channels, contract.units, strict=True))
    return (
        "UCI HAR: 30 volunteers aged 19 to 48 with a Samsung Galaxy S II at the waist, who performed prescribed "
        f"activities, labeled by video. Trained on {data['train_windows']} windows of the 21 training subjects and "
        f"tested on {windows} windows of the other {len(subjects)} (subjects {', '.join(subjects)}), the split of its "
        f"authors. Source: {data['source']}; SHA-256 `{data['digest']}`.\n\n"
        f"Preprocessing, as reconstructed from the published files: a median filter of {filters.median} samples and a "
        f"causal Butterworth low-pass of order {filters.noise.order} at {filters.noise.cutoff_hz:g} Hz over each whole "
        f"recording. Body acceleration is that minus a low-pass of order {filters.gravity.order} at "
        f"{filters.gravity.cutoff_hz:g} Hz, body_gyro minus one of order {filters.drift.order} at "
        f"{filters.drift.cutoff_hz:g} Hz. Windows of {contract.window} samples every {contract.hop}. Channels: "
        f"{channels}. An application must run the same preprocessing, implemented in "
        "`harexport/preprocessing/stream.py`."
    )


def _protocol(name: str, checkpoint: Checkpoint) -> str:
    validation = checkpoint.figures["validation"]
    held = ""
    if validation:
        held = (
            f" A first pass without subjects {', '.join(map(str, validation['subjects']))} had an accuracy of "
            f"{validation['accuracy']:.2%} on their windows; nothing was selected by it either."
        )
    is_published = name in seeds.PUBLISHED
    selection = "" if is_published else "how the recipe was selected, and "
    published = "The recipe is the published one. " if is_published else ""
    use = "monitored during training" if checkpoint.figures["test_watched"] else "evaluated once, at the end"
    return (
        f"{published}[benchmarks/protocol.md](../../benchmarks/protocol.md) describes {selection}every earlier use of "
        f"the test set. No epoch, threshold or seed was selected on it.{held} This model was then trained on all 21 "
        f"training subjects with the same recipe and length, and the test set was {use}. It has seed "
        f"{checkpoint.seed}, the first one, not the best of several. Figures are those of the float64 reference unless "
        "a file is named."
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
    paragraphs = [_table(rows)]
    if over is None:
        paragraphs.append(f"No other seed has been trained yet: `python benchmarks/seeds.py {name}`.")
    if name in seeds.PUBLISHED:
        paragraphs.append(
            f"Published for this model: {seeds.PUBLISHED[name]}. Those runs monitored the test set during training; "
            "these did not."
        )
    if coarse:
        names = [format_label(label).lower() for label in checkpoint.contract.coarse_labels if label]
        paragraphs.append(f"Coarse labels: {'; '.join(names)}. Their accuracy is that after both stages of training.")
        if first := over and over.get("coarse_accuracy_after_stage_1"):
            paragraphs[-1] += (
                f" After stage 1, before the fine labels were trained: {seeds.format_mean_std(first)} "
                f"({first['seeds']} seed{'s' * (first['seeds'] > 1)} measured)."
            )
    return "\n\n".join(paragraphs)


def figure_tables(checkpoint: Checkpoint, title: str) -> tuple[tables.Table, tables.Table]:
    """Return the test figures of one model, and its recall by label.

    Args:
        checkpoint: Its checkpoint.
        title: Heading of the first column: what the figures were measured on.
    """
    test = checkpoint.figures["test"]
    figures: tables.Table = [
        (title, "this model"),
        ("accuracy", f"{test['accuracy']:.2%}"),
        ("macro F1", f"{test['macro_f1']:.2%}"),
        ("calibration error (ECE)", f"{test['ece']:.3f}"),
    ]
    recall: tables.Table = [("recall", "windows", "this model")]
    for k, label in enumerate(checkpoint.contract.labels):
        recall.append((format_label(label), str(sum(test["confusion"][k])), f"{test['label_recall'][k]:.2%}"))
    return figures, recall


def _head(over: dict[str, Any]) -> str:
    if not over:
        return ""
    return f"mean ± std of {over['seeds']} seeds" if over["seeds"] > 1 else "one seed"


def _spread(over: dict[str, Any], key: str) -> str:
    if key not in over:
        return ""
    return f"{over[key]['mean']:.3f}" if key == "ece" else seeds.format_mean_std(over[key])


def _by_class_and_subject(checkpoint: Checkpoint, seeded: dict[str, Any], robust: dict[str, Any]) -> str:
    test, over = checkpoint.figures["test"], seeded.get("summary", {})
    head = ("this model", _head(over))
    counts = [sum(row) for row in test["confusion"]]
    classes = [("recall", "windows", *head)]
    for k, label in enumerate(checkpoint.contract.labels):
        mean = seeds.format_mean_std(over["label_recall"][label]) if over else ""
        classes.append((format_label(label), str(counts[k]), f"{test['label_recall'][k]:.2%}", mean))
    subjects = [("accuracy of subject", "windows", *head)]
    for subject, share in robust["subjects"].items():
        mean = seeds.format_mean_std(over["subjects"][subject]) if over else ""
        subjects.append((subject, str(share["windows"]), f"{share['accuracy']:.2%}", mean))
    return f"{_table(classes)}\n\n{_table(subjects)}"


def _robustness(robust: dict[str, Any]) -> str:
    rows = [("perturbation", "accuracy", "worst draw", "draws")]
    rows.append(("none", f"{robust['figures']['accuracy']:.1%}", "", ""))
    for condition in robust["outcomes"]:
        draws = (f"{condition['worst']:.1%}", str(condition["draws"])) if condition["draws"] > 1 else ("", "")
        rows.append((condition["name"], f"{condition['mean']:.1%}", *draws))
    left_out = sum(condition["left_out"] for condition in robust["outcomes"])
    omitted = f" Windows without room for a perturbation are omitted: {left_out}." if left_out else ""
    return (
        f"{_table(rows)}\n\nAccuracy of the float64 reference on the test windows with the perturbations of `harexport "
        f"robustness --help`.{omitted}\n\n![All models](../robustness.png)"
    )


def _files(name: str, exported: list[dict[str, Any]]) -> str:
    rows = [("file", "KB", "test accuracy", "accuracy drop", "oldest runtime")]
    failed = []
    for result in exported:
        if "refused" in result:
            failed.append(f"- {result['path']}: {result['refused'].split(': ', 1)[1]}")
            continue
        parity = result["checks"]["parity"]
        runtime = "TensorFlow Lite" if result["format"] == "tflite" else "ONNX Runtime"
        size, oldest = f"{result['size_bytes'] / 1000:.1f}", f"{runtime} {result['oldest_runtime']}"
        rows.append((f"`{result['path']}`", size, f"{parity['accuracy']:.2%}", f"{parity['drop']:.2f}", oldest))
    paragraphs = [_table(rows)]
    if failed:
        paragraphs.append("Not published, because they failed their checks:\n\n" + "\n".join(failed))
    paragraphs.append(
        f"Also in this folder: `{name}.safetensors` (trained arrays, recipe and figures), `contract.json`, "
        "`labels.txt`, and log and plots of the training. `../SHA256SUMS` lists all files (`sha256sum -c SHA256SUMS`). "
        "Every model file was compared with the float64 reference on all test windows, in its target runtime. The "
        "accuracy drop is in percentage points."
    )
    return "\n\n".join(paragraphs)


def _limits(checkpoint: Checkpoint, robust: dict[str, Any]) -> str:
    labels = [format_label(label).lower() for label in checkpoint.contract.labels]
    shares = [share["accuracy"] for share in robust["subjects"].values()]
    error = 100 * statistics.stdev(shares) / math.sqrt(len(shares))
    rotated = [condition["mean"] for condition in robust["outcomes"] if condition["group"] == _TURN]
    lines = [
        "The phone is worn at the waist with the x axis up, as in the data. In other orientations the accuracy is "
        f"{min(rotated):.0%} to {max(rotated):.0%} (table above).",
        "30 adults aged 19 to 48, one phone model and prescribed activities: no children, no older people, no pockets, "
        "hands or bags, no everyday life.",
        f"Only {', '.join(labels)}: any other activity, including changes of posture, is classified as one of these, "
        "sometimes with a high probability.",
        "Samples must pass the filters above, which take some seconds to settle after the start.",
        f"{len(shares)} test subjects are few: their mean accuracy has a standard error of {error:.1f} points.",
        "Not a medical device.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _license() -> str:
    return (
        "Code and weights: Apache 2.0. The dataset is not part of this repository: its README forbids commercial use "
        "and requests the citation below, while the page of the UCI archive states CC BY 4.0. Whether these terms "
        "apply to a model trained on the data is for its users to determine."
    )


def _reproduce(name: str, checkpoint: Checkpoint) -> str:
    lines = {
        f"harexport train --recipe {name} --seed {checkpoint.seed} --out OUT": "the checkpoint",
        "make artifacts": "all files of the checkpoint, this card, SHA256SUMS",
        f"python benchmarks/seeds.py {name}": "the seeds",
        "python benchmarks/robustness.py": "the perturbations",
    }
    width = max(map(len, lines))
    return "\n".join(f"    {command:<{width}}  # {what}" for command, what in lines.items())


def _table(rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table without its empty columns."""
    filled = [k for k in range(len(rows[0])) if any(row[k] for row in rows[1:])]
    return tables.format_markdown([tuple(row[k] for k in filled) for row in rows])


def _seed_results(checkpoint: Checkpoint, measured: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of seeds.json if its recipe is that of the checkpoint, and an empty one otherwise."""
    found: dict[str, Any] = measured["recipes"].get(checkpoint.recipe.name, {})
    return found if found and seeds.is_same_recipe(found["recipe"], checkpoint.recipe) else {}


def build_cards() -> dict[Path, str]:
    """Return the text of each model card by its path.

    Raises:
        KeyError: exports.json or robustness.json has no entry for a model.
    """
    seeded, exported, robust = (
        json.loads((_BENCHMARKS / f"{name}.json").read_text("utf-8")) for name in ("seeds", "exports", "robustness")
    )
    by_name = {model["name"]: model for model in robust["models"]}
    return {
        ship_pretrained.ARTIFACTS / name / CARD: format_card(
            name, checkpoint, _seed_results(checkpoint, seeded), exported[name], by_name[name]
        )
        for name, checkpoint in ship_pretrained.load_checkpoints().items()
    }


def write_cards() -> None:
    """Write all model cards."""
    for path, text in build_cards().items():
        files.write_text(path, text)
        info(f"{path.relative_to(ROOT)}")


def main() -> None:
    write_cards()
    ship_pretrained.write_checksums()


if __name__ == "__main__":
    print_messages()
    main()
