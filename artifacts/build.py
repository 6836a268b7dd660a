"""Rebuild artifacts/ (make artifacts): of each checkpoint that stands there every format, lowering and scheme,
contract, labels and model card, and SHA256SUMS over everything.

    python artifacts/build.py [--train] [RECIPE ...]     (default: all of shipped.MODELS)
    python artifacts/build.py --render                   (the README's block from exports.json)

Without --train nothing is trained: a model whose checkpoint is missing is said at the end, and the exit code is 1.
With --train, what is missing, or came from another recipe, seed, data set or version, is trained with seed 0: a quarter
of an hour for seed-lstm, more for seed-gru. Needs the data (HAREXPORT_DATA, or a download), and --train the train
extra.

What each export said goes to exports.json and from there into the README, the edge model into the package and into the
Android demo. A file that fails its gate is not shipped; the card says so. Where robustness.json is of other networks,
it is measured anew (some minutes).
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
from harexport.exporters import android
from harexport.exporters.export import ExportResult, ExportFailure, export_checkpoint, format_result
from harexport.exporters.options import SCHEMES
from harexport.formats import tflite_metadata
from harexport.model import recipe as recipes
from harexport.model.checkpoint import Checkpoint
from harexport.model.network import Network
from harexport.pipeline import trained
from harexport.runtimes.model import update_pretrained
from harexport.utils import files
from harexport.utils.console import info, print_messages

EDGE = ship_pretrained.ARTIFACTS / "edge"
# What the Android demo carries. Correct runtimes answer a float32 file alike to 1e-5 and int8 weights only to 0.1
# (benchmarks/old_runtime.json): against float32, its self-test sees every slip.
DEMO_MODEL = EDGE / "edge-unrolled-float32.tflite"
JSON = ROOT / "benchmarks" / "exports.json"
SEED = 0  # the first one; nothing was tried and discarded


def ways(network: Network) -> list[tuple[str, str, tuple[str, ...]]]:
    """Format, lowering and schemes of everything that there is for such a network."""
    if network.gru:
        floats = tuple(scheme for scheme in SCHEMES["tflite"] if scheme != "int8")
        return [("onnx", "auto", SCHEMES["onnx"]), ("tflite", "unrolled", floats)]
    return [
        ("onnx", "auto", SCHEMES["onnx"]),
        *(("tflite", lowering, SCHEMES["tflite"]) for lowering in ("unrolled", "fused")),
    ]


def rebuild(names: list[str], train: bool) -> dict[str, Any]:
    """Everything of the models that stand in artifacts/, after training what is missing if `train`; answers
    exports.json."""
    dataset = load_dataset()
    if train:
        for name in names:
            trained(recipes.load(name), dataset, ship_pretrained.ARTIFACTS / name, SEED)
    standing = ship_pretrained.standing()
    said: dict[str, Any] = json.loads(JSON.read_text("utf-8")) if JSON.exists() else {}
    for name in (name for name in names if name in standing):
        _check(name, standing[name], dataset)
        said[name] = _exported(name, standing[name], dataset)
    said = {name: said[name] for name in standing if name in said}
    files.write_json(JSON, said)
    if "edge" in standing:
        update_pretrained(EDGE / "edge-unrolled-int8-weights.tflite")
        android.write_assets(DEMO_MODEL, ROOT / "android_demo")
    if not robustness.up_to_date():
        robustness.picture(robustness.measure())
    model_cards.write()
    ship_pretrained.seal()
    return said


def _check(name: str, checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Say where a checkpoint is not what this version would train."""
    if (checkpoint.recipe, checkpoint.seed, checkpoint.data["digest"]) != (recipes.load(name), SEED, dataset.digest):
        info(f"!!! {name}: its checkpoint came from another recipe, seed or data set; --train trains it anew")


def _exported(name: str, checkpoint: Checkpoint, dataset: Dataset) -> list[dict[str, Any]]:
    """Write every file of one model; what each export said."""
    folder = ship_pretrained.ARTIFACTS / name
    results: list[ExportResult | ExportFailure] = []
    for fmt, lowering, schemes in ways(checkpoint.network):
        results += export_checkpoint(checkpoint, folder, dataset, fmt, schemes, lowering)
    for result in results:
        if isinstance(result, ExportFailure):
            result.path.unlink(missing_ok=True)  # an earlier version's
            info(f"Refused: {result.reason}")
        else:
            info(format_result(result))
    contract = checkpoint.contract
    files.write_text(folder / tflite_metadata.LABELS_NAME, tflite_metadata.labels_text(contract.labels))
    if contract.coarse_labels:
        files.write_text(
            folder / f"coarse_{tflite_metadata.LABELS_NAME}", tflite_metadata.labels_text(contract.coarse_labels)
        )
    return [{**result.to_dict(), "path": result.path.name} for result in results]


def render(said: dict[str, Any]) -> str:
    """Render the block `exports`, Markdown."""
    lines = [
        "| file | KB | size | time | accuracy | drop | agreement | minimum runtime | |",
        "|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for results in said.values():
        for one in results:
            if "refused" in one:
                reason = one["refused"].split(": ", 1)[1]
                lines.append(f"| {one['path']} | - | - | - | - | - | - | - | refused: {reason} |")
                continue
            parity, plain = one["gate"]["parity"], one["scheme"] == "float32"
            size, time = ("1", "1") if plain else (f"{one['size_ratio']:.2f}", f"{one['time_ratio']:.2f}")
            runtime = "TFLite" if one["format"] == "tflite" else "ORT"
            lines.append(
                f"| {one['path']} | {one['size_bytes'] / 1000:.1f} | {size} | {time} | {parity['accuracy']:.2%} | "
                f"{parity['drop']:.2f} | {parity['agreement']:.2%} | {runtime} {one['oldest_runtime']} | |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="*", metavar="RECIPE", help="default: all of shipped.MODELS")
    parser.add_argument("--train", action="store_true", help="train what is missing or of another recipe, with seed 0")
    parser.add_argument("--render", action="store_true", help="the README's block from exports.json, nothing else")
    asked = parser.parse_args()
    if unknown := set(asked.recipe) - set(ship_pretrained.MODELS):
        parser.error(f"{', '.join(sorted(unknown))}: not shipped; choose from {', '.join(ship_pretrained.MODELS)}")
    try:
        said = (
            json.loads(JSON.read_text("utf-8"))
            if asked.render
            else rebuild(asked.recipe or list(ship_pretrained.MODELS), asked.train)
        )
    except HarExportError as error:
        sys.exit(f"Error: {error}")
    readme.refresh("exports", render(said))
    if (missing := ship_pretrained.missing()) and not asked.render:
        sys.exit(missing)


if __name__ == "__main__":
    print_messages()
    main()
