"""Train the shipped recipes and export every format and lowering into artifacts/<recipe>/ (make artifacts).

A checkpoint that fits recipe, data and version is kept; delete artifacts/ to train anew: a quarter of an hour.
Needs the data (HAREXPORT_DATA, or a download) and the train extra.
Usage: python benchmarks/artifacts.py [RECIPE ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

from harexport.console import say
from harexport.data import load
from harexport.demo import trained
from harexport.exporting.export import Refused, export_checkpoint
from harexport.exporting.forms import SCHEMES
from harexport.exporting.write import text
from harexport.models import ship
from harexport.training import recipe as recipes

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
SEED = 0  # the first one; nothing was tried and discarded


def main(names: list[str]) -> None:
    dataset = load()
    for name in names:
        folder = ARTIFACTS / name
        checkpoint = trained(recipes.load(name), dataset, folder, SEED)
        for fmt, lowering in (("onnx", "auto"), ("tflite", "unrolled"), ("tflite", "fused")):
            for result in export_checkpoint(checkpoint, folder, dataset, fmt, SCHEMES[fmt], lowering):
                say(f"Refused: {result.reason}" if isinstance(result, Refused) else text(result))
    ship(ARTIFACTS / "edge" / "edge-unrolled-int8-weights.tflite")


if __name__ == "__main__":
    main(sys.argv[1:] or recipes.shipped())
