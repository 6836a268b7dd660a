"""Renders the comparison of own_networks.py from its JSON."""

from __future__ import annotations

from typing import Any

from benchmarks.converters.table import HEAD, failures, origin
from benchmarks.converters.table import rows as table_rows

SUMMARY = ("network", "accuracy", "float32 µs", "fastest other", "int8-weights µs", "fastest other", "int8 µs",
           "convert s", "TensorFlow's", "logit diff.")  # fmt: skip
_LATENCY_AIMS = {"float32": 1.05, "int8-weights": 0.8}  # relative to the fastest file of another converter
_CONVERSION_AIM = 10  # times faster than TensorFlow's
# Columns of HEAD that are left out of the tables if every file has this value.
_USUAL = {"keeps state": "no", "after NaN": "correct", "cell clip": "no"}
_MAX_REASON = 120  # characters


def targets(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Compute the ratios that were aimed at, one per network: name, aim, ratio by p50 and by minimum, whether met.

    Latency is relative to the fastest file of another converter in the same format and scheme family.
    """
    found = []
    for name in measured["networks"]:
        for scheme, aim in _LATENCY_AIMS.items():
            ours, other = (_fastest(measured, name, scheme, is_ours) for is_ours in (True, False))
            if ours and other:
                p50, best = (ours["latency"][key] / other["latency"][key] for key in ("p50", "min"))
                what = f"{name}, {scheme}: latency relative to {other['who']} ({other['format']})"
                found.append({"what": what, "aim": aim, "p50": p50, "min": best, "met": p50 <= aim})
        ours, tensorflow = (_conversion(measured, name, is_ours) for is_ours in (True, False))
        if ours and tensorflow:
            ratio = tensorflow / ours
            what = f"{name}: conversion faster than by Keras and TFLiteConverter"
            met = ratio >= _CONVERSION_AIM
            found.append({"what": what, "aim": _CONVERSION_AIM, "p50": ratio, "min": None, "met": met})
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
    for scheme, aim in _LATENCY_AIMS.items():
        ours, other = (_fastest(measured, name, scheme, is_ours) for is_ours in (True, False))
        ratio = ours["latency"]["p50"] / other["latency"]["p50"] if ours and other else None
        cells.append(_microseconds(ours) + (f" ({_mark(ratio, ratio <= aim)})" if ratio else ""))
        cells.append(f"{_microseconds(other)}, {other['who']}" if other else "-")
    cells.append(_microseconds(_fastest(measured, name, "int8", True)))
    ours_seconds, tensorflow = (_conversion(measured, name, is_ours) for is_ours in (True, False))
    ratio = tensorflow / ours_seconds if ours_seconds and tensorflow else None
    cells.append("-" if ours_seconds is None else f"{ours_seconds:.2f}")
    cells.append("-" if tensorflow is None else f"{tensorflow:.2f}")
    cells[-1] += f" ({_mark(ratio, ratio >= _CONVERSION_AIM)})" if ratio else ""
    float32 = _fastest(measured, name, "float32", True)
    cells.append(f"{float32['parity']['max_logit_difference']:.1e}" if float32 else "rejected")
    return tuple(cells)


def _mark(ratio: float, is_met: bool) -> str:
    """Return a ratio, in bold type if its target is met."""
    return f"**{ratio:.2f}**" if is_met else f"{ratio:.2f}"


def _microseconds(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{row['latency']['p50']:.0f}"


def render(measured: dict[str, Any]) -> str:
    """Render the block `own-networks`, Markdown."""
    lines = ["| " + " | ".join(SUMMARY) + " |", "|---|" + "---:|" * (len(SUMMARY) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in summary(measured)]
    met = [target for target in measured["targets"] if target["met"]]
    lines += [
        "",
        "- *float32 µs*, *int8-weights µs*, *int8 µs*: median latency of harexport's fastest .tflite file of a scheme",
        f"- *fastest other*: that of another converter. In brackets: harexport's relative to it; targets: at most "
        f"{_LATENCY_AIMS['float32']} in float32 and {_LATENCY_AIMS['int8-weights']} in int8-weights",
        "- *convert s*: one process from the .onnx file or the trained weights to the file; of harexport the slower of "
        "float32 and int8-weights, without checks",
        f"- *TensorFlow's*: the same by Keras and TFLiteConverter. In brackets: relative to harexport's; target: at "
        f"least {_CONVERSION_AIM}",
        f"- *logit diff.*: largest difference of harexport's float32 file from PyTorch in float64, on "
        f"{measured['data']['test_windows']} test windows",
        "",
        f"{len(met)} of {len(measured['targets'])} targets are met, in bold type. Each network was trained for "
        f"{measured['training']['epochs']} epochs.",
    ]
    tables = {name: table_rows(measured, name) for name in measured["networks"]}
    every = [row for rows in tables.values() for row in rows]
    usual = [k for k, column in enumerate(HEAD) if all(row[k] == _USUAL.get(column) for row in every)]
    lines += ["", f"<details><summary>All {len(every)} files, the fastest first</summary>", ""]
    if left_out := [f"{HEAD[k]}: {_USUAL[HEAD[k]]}" for k in usual]:
        lines += [f"The same for every file: {', '.join(left_out)}.", ""]
    for name, rows in tables.items():
        head = [column for k, column in enumerate(HEAD) if k not in usual]
        lines += [f"**{name}**", "", "| " + " | ".join(head) + " |", "|---|---|---|" + "---:|" * (len(head) - 3)]
        for row in rows:
            shown = (f"**{row[0]}**", *row[1:]) if row[0] == "harexport" else row
            lines.append("| " + " | ".join(cell for k, cell in enumerate(shown) if k not in usual) + " |")
        lines += ["", *(f"- {_shorten(line)}" for line in failures(measured, name)), ""]
    source = origin(measured).replace("compare_converters.json", "own_networks.json")
    source = source.replace("](own_networks.json)", "](../benchmarks/own_networks.json)")
    return "\n".join([*lines, "</details>", "", source, ""])


def _shorten(reason: str) -> str:
    return reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON].rpartition(" ")[0].rstrip(":") + " ..."


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
