"""Rebuild artifacts/ (make artifacts) from its checkpoints.

For each checkpoint: all formats, lowerings and schemes, contract, labels and model card. Then SHA256SUMS.

    python artifacts/build.py [--train] [RECIPE ...]     (default: all published models)
    python artifacts/build.py --render                   (only render the README block from exports.json)

Without --train, a missing checkpoint is reported at the end with exit code 1. With --train, a checkpoint that is
missing, or has another recipe, seed, dataset or version, is trained with seed 0, which takes 15 minutes or more for
the baselines. Needs the dataset (HAREXPORT_DATA, or a download), and --train the extra `train`.

The results of the exports are written to exports.json and to the README; the edge model is copied to the package and to
the Android demo. A file that fails its checks is not published, and the model card reports it. robustness.json is
measured again (some minutes) if it belongs to other networks.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from artifacts import model_cards
from benchmarks import readme, robustness, ship_pretrained
from harexport.data import Dataset, load_dataset
from harexport.errors import HarExportError
from harexport.exporters.export import ExportFailure, ExportResult, export_checkpoint, format_result
from harexport.exporters.options import SCHEMES
from harexport.formats import tflite_metadata
from harexport.model import recipe as recipes
from harexport.model.checkpoint import Checkpoint
from harexport.model.network import Network
from harexport.pipeline import train_or_reuse
from harexport.utils import files
from harexport.utils.console import info, print_messages

JSON = ROOT / "benchmarks" / "exports.json"
SEED = 0  # the first seed; no other was tried


def export_plan(network: Network) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return format, lowering and schemes of all files of a network."""
    if network.gru:
        floats = tuple(scheme for scheme in SCHEMES["tflite"] if scheme != "int8")
        return [("onnx", "auto", SCHEMES["onnx"]), ("tflite", "unrolled", floats)]
    return [
        ("onnx", "auto", SCHEMES["onnx"]),
        *(("tflite", lowering, SCHEMES["tflite"]) for lowering in ("unrolled", "fused")),
    ]


def build(names: list[str], train: bool) -> dict[str, Any]:
    """Rebuild the models in artifacts/.

    Args:
        names: Recipes of the models.
        train: Whether to train missing or outdated checkpoints.

    Returns:
        The content of exports.json.
    """
    dataset = load_dataset()
    if train:
        for name in names:
            train_or_reuse(recipes.load(name), dataset, ship_pretrained.ARTIFACTS / name, SEED)
    checkpoints = ship_pretrained.load_checkpoints()
    exports: dict[str, Any] = json.loads(JSON.read_text("utf-8")) if JSON.exists() else {}
    for name in (name for name in names if name in checkpoints):
        _check_checkpoint(name, checkpoints[name], dataset)
        exports[name] = export_model(name, checkpoints[name], dataset)
    exports = {name: exports[name] for name in checkpoints if name in exports}
    files.write_json(JSON, exports)
    if not robustness.up_to_date():
        robustness.picture(robustness.measure())
    model_cards.write_cards()
    ship_pretrained.write_checksums()
    return exports


def _check_checkpoint(name: str, checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Report a checkpoint with another recipe, seed or dataset than the current ones."""
    if (checkpoint.recipe, checkpoint.seed, checkpoint.data["digest"]) != (recipes.load(name), SEED, dataset.digest):
        info(f"!!! {name}: its checkpoint has another recipe, seed or dataset; train it again with --train")


def export_model(
    name: str, checkpoint: Checkpoint, dataset: Dataset, plan: list[tuple[str, str, tuple[str, ...]]] | None = None
) -> list[dict[str, Any]]:
    """Export files of a model and return the results as JSON values.

    Args:
        name: Name of the model, and of its folder.
        checkpoint: Its checkpoint.
        dataset: Dataset for checks and calibration.
        plan: Format, lowering and schemes of the files; default: `export_plan`.
    """
    folder = ship_pretrained.ARTIFACTS / name
    results: list[ExportResult | ExportFailure] = []
    for fmt, lowering, schemes in plan or export_plan(checkpoint.network):
        results += export_checkpoint(checkpoint, folder, dataset, fmt, schemes, lowering)
    for result in results:
        if isinstance(result, ExportFailure):
            result.path.unlink(missing_ok=True)  # of an earlier version
            info(f"Failed: {result.reason}")
        else:
            info(format_result(result))
    contract = checkpoint.contract
    files.write_text(folder / tflite_metadata.LABELS_NAME, tflite_metadata.labels_text(contract.labels))
    if contract.coarse_labels:
        files.write_text(
            folder / f"coarse_{tflite_metadata.LABELS_NAME}", tflite_metadata.labels_text(contract.coarse_labels)
        )
    return [{**result.to_dict(), "path": result.path.name} for result in results]


def render(exports: dict[str, Any]) -> str:
    """Render the block `exports`, Markdown."""
    lines = [
        "| file | KB | size | time | accuracy | drop | agreement | minimum runtime | |",
        "|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for results in exports.values():
        for result in results:
            if "refused" in result:
                reason = result["refused"].split(": ", 1)[1]
                lines.append(f"| {result['path']} | - | - | - | - | - | - | - | failed: {reason} |")
                continue
            parity, is_float32 = result["checks"]["parity"], result["scheme"] == "float32"
            size, time = ("1", "1") if is_float32 else (f"{result['size_ratio']:.2f}", f"{result['time_ratio']:.2f}")
            runtime = "TFLite" if result["format"] == "tflite" else "ORT"
            kilobytes = f"{result['size_bytes'] / 1000:.1f}"
            lines.append(
                f"| {result['path']} | {kilobytes} | {size} | {time} | {parity['accuracy']:.2%} | "
                f"{parity['drop']:.2f} | {parity['agreement']:.2%} | {runtime} {result['oldest_runtime']} | |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="*", metavar="RECIPE", help="default: all published models")
    parser.add_argument("--train", action="store_true", help="train missing or outdated checkpoints with seed 0")
    parser.add_argument("--render", action="store_true", help="only render the README block from exports.json")
    arguments = parser.parse_args()
    if unknown := set(arguments.recipe) - set(ship_pretrained.MODELS):
        parser.error(f"{', '.join(sorted(unknown))}: not published; choose from {', '.join(ship_pretrained.MODELS)}")
    try:
        exports = (
            json.loads(JSON.read_text("utf-8"))
            if arguments.render
            else build(arguments.recipe or list(ship_pretrained.MODELS), arguments.train)
        )
    except HarExportError as error:
        sys.exit(f"Error: {error}")
    readme.refresh("exports", render(exports))
    if (missing := ship_pretrained.missing_message()) and not arguments.render:
        sys.exit(missing)


if __name__ == "__main__":
    print_messages()
    main()
