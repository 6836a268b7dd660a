"""Renders the comparison of converters from its JSON: table, targets and failures."""

from __future__ import annotations

from typing import Any

HEAD = ("converter", "scheme", "graph", "KB", "ops", "convert s", "MB", "keeps state", "after NaN", "cell clip",
        "logit diff.", "drop", "min µs", "p50 µs")  # fmt: skip

EXPLAINED = (
    "*convert*: one process from the trained arrays to the file (in brackets: `harexport export` with its checks on "
    "all test windows). *MB*: its peak memory. *keeps state*: the largest logit error on the test windows in order "
    "without a reset of the file's variables; latency and the other columns are with a reset. *after NaN*: the logits "
    "of the windows after one of NaN, without a reset. *cell clip*: the limit that the converter adds to the cell "
    "state. *drop*: percentage points of accuracy."
)


def rows(measured: dict[str, Any], model: str) -> list[tuple[str, ...]]:
    """Return the cells of the files of one model in the order of `HEAD`, the fastest file first."""
    made = [row for row in measured["rows"] if row["model"] == model and not row["failure"]]
    return [_cells(row) for row in sorted(made, key=lambda row: row["latency"]["p50"])]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    parity, state, nan, latency = row["parity"], row["state"], row["nan"], row["latency"]
    clips = [clip for clip in row["cell_clips"] if clip]
    worst = max(state["a_b_a"], state.get("in_sequence", 0.0))
    return (
        row["who"],
        row["scheme"] + (f" (weights {_weights(row)})" if _weights(row) else ""),
        _graph(row) + ("" if row["input"].startswith("[1, 128, 9]") else f", reads {row['input'].rsplit(' ', 1)[0]}"),
        f"{row['size_bytes'] / 1000:.1f}",
        str(sum(row["ops"].values())),
        f"{row['seconds']:.2f}" + (f" ({row['with_checks']['seconds']:.1f})" if "with_checks" in row else ""),
        f"{row['megabytes']:.0f}",
        f"error {worst:.1f}" if state["remembers"] else "no",
        "NaN" if nan["stuck"] else "wrong" if nan["off"] else "correct",
        f"{max(clips):g}" if clips else "no",
        "NaN" if parity["max_logit_difference"] is None else f"{parity['max_logit_difference']:.1e}",
        f"{parity['drop']:+.2f}" if abs(parity["drop"]) > 1e-9 else "0",
        f"{latency['min']:.1f}" if latency["min"] < 1000 else f"{latency['min']:.0f}",
        f"{latency['p50']:.1f}" if latency["p50"] < 1000 else f"{latency['p50']:.0f}",
    )


def lowering(row: dict[str, Any]) -> str:
    """Return the lowering of the recurrent layers, by the operators; "-" without any."""
    ops = row["ops"]
    if "WHILE" in ops:
        return "WHILE loop"
    if any("SEQUENCE_LSTM" in name for name in ops):
        return "fused"
    for operator in ("LSTM", "GRU"):
        if any(operator in name for name in ops):
            return f"{operator} operator"
    return "unrolled" if {"LOGISTIC", "Sigmoid"} & {*ops} else "-"


def _graph(row: dict[str, Any]) -> str:
    parts = ("ONNX" if row["format"] == "onnx" else "", lowering(row).removeprefix("-"))
    return ", ".join(filter(None, parts)) or "-"


def _weights(row: dict[str, Any]) -> str:
    """Return the types of the weights if the scheme names another one: converters may leave LSTM weights in float32."""
    kept = {dtype: size for dtype, size in row["weight_bytes"].items() if dtype in ("float32", "int8", "uint8")}
    plain = kept.get("float32", 0) / max(1, sum(kept.values()))
    return f"{plain:.0%} float32" if row["scheme"] != "float32" and plain > 0.05 else ""


def targets(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Compute the ratios that were aimed at: name, aim, ratio by p50 and by the minimum, and whether the aim was met.

    `met` is None where there is no aim. The file of the ratios is the fastest one of harexport for edge.
    """
    made = {(row["model"], row["key"]): row for row in measured["rows"] if not row["failure"]}
    ours = [row for row in made.values() if row["ours"] and row["format"] == "tflite"]
    fastest = min((row for row in ours if row["model"] == "edge"), key=lambda row: row["latency"]["p50"])
    file = f"{fastest['model']}, {lowering(fastest)}, {fastest['scheme']}"
    found: list[dict[str, Any]] = []

    def ratio(what: str, aim: float, least: bool, over: dict[str, Any], under: dict[str, Any]) -> None:
        p50, best = (over[key] / under[key] for key in ("p50", "min"))
        met = p50 >= aim if least else p50 <= aim
        found.append({"file": file, "what": what, "aim": aim, "p50": p50, "min": best, "met": met})

    latency = fastest["latency"]
    if keras := made.get(("baseline-lstm", "keras-loop-float32")):
        what = "faster than the baseline LSTM converted by Keras 3 and TFLiteConverter"
        ratio(what, 70, True, keras["latency"], latency)
    fused = [row for (model, _), row in made.items() if model == "baseline-lstm" and lowering(row) == "fused"]
    if best := min(fused, key=lambda row: row["latency"]["p50"], default=None):
        what = f"faster than the best fused file of the baseline LSTM ({best['who']}, {best['scheme']})"
        ratio(what, 25, True, best["latency"], latency)
    if "in_c" in (limit := measured["limits"]["edge"]):
        shape = "the latency of a C kernel of the same shape"
        ratio(f"{shape}, both called from Python", 2, False, latency, limit["through_python"])
        ratio(f"{shape}, LiteRT's invoke alone and the kernel alone", 2, False, latency["invoke"], limit["in_c"])
        ratio(f"{shape}, LiteRT called from Python and the kernel alone", 2, False, latency, limit["in_c"])
    for model in measured["networks"]:
        tensorflow = [row["seconds"] for (name, _), row in made.items() if name == model and row["by_tensorflow"]]
        timed = [row for row in ours if row["model"] == model and row.get("alone")]
        if tensorflow and timed:
            plain = min(tensorflow) / max(row["seconds"] for row in timed)
            with_checks = min(tensorflow) / max(row["with_checks"]["seconds"] for row in timed)
            what = f"faster conversion than the fastest through TensorFlow ({model}), for the slowest of harexport"
            found.append({"file": file, "what": what, "aim": 20, "p50": plain, "min": None, "met": plain >= 20})
            what += ", including the checks on all test windows"
            found.append({"file": file, "what": what, "aim": None, "p50": with_checks, "min": None, "met": None})
    return found


def render(measured: dict[str, Any]) -> str:
    """Render the block `converters`, Markdown."""
    lines = [f"The fastest file of harexport ({measured['targets'][0]['file']}):", ""]
    for target in targets(measured):
        by_min = f"{target['min']:.1f} by the minimum" if target["min"] else ""
        aim = f"target: {target['aim']}, {_met(target)}" if target["aim"] else ""
        lines.append(f"- **{target['p50']:.1f} times** {target['what']} ({'; '.join(filter(None, (by_min, aim)))})."
                     .replace(" ()", ""))  # fmt: skip
    for model in measured["networks"]:
        table = rows(measured, model)
        lines += ["", f"<details><summary>{model}: {len(table)} files, fastest first</summary>", ""]
        lines += ["| " + " | ".join(HEAD) + " |", "|---|---|---|" + "---:|" * (len(HEAD) - 3)]
        for row in table:
            shown = (f"**{row[0]}**", *row[1:]) if row[0] == "harexport" else row
            lines.append("| " + " | ".join(shown) + " |")
        lines += ["", f"- {_limit(measured['limits'][model])}", *(f"- {line}" for line in failures(measured, model))]
        lines += ["", "</details>"]
    return "\n".join([*lines, "", f"{EXPLAINED} {origin(measured)}", ""])


def _limit(limit: dict[str, Any]) -> str:
    if "failure" in limit:
        return f"No C kernel: {limit['failure']}."
    alone, called = (f"{limit[key]['p50']:.1f} µs (min {limit[key]['min']:.1f})" for key in ("in_c", "through_python"))
    return f"The [C kernel](c_kernel) of this shape: {alone}; called from Python {called}."


def _met(target: dict[str, Any]) -> str:
    return "met" if target["met"] else "not met"


def failures(measured: dict[str, Any], model: str) -> list[str]:
    """Return one line for each converter and reason without a file that runs."""
    schemes: dict[tuple[str, str], list[str]] = {}
    for row in measured["rows"]:
        if row["model"] == model and row["failure"]:
            failed = schemes.setdefault((row["who"], row["failure"]), [])
            failed += [row["scheme"]] if row["scheme"] not in failed else []  # lowerings fail for one reason
    return [f"{who}, {', '.join(failed)}: no working file. {reason}" for (who, reason), failed in schemes.items()]


def origin(measured: dict[str, Any]) -> str:
    """Return the source of the figures."""
    machine = measured["machine"]
    versions = {**measured["environments"]["harexport"]}
    for name, packages in measured["environments"].items():
        versions |= {name: packages[name]} if name in packages else {}
        versions |= {"ai-edge-quantizer": packages["ai-edge-quantizer"]} if name == "quantizer" else {}
    return (
        f"One run of `{measured['command']}` on {machine['processor']} ({machine['cores']} cores, "
        f"{machine['system']}), one thread, {measured['runs']} runs per model, interleaved; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ". From [compare_converters.json](compare_converters.json)."
    )


def terminal(measured: dict[str, Any]) -> str:
    """Return the tables as aligned plain text."""
    lines: list[str] = []
    for model in measured["networks"]:
        table = [HEAD, *rows(measured, model)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += ["", model, *("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table)]
        lines += [_limit(measured["limits"][model]), *failures(measured, model)]
    lines.append("")
    for target in measured["targets"]:
        by_min = f"min {target['min']:.2f}, " if target["min"] else ""
        aim = f"aim {target['aim']}, {_met(target)}" if target["aim"] else "no aim"
        lines.append(f"{target['p50']:7.2f} times {target['what']} ({by_min}{aim})")
    return "\n".join(lines)
