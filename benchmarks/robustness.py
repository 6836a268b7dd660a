"""Accuracy of the published models on perturbed test windows: other orientations, noise, lost samples, gain errors.

Runs the float64 reference of every checkpoint in artifacts/ as `harexport robustness` does. Nothing is chosen on the
test set. Takes about a quarter of an hour. Writes benchmarks/robustness.json, artifacts/robustness.png and the block
`robustness` of benchmarks/README.md.
Usage: python benchmarks/robustness.py [--render]   (--render: only picture and block, from the JSON file)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import readme, ship_pretrained
from harexport.data import load_dataset
from harexport.evaluation import plots
from harexport.robustness import evaluate as robust
from harexport.robustness import perturbations, report
from harexport.robustness.evaluate import Robustness
from harexport.utils import files, tables
from harexport.utils.console import print_messages

JSON = ROOT / "benchmarks" / "robustness.json"
PICTURE = ship_pretrained.ARTIFACTS / "robustness.png"


def digests() -> dict[str, str]:
    """Return the digest of each network in artifacts/, by recipe."""
    return {name: checkpoint.digest for name, checkpoint in ship_pretrained.load_checkpoints().items()}


def measure() -> dict[str, Any]:
    """Measure every checkpoint and write the JSON file."""
    networks = digests()
    models = robust.load_models([ship_pretrained.checkpoint_path(name) for name in networks])
    result = robust.evaluate_robustness(models, load_dataset())
    measured = {
        "command": "python benchmarks/robustness.py",
        "what": "the float64 reference of each checkpoint in artifacts/ on the official test windows, nothing chosen",
        "networks": networks,
        "degrees_per_second_for_each_mg": perturbations.DPS_PER_MG,
        **result.to_dict(),
    }
    files.write_json(JSON, measured)
    return measured


def up_to_date() -> bool:
    """Return whether the JSON file is of the networks in artifacts/."""
    return JSON.exists() and json.loads(JSON.read_text("utf-8"))["networks"] == digests()


def picture(measured: dict[str, Any]) -> None:
    """Draw artifacts/robustness.png."""
    plots.save_figure(report.plot_robustness(Robustness.from_dict(measured)), PICTURE)
    ship_pretrained.write_checksums()


def render(measured: dict[str, Any]) -> str:
    """Render the block `robustness`, Markdown."""
    result = Robustness.from_dict(measured)
    draws = {one.group: one.draws for one in result.models[0].outcomes}
    return "\n\n".join(
        [
            tables.format_markdown(report.condition_rows(result)),
            f"Mean of {draws['tilt']} directions of tilt, {draws['noise']} draws of noise and losses and "
            f"{draws['gain']} sets of signs of the gain errors; in brackets the worst. All vectors are rotated "
            f"together; the gyroscope's noise is {measured['degrees_per_second_for_each_mg']:g} degrees per second "
            "per mg. From [robustness.json](robustness.json).",
            *report.left_out_notes(result),
            tables.format_markdown(report.label_rows(result)),
            tables.format_markdown(report.subject_rows(result)),
        ]
    )


def main() -> None:
    measured = json.loads(JSON.read_text("utf-8")) if "--render" in sys.argv[1:] else measure()
    picture(measured)
    print(render(measured))
    readme.refresh("robustness", render(measured))


if __name__ == "__main__":
    print_messages()
    main()
