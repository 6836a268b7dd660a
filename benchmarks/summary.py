"""Parity and latency of all artifacts, and the time that the tool itself takes, in one run (make bench).

Writes benchmarks/summary.json and renders the block `summary` of artifacts/README.md
from it. Usage: python benchmarks/summary.py [--render]   (--render: only render the block)
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
JSON, ARTIFACTS = ROOT / "benchmarks" / "summary.json", ROOT / "artifacts"
RECIPES = ("edge", "edge-tiny", "baseline-lstm", "baseline-gru")
TIMED = ("edge", "edge-tiny")  # the others were trained beside much more, their times say nothing
QUICK_EPOCHS = 40
RUNS = 4000
PAIRS = (
    ("baseline-lstm-float32.onnx", "edge-float32.onnx"),
    ("baseline-lstm-fused-float32.tflite", "edge-unrolled-float32.tflite"),
    ("baseline-lstm-unrolled-float32.tflite", "edge-unrolled-float32.tflite"),
    ("baseline-lstm-fused-float32.tflite", "edge-unrolled-int8-weights.tflite"),
    ("edge-unrolled-int8-weights.tflite", "edge-tiny-unrolled-int8-weights.tflite"),
)

# Run in a fresh process: prints seconds and peak memory (MB) of the whole export command, imports included. VmHWM,
# because getrusage's maximum is handed down from the process that started this one.
_EXPORT = """
import sys, time
began = time.perf_counter()
from harexport.cli import main
main(sys.argv[1:], standalone_mode=False)
seconds = time.perf_counter() - began
assert not {"torch", "tensorflow"} & set(sys.modules)
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(seconds, int(peak) / 1024)
"""


def measure() -> dict[str, Any]:
    from harexport.bench import run as benches
    from harexport.bench.discovery import find_models
    from harexport.bench.report import text
    from harexport.bench.report.html import save_report
    from harexport.data import load_dataset
    from harexport.utils import files

    dataset = load_dataset()
    load_seconds = min(_timed(load_dataset) for _ in range(5))
    folders = [ARTIFACTS / name for name in RECIPES]
    result = benches.bench(find_models(folders), dataset, RUNS)
    save_report(result, ROOT / "harexport-out", folders)
    measured = {
        "command": "make bench",
        "bench": result.to_dict(),
        "table": text.overview_table(result),
        "ratios": _ratios(result),
        "costs": {
            "help_seconds": min(_timed(_help) for _ in range(10)),
            "cached_load_seconds": load_seconds,
            **{f"export_{fmt}": _export_cost(fmt) for fmt in ("onnx", "tflite")},
            "quick_training": _quick_training(dataset),
            "training_seconds": {
                name: json.loads((ARTIFACTS / name / f"{name}.history.json").read_text())["seconds"] for name in TIMED
            },
        },
    }
    files.write_json(JSON, measured)
    return measured


def _ratios(result: Any) -> list[dict[str, Any]]:
    """Return the latency of the first file of each pair relative to the second, by p50 and by the minimum."""
    latency = {model.name: model.latency for model in result.models}
    return [
        {"slower": a, "faster": b, "p50": latency[a].p50 / latency[b].p50, "min": latency[a].min / latency[b].min}
        for a, b in PAIRS
    ]


def _quick_training(dataset: Any) -> dict[str, Any]:
    """The edge recipe with a shorter schedule, on one thread, without its held-out subjects, evaluated on them."""
    from harexport.model import recipe as recipes
    from harexport.training.trainer import fit

    table = recipes.load("edge").to_dict()
    table["schedule"]["epochs"] = QUICK_EPOCHS
    recipe = recipes.parse(table, "edge")
    held = dataset.train.select_subjects(recipe.validation.subjects)
    kept = dataset.train.select_subjects(recipe.validation.subjects, exclude=True)
    began = time.perf_counter()
    network, _ = fit(kept, None, recipe, len(dataset.contract.labels))
    seconds = time.perf_counter() - began
    accuracy = float((network.logits(held.signals).argmax(axis=1) == held.labels).mean())
    return {"recipe": "edge", "epochs": QUICK_EPOCHS, "seconds": seconds, "held_out_accuracy": accuracy}


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _help() -> None:
    subprocess.run([sys.executable, "-m", "harexport", "--help"], check=True, capture_output=True)


def _export_cost(fmt: str) -> dict[str, float]:
    best = None
    for _ in range(5):
        with tempfile.TemporaryDirectory() as out:
            arguments = ["export", str(ARTIFACTS / "edge" / "edge.safetensors"), "--format", fmt, "--out", out]
            child = subprocess.run(
                [sys.executable, "-c", _EXPORT, *arguments], check=True, capture_output=True, text=True
            )
        seconds, megabytes = map(float, child.stdout.splitlines()[-1].split())
        if best is None or seconds < best["seconds"]:
            best = {"seconds": seconds, "megabytes": megabytes}
    assert best
    return best


def _trained(costs: dict[str, Any], recipe: str) -> str:
    seconds = costs["training_seconds"].get(recipe)
    return f"; training took {seconds / 60:.1f} minutes on one core" if seconds else ""


def render(measured: dict[str, Any]) -> str:
    """Render the block `summary`, Markdown."""
    from harexport.utils.tables import format_markdown

    bench, costs = measured["bench"], measured["costs"]
    machine = bench["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    sentences = [
        f"- **{ref['recipe']}**: {ref['figures']['accuracy']:.2%} test accuracy on 2947 windows "
        f"(macro F1 {ref['figures']['macro_f1']:.2%}; held-out subjects {ref['validation']['accuracy']:.2%}); "
        f"{ref['parameters']:,} parameters, {ref['steps']} steps{_trained(costs, ref['recipe'])}."
        for ref in bench["references"]
    ]
    sentences += [
        f"- `{pair['slower']}` takes **{pair['p50']:.1f} times** as long as `{pair['faster']}` "
        f"(p50; {pair['min']:.1f} by the minimum)."
        for pair in measured["ratios"]
    ]
    quick = costs["quick_training"]
    sentences.append(
        f"- **Training**: {quick['epochs']} epochs of `{quick['recipe']}` take {quick['seconds']:.0f} s on one core "
        f"and reach {quick['held_out_accuracy']:.2%} on the held-out subjects."
    )
    onnx, tflite = costs["export_onnx"], costs["export_tflite"]
    sentences.append(
        f"- **The tool**: `harexport --help` {costs['help_seconds']:.2f} s; data load from the cache "
        f"{costs['cached_load_seconds']:.3f} s; an export process with its checks: ONNX {onnx['seconds']:.2f} s "
        f"and {onnx['megabytes']:.0f} MB, TFLite {tflite['seconds']:.2f} s and {tflite['megabytes']:.0f} MB."
    )
    origin = (
        f"One run of `make bench` on {machine['processor']} ({machine['cores']} cores, {machine['system']}), "
        f"one thread, {bench['models'][0]['latency']['runs']} runs per model, interleaved; {versions}. "
        "From [summary.json](../benchmarks/summary.json)."
    )
    return "\n".join([*sentences, "", format_markdown(measured["table"]), "", origin, ""])


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from benchmarks.readme import refresh

    measured = json.loads(JSON.read_text("utf-8")) if "--render" in sys.argv[1:] else measure()
    refresh("summary", render(measured))
    print(render(measured))


if __name__ == "__main__":
    main()
