"""Train the shipped recipes and export every format, lowering and scheme into artifacts/<recipe>/ (make artifacts).

    python benchmarks/artifacts.py [RECIPE ...]
    python benchmarks/artifacts.py --render

A checkpoint that fits recipe, data and version is kept; delete artifacts/ to train anew: a quarter of an hour.
Needs the data (HAREXPORT_DATA, or a download) and the train extra. What each export said goes to exports.json and from
there into the README (--render: without exporting anything). A file that fails its gate is not shipped, and said.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harexport import files
from harexport.console import say
from harexport.data import load
from harexport.demo import trained
from harexport.exporting.export import Refused, export_checkpoint
from harexport.exporting.forms import SCHEMES
from harexport.exporting.write import ExportResult, text
from harexport.models import ship
from harexport.training import recipe as recipes

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
JSON = Path(__file__).with_name("exports.json")
SEED = 0  # the first one; nothing was tried and discarded
_WAYS = (("onnx", "auto"), ("tflite", "unrolled"), ("tflite", "fused"))


def export(names: list[str]) -> dict[str, Any]:
    """Train or reuse, export everything, ship; what each export said, by recipe."""
    dataset, said = load(), json.loads(JSON.read_text("utf-8")) if JSON.exists() else {}
    for name in names:
        folder = ARTIFACTS / name
        checkpoint = trained(recipes.load(name), dataset, folder, SEED)
        results: list[ExportResult | Refused] = []
        for fmt, lowering in _WAYS:
            results += export_checkpoint(checkpoint, folder, dataset, fmt, SCHEMES[fmt], lowering)
        for result in results:
            if isinstance(result, Refused):
                result.path.unlink(missing_ok=True)  # an earlier version's
                say(f"Refused: {result.reason}")
            else:
                say(text(result))
        said[name] = [{**result.to_dict(), "path": result.path.name} for result in results]
    files.write_json(JSON, said)
    ship(ARTIFACTS / "edge" / "edge-unrolled-int8-weights.tflite")
    return said


def render(said: dict[str, Any]) -> str:
    """The README's block, Markdown."""
    lines = [
        "| file | KB | size | time | accuracy | drop | agree | from | |",
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


def main(arguments: list[str]) -> None:
    from readme import refresh

    kept = arguments == ["--render"]
    said = json.loads(JSON.read_text("utf-8")) if kept else export(arguments or recipes.shipped())
    refresh("exports", render(said))


if __name__ == "__main__":
    main(sys.argv[1:])
