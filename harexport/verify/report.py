"""A bench result for people: a table for the terminal and for Markdown, JSON, and one self-contained HTML page."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from harexport import files
from harexport.pictures import readable
from harexport.verify.bench import BenchResult, ModelResult, Reference

_HEAD = ("model", "runtime", "KB", "accuracy", "drop", "agree", "logit diff.",
         "min µs", "p50 µs", "p90 µs", "p99 µs", "cold ms", "proof")  # fmt: skip


def rows(result: BenchResult) -> list[tuple[str, ...]]:
    """The table's cells, one row a model, in the order of `_HEAD`."""
    return [_HEAD, *(_row(model) for model in result.models)]


def _row(model: ModelResult) -> tuple[str, ...]:
    parity, latency = model.parity, model.latency
    cold = model.cold_start
    return (
        model.name,
        model.runtime,
        f"{model.size_bytes / 1000:.1f}" if model.size_bytes is not None else "-",
        f"{parity.accuracy:.2%}",
        f"{parity.drop:+.2f}" if parity.drop else "0",
        f"{parity.agreement:.2%}",
        "NaN" if parity.max_logit_difference is None else f"{parity.max_logit_difference:.1e}",
        *(f"{t:.1f}" if t < 1000 else f"{t:.0f}" for t in (latency.min, latency.p50, latency.p90, latency.p99)),
        f"{cold.load_ms + cold.first_answer_ms:.1f}" if cold else "-",
        "passed" if parity.passed else "FAILED",
    )


def markdown(table: Sequence[Sequence[str]]) -> str:
    """`rows` as a GitHub Markdown table."""
    head, *body = table
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)])


def terminal(result: BenchResult) -> str:
    """The same as aligned plain text, with the broken promises below it; the names tell the runtimes."""
    table = [(name, *figures) for name, _, *figures in rows(result)]
    first, *others = (max(map(len, column)) for column in zip(*table, strict=True))
    lines = [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(figures, others, strict=True))])
        for name, *figures in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([*lines, *_failures(result)])


def _failures(result: BenchResult) -> list[str]:
    return [f"FAILED {model.name}: {reason}" for model in result.models for reason in model.parity.failures]


def summary(result: BenchResult) -> str:
    """One sentence: did every model keep its promise?"""
    count, windows = len(result.models), result.data["test_windows"]
    if result.passed:
        return f"All {count} models answer the {windows} test windows as their reference does, within their promise."
    failed = sum(not model.parity.passed for model in result.models)
    return f"{failed} of {count} models broke their promise on the {windows} test windows."


def save(result: BenchResult, out: Path, picture_folders: Sequence[Path] = ()) -> Path:
    """Write bench.json and report.html to `out`; returns the page's path.

    Training curves are taken into the page from `picture_folders`, where `train` left them.
    """
    files.write_json(out / "bench.json", result.to_dict())
    page = out / "report.html"
    files.write_text(page, html(result, picture_folders))
    return page


def html(result: BenchResult, picture_folders: Sequence[Path] = ()) -> str:
    """One page without any outside reference; light and dark by the reader's setting."""
    template = Template(resources.files("harexport.verify").joinpath("report.html").read_text("utf-8"))
    recipes = ", ".join(reference.recipe for reference in result.references)
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    failures = "".join(f'<p class="bad">{escape(line)}</p>' for line in _failures(result))
    origin = [
        *((f"{r.recipe}: checkpoint", f"{r.checkpoint}, network {r.digest[:16]}") for r in result.references),
        *((f"{r.recipe}: protocol", _protocol(r)) for r in result.references),
        ("data", f"{result.data['source']}; SHA-256 {result.data['digest'][:16]}"),
        (
            "machine",
            f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}",
        ),
        ("versions", versions),
        ("made", f"{result.created} by harexport {result.tool_version}"),
    ]
    return template.substitute(
        title=escape(f"harexport: {recipes}"),
        mood="good" if result.passed else "bad",
        verdict=escape(("✓ " if result.passed else "✗ ") + summary(result)),
        context=escape(f"UCI HAR, {result.data['source']} · {machine['processor']} · {result.created[:10]}"),
        cards="".join(_cards(result)),
        table=_table(result),
        failures=failures,
        latency=_latency_svg(result.models),
        confusions="".join(_confusion(reference) for reference in result.references),
        curves=_curves(result.references, picture_folders),
        origin="".join(f'<tr><td>{escape(a)}</td><td class="left">{escape(b)}</td></tr>' for a, b in origin),
    )


def _cards(result: BenchResult) -> list[str]:
    cards = [
        (f"{r.figures.accuracy:.2%}", f"{r.recipe} on {r.figures.windows} test windows") for r in result.references
    ]
    fastest = min(result.models, key=lambda model: model.latency.p50)
    cards.append((f"{fastest.latency.p50:.1f} µs", f"per window (p50): {fastest.name}, {fastest.runtime}"))
    filed = [model for model in result.models if model.size_bytes is not None]
    if filed:
        smallest = min(filed, key=lambda model: model.size_bytes or 0)
        cards.append((f"{(smallest.size_bytes or 0) / 1000:.0f} KB", f"smallest file: {smallest.name}"))
    exact = [model.parity.max_logit_difference for model in result.models if model.scheme == "float32"]
    if known := [difference for difference in exact if difference is not None]:
        cards.append((f"{max(known):.0e}", "largest logit difference of a float32 file"))
    return [f'<div class="card"><b>{escape(a)}</b><span class="soft">{escape(b)}</span></div>' for a, b in cards]


def _table(result: BenchResult) -> str:
    head, *body = rows(result)
    lines = ["<thead><tr>", *(f"<th>{escape(cell)}</th>" for cell in head), "</tr></thead><tbody>"]
    for row, model in zip(body, result.models, strict=True):
        mood = "good" if model.parity.passed else "bad"
        cells = [f"<td>{escape(cell)}</td>" for cell in row[:-1]]
        lines.append("<tr>" + "".join(cells) + f'<td class="{mood}">{escape(row[-1])}</td></tr>')
    return "".join([*lines, "</tbody>"])


def _latency_svg(models: Sequence[ModelResult]) -> str:
    """Dots at p50, a bar from min to p99, on a logarithmic axis: recipes lie orders of magnitude apart."""
    ordered = sorted(models, key=lambda model: model.latency.p50)
    low = min(model.latency.min for model in models) / 1.3
    high = max(model.latency.p99 for model in models) * 1.3
    left, width, step = 330, 600, 30
    height = 40 + step * len(ordered)

    def x(microseconds: float) -> float:
        return left + width * math.log(microseconds / low) / math.log(high / low)

    marks = (1, 2, 5) if high / low < 500 else (1,)  # more would run into each other
    ticks = [m * 10.0**e for e in range(-1, 7) for m in marks if low <= m * 10.0**e <= high]
    parts = [f'<svg viewBox="0 0 {left + width + 80} {height}" role="img" aria-label="Latency per window">']
    for tick in ticks:
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="6" y2="{height - 28}"/>')
        parts.append(f'<text class="soft" x="{x(tick):.1f}" y="{height - 10}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text class="soft" x="{left + width + 20}" y="{height - 10}">µs</text>')
    for k, model in enumerate(ordered):
        y, latency = 24 + step * k, model.latency
        parts.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(model.name)}</text>')
        parts.append(f'<line class="range" x1="{x(latency.min):.1f}" x2="{x(latency.p99):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle cx="{x(latency.p50):.1f}" cy="{y}" r="5"/>')
        parts.append(f'<text x="{x(latency.p99) + 10:.1f}" y="{y + 4}">{latency.p50:.1f}</text>')
    caption = '<p class="soft">Dot and number: p50. Bar: from the fastest run to p99. Logarithmic.</p>'
    return "".join([*parts, "</svg>", caption])


def _confusion(reference: Reference) -> str:
    names = [readable(label) for label in reference.labels]
    lines = ["<tr><th></th>", *(f"<th>{escape(name)}</th>" for name in names), "<th>recall</th></tr>"]
    for name, counts, recall in zip(names, reference.figures.confusion, reference.figures.label_recall, strict=True):
        total = max(1, sum(counts))
        cells = [
            f'<td style="background: rgba(var(--shade), {0.75 * count / total:.2f})">{count or ""}</td>'
            for count in counts
        ]
        lines.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}<td>{recall:.1%}</td></tr>")
    figures = reference.figures
    caption = f"accuracy {figures.accuracy:.2%}, weighted F1 {figures.f1:.2%}, macro F1 {figures.macro_f1:.2%}"
    return (
        f'<div class="card scroll"><h3>{escape(reference.recipe)}</h3><table class="confusion">{"".join(lines)}</table>'
        f'<p class="soft">Rows: truth. Columns: answer. {caption}.</p></div>'
    )


def _curves(references: Sequence[Reference], folders: Sequence[Path]) -> str:
    pictures = []
    for reference in references:
        for folder in folders:
            path = folder / f"{reference.recipe}.curves.png"
            if path.is_file():
                encoded = base64.b64encode(path.read_bytes()).decode("ascii")
                alt = f"training curves of {reference.recipe}"
                pictures.append(
                    f'<div class="card"><img alt="{escape(alt)}" src="data:image/png;base64,{encoded}"></div>'
                )
                break
    return f"<h2>How they were trained</h2>{''.join(pictures)}" if pictures else ""


def _protocol(reference: Reference) -> str:
    words = []
    if reference.validation:
        subjects = ", ".join(str(subject) for subject in reference.validation["subjects"])
        words.append(f"held-out training subjects {subjects}: {reference.validation['accuracy']:.2%}")
    words.append("test set watched while training" if reference.test_watched else "test set opened once, at the end")
    return "; ".join(words)
