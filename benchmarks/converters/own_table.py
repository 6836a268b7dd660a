"""Renders the comparison of own_networks.py from its JSON."""

from __future__ import annotations

from typing import Any

from benchmarks.converters.table import HEAD, failures, origin
from benchmarks.converters.table import rows as table_rows

SUMMARY = ("network", "accuracy", "float32 µs", "of the fastest other", "int8-weights µs", "of the fastest other",
           "int8 µs", "convert s", "TensorFlow's", "largest logit diff.")  # fmt: skip


def targets(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Compute the ratios that were aimed at, one per network: name, aim, ratio by p50 and by minimum, whether met.

    Latency is relative to the fastest file of another converter in the same format and scheme family.
    """
    found = []
    for name in measured["networks"]:
        for scheme, aim in (("float32", 1.05), ("int8-weights", 0.8)):
            ours, other = (_fastest(measured, name, scheme, is_ours) for is_ours in (True, False))
            if ours and other:
                p50, best = (ours["latency"][key] / other["latency"][key] for key in ("p50", "min"))
                what = f"{name}, {scheme}: latency relative to {other['who']} ({other['format']})"
                found.append({"what": what, "aim": aim, "p50": p50, "min": best, "met": p50 <= aim})
        ours, tensorflow = (_conversion(measured, name, is_ours) for is_ours in (True, False))
        if ours and tensorflow:
            ratio = tensorflow / ours
            what = f"{name}: conversion faster than by Keras and TFLiteConverter"
            found.append({"what": what, "aim": 10, "p50": ratio, "min": None, "met": ratio >= 10})
    return found


def _made(measured: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [row for row in measured["rows"] if row["model"] == name and not row["failure"]]


def _fastest(measured: dict[str, Any], name: str, scheme: str, is_ours: bool) -> dict[str, Any] | None:
    """Return the fastest .tflite file whose predictions do not depend on the window before."""
    found = [
        row
        for row in _made(measured, name)
        if row["ours"] == is_ours and row["scheme"] == scheme and row["format"] == "tflite"
    ]
    return min(found, key=lambda row: row["latency"]["p50"], default=None)


def _conversion(measured: dict[str, Any], name: str, is_ours: bool) -> float | None:
    """Return the seconds of the slowest .tflite conversion of harexport, or the fastest of TensorFlow."""
    found = [row for row in _made(measured, name) if row["format"] == "tflite" and row["scheme"] != "int8"]
    seconds = [row["seconds"] for row in found if (row["ours"] if is_ours else row["by_tensorflow"])]
    return (max(seconds) if is_ours else min(seconds)) if seconds else None


def summary(measured: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the cells of one row per network, in the order of `SUMMARY`."""
    return [_summary_row(measured, name) for name in measured["networks"]]


def _summary_row(measured: dict[str, Any], name: str) -> tuple[str, ...]:
    cells = [name, f"{measured['networks'][name]['accuracy']:.1%}"]
    for scheme in ("float32", "int8-weights"):
        ours, other = (_fastest(measured, name, scheme, is_ours) for is_ours in (True, False))
        cells.append(_microseconds(ours))
        ratio = ours["latency"]["p50"] / other["latency"]["p50"] if ours and other else None
        cells.append(f"{ratio:.2f} ({other['who']})" if ratio and other else "-")
    cells.append(_microseconds(_fastest(measured, name, "int8", True)))
    ours_seconds, tensorflow = (_conversion(measured, name, is_ours) for is_ours in (True, False))
    cells += ["-" if seconds is None else f"{seconds:.2f}" for seconds in (ours_seconds, tensorflow)]
    float32 = _fastest(measured, name, "float32", True)
    cells.append(f"{float32['parity']['max_logit_difference']:.1e}" if float32 else "rejected")
    return tuple(cells)


def _microseconds(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{row['latency']['p50']:.0f}"


def render(measured: dict[str, Any]) -> str:
    """Render the block `own-networks`, Markdown."""
    lines = ["| " + " | ".join(SUMMARY) + " |", "|---|" + "---:|" * (len(SUMMARY) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in summary(measured)]
    met = [target for target in measured["targets"] if target["met"]]
    lines += ["", f"{len(met)} of {len(measured['targets'])} targets are met. Not met:", ""]
    lines += [f"- {_target(target)}" for target in measured["targets"] if not target["met"]] or ["- none"]
    for name in measured["networks"]:
        rows = table_rows(measured, name)
        lines += ["", f"<details><summary>{name}: {len(rows)} files, fastest first</summary>", ""]
        lines += ["| " + " | ".join(HEAD) + " |", "|---|---|---|" + "---:|" * (len(HEAD) - 3)]
        for row in rows:
            shown = (f"**{row[0]}**", *row[1:]) if row[0] == "harexport" else row
            lines.append("| " + " | ".join(shown) + " |")
        lines += ["", *(f"- {line}" for line in failures(measured, name)), "", "</details>"]
    windows, training = measured["data"]["test_windows"], measured["training"]
    lines += ["", (
        f"Each network was trained for {training['epochs']} epochs. Logits are compared with PyTorch in float64 on "
        f"{windows} test windows. *convert*: one process from the .onnx file or the trained weights to the file, for "
        "harexport the slower of float32 and int8-weights without checks. {origin}"
    ).replace("{origin}", origin(measured).replace("compare_converters.json", "own_networks.json")
              .replace("](own_networks.json)", "](../benchmarks/own_networks.json)"))]  # fmt: skip
    return "\n".join([*lines, ""])


def _target(target: dict[str, Any]) -> str:
    by_min = f", by the minimum {target['min']:.2f}" if target["min"] else ""
    return f"{target['what']}: {target['p50']:.2f} times{by_min} (target {target['aim']})"


def terminal(measured: dict[str, Any]) -> str:
    """Return the tables as aligned plain text."""
    lines: list[str] = []
    for name in measured["networks"]:
        table = [HEAD, *table_rows(measured, name)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += ["", name, *("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table)]
        lines += failures(measured, name)
    lines += ["", *(f"{'met    ' if target['met'] else 'NOT MET'} {_target(target)}" for target in measured["targets"])]
    return "\n".join(lines)
