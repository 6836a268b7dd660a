"""Rebuild the models with a mount stage in artifacts/: all formats, lowerings and schemes, model cards, SHA256SUMS.

They are apart from artifacts/build.py, because their figures under other orientations come from
benchmarks/mounting.json instead of robustness.json. The results of the exports are written to
benchmarks/mounted_exports.json.

    python artifacts/mounted_models.py [--cards]     (--cards: only the model cards)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from artifacts import build, model_cards
from benchmarks import ship_pretrained
from harexport.data import load_dataset
from harexport.evaluation.plots import format_label
from harexport.exporters import android
from harexport.model.checkpoint import Checkpoint
from harexport.runtimes.model import update_pretrained
from harexport.utils import files, tables
from harexport.utils.console import print_messages

MODELS = ("edge-any-mount", "edge-any-mount-acc")
JSON = ROOT / "benchmarks" / "mounted_exports.json"
MOUNTING = ROOT / "benchmarks" / "mounting.json"
# Model of the Android demo. The logits of correct runtimes differ by 1e-5 for float32 and by 0.1 for int8 weights
# (benchmarks/old_runtime.json), so that the demo's self-test is most sensitive with float32.
DEMO_MODEL = ship_pretrained.ARTIFACTS / "edge-any-mount" / "edge-any-mount-unrolled-float32.tflite"
# For phones without a gyroscope, in a folder of its own in the assets.
DEMO_MODEL_ACC = ship_pretrained.ARTIFACTS / "edge-any-mount-acc" / "edge-any-mount-acc-unrolled-float32.tflite"
DEMO_FOLDER_ACC = ROOT / "android_demo" / "app" / android.ASSETS / "accelerometer-only"


def export(found: dict[str, Checkpoint]) -> dict[str, Any]:
    """Export all files of all checkpoints and return the results as JSON values."""
    dataset = load_dataset()
    exports: dict[str, Any] = json.loads(JSON.read_text("utf-8")) if JSON.exists() else {}
    for name, checkpoint in found.items():
        exports[name] = build.export_model(name, checkpoint, dataset)
        files.write_json(JSON, exports)
        update_pretrained(ship_pretrained.ARTIFACTS / name / f"{name}-unrolled-int8-weights.tflite", f"{name}.tflite")
    if DEMO_MODEL.parent.name in found:
        android.write_assets(DEMO_MODEL, ROOT / "android_demo")
    if DEMO_MODEL_ACC.parent.name in found:
        contents = android.make_assets(DEMO_MODEL_ACC)
        android.write_contents({DEMO_FOLDER_ACC / name: content for name, content in contents.items()})
    return exports


def format_card(name: str, checkpoint: Checkpoint, exported: list[dict[str, Any]], seeds: list[dict[str, Any]]) -> str:
    """Return the model card of one model.

    Args:
        name: Name of the model.
        checkpoint: Its checkpoint.
        exported: Its entry in mounted_exports.json.
        seeds: The entries of its seeds in mounting.json.
    """
    temperature = checkpoint.figures["temperature"]
    tested = model_cards.figure_tables(checkpoint, "official test windows, rotated by the walking of each recording")
    orientations = [("raw recordings in 20 random orientations, a file read twice", "accuracy", "worst", "smoothed")]
    for measured in seeds:
        run = measured["file"]
        orientations.append(
            (
                measured["name"],
                f"{run['accuracy']:.2%}",
                f"{run['worst_orientation']:.2%}",
                f"{run['smoothed_accuracy']:.2%}",
            )
        )
    only = "" if len(checkpoint.contract.channels) > 6 else " It uses the accelerometer only."
    sections = {
        f"# {name}": model_cards._what(checkpoint),
        "## Intended use": "The model for apps in which the phone may be worn in any orientation at the waist. It "
        f"needs the mount stage ([docs/mounting.md](../../docs/mounting.md)).{only} For learning and research. Not for "
        "uses in which an error causes harm, such as diagnosis, fall detection, care, work surveillance or insurance.",
        "## Figures": "\n\n".join(tables.format_markdown(rows) for rows in (*tested, orientations) if len(rows) > 1)
        + f"\n\nThe probabilities are calibrated: temperature {temperature['value']:.3f}, fitted on the held-out "
        "subjects.",
        "## Protocol": model_cards._protocol(name, checkpoint),
        "## Files": model_cards._files(name, exported),
        "## Limits": _limits(checkpoint.contract.labels),
        "## License": model_cards._license(),
        "## Reproduction": f"    harexport train --recipe {name} --seed {checkpoint.seed} --out OUT\n"
        "    python artifacts/mounted_models.py\n    python benchmarks/mounting.py",
        "## Citation": model_cards._CITATION,
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items()) + "\n"


def _limits(labels: tuple[str, ...]) -> str:
    lines = (
        "Without an estimate of the mounting, predictions mean little: show none.",
        "30 adults aged 19 to 48, one phone model and prescribed activities: no children, no older people, no pockets, "
        "hands or bags, no everyday life. A pocket is another place, not another orientation.",
        f"Only {', '.join(format_label(label).lower() for label in labels)}: any other activity is classified as one "
        "of these, sometimes with a high probability.",
        "Not a medical device.",
    )
    return "\n".join(f"- {line}" for line in lines)


def build_cards() -> dict[Path, str]:
    """Return the text of each model card by its path."""
    exports = json.loads(JSON.read_text("utf-8")) if JSON.exists() else {}
    mounting = json.loads(MOUNTING.read_text("utf-8"))["models"] if MOUNTING.exists() else {}
    cards = {}
    for name, checkpoint in ship_pretrained.load_checkpoints(MODELS).items():
        seeds = [{"name": key, **value} for key, value in mounting.items() if key.partition(",")[0] == name]
        path = ship_pretrained.ARTIFACTS / name / model_cards.CARD
        cards[path] = format_card(name, checkpoint, exports.get(name, []), seeds)
    return cards


def main() -> None:
    """Rebuild everything, or only the cards."""
    if "--cards" not in sys.argv[1:]:
        export(ship_pretrained.load_checkpoints(MODELS))
    for path, text in build_cards().items():
        files.write_text(path, text)
    ship_pretrained.write_checksums()


if __name__ == "__main__":
    print_messages()
    main()
