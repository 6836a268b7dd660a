"""A bench result as one self-contained HTML page: what came out first, then pictures, then tables."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from harexport.bench.report import svg, text
from harexport.bench.result import BenchResult, ModelResult, Reference
from harexport.evaluation.comparison import Comparison
from harexport.evaluation.plots import format_label
from harexport.utils.tables import Table

_LISTED = 12  # disagreements of a model
_LATENCY = (
    "Dot: the median (p50). Thick bar: its 95 % interval. Thin bar: from the fastest run to p99. Logarithmic. One "
    "window a run: input copied in, inference, logits read out; blocks of all models alternate in shuffled order, each "
    "model is loaded anew eight times. Times of another machine or run are not comparable; ratios inside this picture "
    "are."
)
_COSTS = (
    "<i>Times</i>: the median in that of {baseline}, with its 95 % interval. <i>Cold</i>: file read and made ready, "
    "and its first answer, in a fresh process; <i>MB</i>: the largest memory of that process, Python and the runtime "
    "included, <i>model MB</i> what came with the model. <i>Arena</i>: memory under the tensors that are no constants, "
    "with TensorFlow Lite's built-in kernels. <i>MACs</i>: multiply-accumulates of one window in matrix products and "
    "convolutions."
)


def html(result: BenchResult, picture_folders: Sequence[Path] = ()) -> str:
    """One page without any outside reference; light and dark by the reader's setting.

    Training curves are taken into the page from `picture_folders`, where `train` left them.
    """
    template = Template(resources.files("harexport.bench.report").joinpath("report.html").read_text("utf-8"))
    recipes = ", ".join(reference.recipe for reference in result.references)
    good = result.passed and not result.refused
    picture = svg.latency(result.models, result.floors)
    return template.substitute(
        title=escape(f"harexport: {recipes or f'{len(result.models)} models'}"),
        mood="good" if good else "bad",
        verdict=escape(("✓ " if good else "✗ ") + text.summary(result)),
        context=escape(f"{result.data['source']} · {text.device(result)} · {result.created[:10]}"),
        alarms=_alarms(result),
        cards="".join(_cards(result)),
        latency=f'<h2>How fast, how right, how large</h2><div class="card scroll">{picture}</div>'
        f'<p class="soft">{_LATENCY}</p>'
        if picture
        else "",
        gate=_gate(result),
        answers=_table(text.answers(result), result),
        reference=escape(
            "; ".join(dict.fromkeys(m.comparison.reference for m in result.models if m.comparison)) or "none"
        ),
        disagreements=_disagreements(result),
        departures=_departures(result),
        costs=_costs(result),
        recalls=_table(text.recalls(result), result),
        confusions="".join(_confusion(reference) for reference in result.references),
        curves=_curves(result.references, picture_folders),
        origin="".join(
            f'<tr><td>{escape(a)}</td><td class="left">{escape(b)}</td></tr>' for a, b in text.origin(result)
        ),
    )


def _alarms(result: BenchResult) -> str:
    """Everything that went wrong, and how noisy the machine was."""
    lines = [f'<p class="bad">{escape(line)}</p>' for line in text.failures(result)]
    if result.conditions and result.conditions.noise:
        told = "".join(f"<li>{escape(noise)}</li>" for noise in result.conditions.noise)
        lines.append(
            f'<div class="notice"><b>The machine was not quiet: trust ratios, not times.</b><ul>{told}</ul></div>'
        )
    if notes := text.notes(result):
        lines.append(f'<ul class="list soft">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>')
    return "".join(lines)


def _cards(result: BenchResult) -> list[str]:
    cards = [
        (f"{r.figures.accuracy:.2%}", f"{r.recipe} on {r.figures.windows} test windows") for r in result.references
    ]
    if not cards:
        known = [(model.figures.accuracy, model.name) for model in result.models if model.figures]
        cards += [(f"{share:.2%}", f"the best: {name}") for share, name in sorted(known, reverse=True)[:1]]
    timed = [(model.latency, model) for model in result.models if model.latency]
    if timed:
        latency, fastest = min(timed, key=lambda pair: pair[0].p50)
        cards.append((f"{latency.p50:.1f} µs", f"per window (p50): {fastest.name}, {fastest.runtime}"))
    filed = [(model.size_bytes, model.name) for model in result.models if model.size_bytes is not None]
    if filed:
        size, name = min(filed)
        cards.append((f"{size / 1000:.0f} KB", f"smallest file: {name}"))
    compared = [m.comparison for m in result.models if m.scheme == "float32" and m.promised and m.comparison]
    exact = [one.max_logit_difference for one in compared if one.max_logit_difference is not None]
    if exact:
        cards.append((f"{max(exact):.0e}", "largest logit difference of a float32 file"))
    return [
        f'<div class="card"><b class="big">{escape(a)}</b><span class="soft">{escape(b)}</span></div>' for a, b in cards
    ]


def _gate(result: BenchResult) -> str:
    gate = result.gate
    if gate is None:
        return ""
    broken = "".join(f'<li class="bad">{escape(one.rule)}: {escape(one.reason)}</li>' for one in gate.broken)
    notes = "".join(f'<li class="soft">{escape(note)}</li>' for note in gate.notes)
    rules = ", ".join(f"<code>{escape(rule)}</code>" for rule in gate.rules)
    compared = f" against {escape(gate.compared_with)}" if gate.compared_with else ""
    verdict = "" if gate.broken else '<p class="good">✓ No rule was broken.</p>'
    return (
        f'<h2>Rules{compared}</h2><div class="card"><p>Not to be: {rules}</p>{verdict}'
        f'<ul class="list">{broken}{notes}</ul></div>'
    )


def _costs(result: BenchResult) -> str:
    if not any(model.latency or model.instructions for model in result.models):
        return ""
    blocks = [text.work(result)]
    if any(model.latency for model in result.models):
        blocks.insert(0, text.costs(result))
    if len(text.threads(result)) > 1:
        blocks.append(text.threads(result))
    shown = "".join(f'<div class="card scroll">{_table(block, result)}</div>' for block in blocks)
    note = _COSTS.format(baseline=escape(result.baseline or "-"))
    return f'<h2>What each model costs</h2>{shown}<p class="soft">{note}</p>'


def _table(table: Table, result: BenchResult) -> str:
    head, *body = table
    failed = {model.name for model in result.models if model.failures}
    lines = ["<table><thead><tr>", *(f"<th>{escape(cell)}</th>" for cell in head), "</tr></thead><tbody>"]
    for row in body:
        cells = []
        for k, cell in enumerate(row):
            mood = {"passed": "good", "FAILED": "bad", "no promise": "soft"}.get(cell, "")
            mood = "bad" if k == 0 and row[0] in failed else mood
            cells.append(f'<td class="{mood}">{escape(cell)}</td>' if mood else f"<td>{escape(cell)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "".join([*lines, "</tbody></table>"])


def _disagreements(result: BenchResult) -> str:
    blocks = [
        _disagreement(model, compared, result.labels)
        for model in result.models
        for compared in (model.comparison,)
        if compared and compared.disagreements
    ]
    if not blocks:
        return ""
    caption = (
        "Windows by how near the reference's decision was; the shades are the 1, 5, 25, 50 and 75 % of all windows "
        "that were decided by the least. Red: only the reference is right. Green: only the model. Grey: neither."
    )
    return f'<h2>Where they disagree</h2><div class="pair">{"".join(blocks)}</div><p class="soft">{caption}</p>'


def _disagreement(model: ModelResult, compared: Comparison, labels: Sequence[str]) -> str:
    windows = model.figures.windows if model.figures else 0
    count = round((1 - compared.agreement) * windows)
    near = sum(one.margin <= compared.margins[2] for one in compared.disagreements)
    listed = compared.disagreements[:_LISTED]
    names = [format_label(label) for label in labels]
    head = ("window", "truth", compared.reference, model.name, "margin", "logits off")
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(cell)}</td>"
            for cell in (
                str(one.window), names[one.truth], names[one.reference], names[one.answer],
                f"{one.margin:.3g}", f"{one.difference:.2g}",
            )
        )
        + "</tr>"
        for one in listed
    )  # fmt: skip
    more = f"The {len(listed)} clearest of {count}" if count > len(listed) else "All of them"
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return (
        f'<div class="card"><h3>{escape(model.name)}: {count} of {windows} windows, {near} of them among the 5 % that '
        f'were hardest to decide</h3><div class="scroll">{svg.disagreements(compared)}</div>'
        f"<details><summary>{more}</summary>"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></details></div>'
    )


def _departures(result: BenchResult) -> str:
    blocks = [
        f'<div class="card"><h3>{escape(model.name)}, test window {found.window}</h3><p>{escape(found.summary)}.</p>'
        f'<div class="scroll">{svg.departure(found)}</div></div>'
        for model in result.models
        for found in (model.departure,)
        if found
    ]
    if not blocks:
        return ""
    caption = (
        "Each layer's state in the file beside the float64 reference's, step by step, on the window where the logits "
        "are furthest apart. Dashed: what rounding may do."
    )
    return f'<h2>Where the lowering departs</h2>{"".join(blocks)}<p class="soft">{caption}</p>'


def _confusion(reference: Reference) -> str:
    names = [format_label(label) for label in reference.labels]
    lines = ["<tr><th></th>", *(f"<th>{escape(name)}</th>" for name in names), "<th>recall</th></tr>"]
    for name, counts, recall in zip(names, reference.figures.confusion, reference.figures.label_recall, strict=True):
        total = max(1, sum(counts))
        cells = [
            f'<td style="background: rgba(var(--shade), {0.75 * count / total:.2f})">{count or ""}</td>'
            for count in counts
        ]
        lines.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}<td>{recall:.1%}</td></tr>")
    figures = reference.figures
    caption = (
        f"accuracy {figures.accuracy:.2%}, weighted F1 {figures.f1:.2%}, macro F1 {figures.macro_f1:.2%}, "
        f"ECE {reference.calibration_error:.3f}"
    )
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
