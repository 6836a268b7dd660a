"""The results table of README.md: five files of one run of `python benchmarks/compare_converters.py`."""

from __future__ import annotations

from typing import Any

# (network, key of the row, what it is)
ROWS = (
    ("edge", "harexport-tflite-unrolled-int8-weights", "`edge`, int8 weights, by harexport"),
    ("edge", "harexport-tflite-unrolled-float32", "`edge`, float32, by harexport"),
    ("edge", "keras-loop-float32", "`edge`, float32, by Keras 3 and TFLiteConverter"),
    ("baseline-lstm", "harexport-tflite-fused-float32", "`baseline-lstm`, float32, by harexport"),
    ("baseline-lstm", "keras-loop-float32", "`baseline-lstm`, float32, by Keras 3 and TFLiteConverter"),
)


def render(measured: dict[str, Any]) -> str:
    """Render the block, Markdown."""
    found = {(row["model"], row["key"]): row for row in measured["rows"]}
    lines = ["| TFLite file | KB | test accuracy | p50 latency | conversion |", "|---|---:|---:|---:|---:|"]
    for network, key, description in ROWS:
        row = found[network, key]
        lines.append(
            f"| {description} | {row['size_bytes'] / 1000:.0f} | {row['parity']['accuracy']:.2%} | "
            f"{row['latency']['p50']:.1f} µs | {row['seconds']:.1f} s |"
        )
    machine = measured["machine"]
    return "\n".join(
        [
            *lines,
            "",
            f"Accuracy on the {row['parity']['windows']} official test windows; latency of one window in LiteRT, one "
            f"thread of {machine['processor']}. From "
            "[benchmarks/compare_converters.json](benchmarks/compare_converters.json).",
        ]
    )
