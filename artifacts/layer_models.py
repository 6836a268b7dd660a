"""Rebuild the models in artifacts/ whose recipes list their layers: ONNX and TFLite files, model cards, SHA256SUMS.

They are apart from artifacts/build.py, because they are trained for a few epochs only and are no part of the
comparisons there. The results of the exports are written to benchmarks/layer_exports.json.

    python artifacts/layer_models.py [--cards]     (--cards: only the model cards)
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
from harexport.model.checkpoint import Checkpoint
from harexport.utils import files, tables
from harexport.utils.console import print_messages

MODELS = ("deepconvlstm", "cnn-lstm", "baseline-residual-bilstm")
PLAN = [("all", "auto", ("float32", "int8-weights"))]
# Its 18 LSTM layers of 14 units return all states: as loops they need TensorFlow Lite 2.9 and are slower than fused.
PLANS = {"baseline-residual-bilstm": [("all", "fused", ("float32", "int8-weights"))]}
JSON = ROOT / "benchmarks" / "layer_exports.json"


def export(found: dict[str, Checkpoint]) -> dict[str, Any]:
    """Export all files of all checkpoints and return the results as JSON values."""
    dataset = load_dataset()
    exports: dict[str, Any] = json.loads(JSON.read_text("utf-8")) if JSON.exists() else {}
    for name, checkpoint in found.items():
        exports[name] = build.export_model(name, checkpoint, dataset, PLANS.get(name, PLAN))
    exports = {name: exports[name] for name in MODELS if name in exports}
    files.write_json(JSON, exports)
    return exports


def format_card(name: str, checkpoint: Checkpoint, exported: list[dict[str, Any]]) -> str:
    """Return the model card of one model.

    Args:
        name: Name of the model.
        checkpoint: Its checkpoint.
        exported: Its entry in layer_exports.json.
    """
    labels = checkpoint.contract.labels
    tested = model_cards.figure_tables(checkpoint, "official test set")
    epochs = checkpoint.recipe.schedule.epochs
    limits = (
        f"Trained for {epochs} epochs only; the recipe states how it differs from the published network.",
        "30 adults aged 19 to 48, one phone model at the waist and prescribed activities.",
        f"Only {', '.join(format_label(label).lower() for label in labels)}: any other activity is classified as one "
        "of these, sometimes with a high probability.",
        "Not a medical device.",
    )
    sections = {
        f"# {name}": model_cards._what(checkpoint),
        "## Intended use": "An example of a network that many people use for sensor windows, for comparisons and "
        "learning. In an app use `edge`. Not for uses in which an error causes harm.",
        "## Figures": "\n\n".join(tables.format_markdown(rows) for rows in tested),
        "## Protocol": _protocol(checkpoint),
        "## Files": model_cards._files(name, exported),
        "## Limits": "\n".join(f"- {line}" for line in limits),
        "## License": model_cards._license(),
        "## Reproduction": f"    harexport train --recipe {name} --seed {checkpoint.seed} --out OUT\n"
        "    python artifacts/layer_models.py",
        "## Citation": model_cards._CITATION,
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items()) + "\n"


def _protocol(checkpoint: Checkpoint) -> str:
    held_out = checkpoint.figures["validation"]
    return (
        "Nothing was selected, neither recipe nor epoch nor seed. A first pass without subjects "
        f"{', '.join(map(str, held_out['subjects']))} had an accuracy of {held_out['accuracy']:.2%} on their windows. "
        "This model was then trained on all training subjects, and evaluated on the test set once, at the end."
    )


def build_cards() -> dict[Path, str]:
    """Return the text of each model card by its path."""
    exports = json.loads(JSON.read_text("utf-8")) if JSON.exists() else {}
    return {
        ship_pretrained.ARTIFACTS / name / model_cards.CARD: format_card(name, checkpoint, exports.get(name, []))
        for name, checkpoint in ship_pretrained.load_checkpoints(MODELS).items()
    }


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
