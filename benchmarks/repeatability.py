"""Repeatability of `harexport bench`: do the 95 % intervals of two runs on one machine overlap?

    python benchmarks/repeatability.py

Runs the bench of artifacts/edge twice, each time in a new process, and writes repeatability.json: for each model the
two intervals of the median and of the ratio to the baseline.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harexport.utils import files
from harexport.utils.console import print_messages

ROOT = Path(__file__).resolve().parents[1]
JSON = Path(__file__).with_suffix(".json")
COMMAND = ("bench", "artifacts/edge", "--runs", "2000", "--json")


def run_bench() -> dict[str, Any]:
    """Run one bench in a new process; return its JSON."""
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run(
            [sys.executable, "-m", "harexport", *COMMAND, "--out", out], cwd=ROOT, capture_output=True, text=True
        )
    if done.returncode != 0:
        sys.exit(f"the bench failed: {done.stderr.strip()}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def intervals_overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    """Return whether two intervals share a value."""
    return max(one["low"], other["low"]) <= min(one["high"], other["high"])


def main() -> None:
    first, second = ({model["name"]: model for model in run_bench()["models"]} for _ in range(2))
    rows = []
    for name, model in first.items():
        medians = [{key: one["latency"][key] for key in ("p50", "low", "high")} for one in (model, second[name])]
        ratios = [model["ratio"], second[name]["ratio"]]
        row: dict[str, Any] = {"model": name, "p50": medians, "p50_agrees": intervals_overlap(*medians)}
        if all(ratios):
            row |= {"ratio": ratios, "ratio_agrees": intervals_overlap(*ratios)}
        rows.append(row)
    agreed = [row["ratio_agrees"] for row in rows if "ratio_agrees" in row]
    files.write_json(JSON, {"command": "harexport " + " ".join(COMMAND), "rows": rows})
    medians_agreed = sum(row["p50_agrees"] for row in rows)
    print(f"{sum(agreed)} of {len(agreed)} ratios and {medians_agreed} of {len(rows)} medians agree")


if __name__ == "__main__":
    print_messages()
    main()
