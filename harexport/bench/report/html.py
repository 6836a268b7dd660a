"""Write bench.json and the HTML report: the values of the template report.html.jinja."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harexport.bench.report import svg, text
from harexport.bench.result import BenchResult, ModelResult, Reference
from harexport.evaluation.comparison import Comparison
from harexport.evaluation.plots import format_label
from harexport.utils import files
from harexport.utils.tables import Table

if TYPE_CHECKING:
    from markupsafe import Markup

_MAX_ROWS = 12  # disagreements listed per model
_CELL_CLASSES = {"passed": "good", "FAILED": "bad", "no tolerance": "soft"}


def save_report(result: BenchResult, out: Path, plot_folders: Sequence[Path] = (), page: Path | None = None) -> Path:
    """Write bench.json and the HTML report.

    Args:
        result: The result.
        out: Folder of bench.json.
        plot_folders: Folders in which `train` may have saved training curves, which are embedded in the report.
        page: Path of the report; default: report.html in `out`.

    Returns:
        The path of the report.
    """
    files.write_json(out / "bench.json", result.to_dict())
    page = page or out / "report.html"
    files.write_text(page, render_html(result, plot_folders))
    return page


def render_html(result: BenchResult, plot_folders: Sequence[Path] = ()) -> str:
    """Render one self-contained page.

    Args:
        result: The result.
        plot_folders: Folders in which `train` may have saved training curves, which are embedded.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = resources.files("harexport.bench.report").joinpath("report.html.jinja").read_text("utf-8")
    recipes = ", ".join(reference.recipe for reference in result.references)
    failed = {model.name for model in result.models if model.failures}

    def cell_class(column: int, model: str, cell: str) -> str:
        return "bad" if column == 0 and model in failed else _CELL_CLASSES.get(cell, "")

    return environment.from_string(source).render(
        cell_class=cell_class,
        title=f"harexport: {recipes or f'{len(result.models)} models'}",
        is_good=result.passed and not result.refused,
        summary=text.summarize(result),
        context=f"{result.data['source']} · {text.device_name(result)} · {result.created[:10]}",
        failures=text.failure_lines(result),
        noise=result.conditions.noise if result.conditions else (),
        notes=text.note_lines(result),
        cards=_cards(result),
        latency_plot=_markup(svg.draw_latency(result.models, result.overheads)),
        thresholds=result.thresholds,
        accuracy=text.accuracy_table(result),
        reference="; ".join(dict.fromkeys(m.comparison.reference for m in result.models if m.comparison)) or "none",
        disagreements=[
            _disagreements(model, model.comparison, result.labels)
            for model in result.models
            if model.comparison and model.comparison.disagreements
        ],
        divergences=[
            {
                "name": model.name,
                "window": model.divergence.window,
                "summary": model.divergence.summary,
                "plot": _markup(svg.draw_divergence(model.divergence)),
            }
            for model in result.models
            if model.divergence
        ],
        costs=_cost_tables(result),
        baseline=result.baseline or "-",
        recall=text.recall_table(result),
        confusions=[_confusion(reference) for reference in result.references],
        curves=_training_curves(result.references, plot_folders),
        provenance=text.provenance(result),
    )


def _markup(svg_text: str) -> Markup:
    """Mark SVG as safe: svg.py escapes the names in it."""
    from markupsafe import Markup

    return Markup(svg_text)


def _cards(result: BenchResult) -> list[tuple[str, str]]:
    """Return the most important values with their labels."""
    cards = [
        (f"{r.figures.accuracy:.2%}", f"{r.recipe} on {r.figures.windows} test windows") for r in result.references
    ]
    if not cards:
        accuracies = [(model.figures.accuracy, model.name) for model in result.models if model.figures]
        cards += [(f"{accuracy:.2%}", f"highest accuracy: {name}") for accuracy, name in sorted(accuracies)[-1:]]
    timed = [(model.latency, model) for model in result.models if model.latency]
    if timed:
        latency, fastest = min(timed, key=lambda pair: pair[0].p50)
        cards.append((f"{latency.p50:.1f} µs", f"per window (p50): {fastest.name}, {fastest.runtime}"))
    sizes = [(model.size_bytes, model.name) for model in result.models if model.size_bytes is not None]
    if sizes:
        size, name = min(sizes)
        cards.append((f"{size / 1000:.0f} KB", f"smallest file: {name}"))
    float32 = [m.comparison for m in result.models if m.scheme == "float32" and m.has_tolerance and m.comparison]
    differences = [c.max_logit_difference for c in float32 if c.max_logit_difference is not None]
    if differences:
        cards.append((f"{max(differences):.0e}", "largest logit difference of a float32 file"))
    return cards


def _cost_tables(result: BenchResult) -> list[Table]:
    if not any(model.latency or model.instructions for model in result.models):
        return []
    tables = [text.compute_table(result)]
    if any(model.latency for model in result.models):
        tables.insert(0, text.latency_table(result))
    if len(text.threads_table(result)) > 1:
        tables.append(text.threads_table(result))
    return tables


def _disagreements(model: ModelResult, comparison: Comparison, labels: Sequence[str]) -> dict[str, Any]:
    windows = model.figures.windows if model.figures else 0
    names = [format_label(label) for label in labels]
    rows: Table = [("window", "true label", comparison.reference, model.name, "margin", "logit diff.")]
    for item in comparison.disagreements[:_MAX_ROWS]:
        predicted = names[item.truth], names[item.reference], names[item.prediction]
        rows.append((str(item.window), *predicted, f"{item.margin:.3g}", f"{item.difference:.2g}"))
    return {
        "name": model.name,
        "count": len(comparison.disagreements),
        "windows": windows,
        "near": sum(item.margin <= comparison.margins[2] for item in comparison.disagreements),
        "rows": rows,
        "plot": _markup(svg.draw_disagreements(comparison)),
    }


def _confusion(reference: Reference) -> dict[str, Any]:
    names = [format_label(label) for label in reference.labels]
    metrics = reference.figures
    return {
        "recipe": reference.recipe,
        "names": names,
        "rows": [
            (name, [(count, count / max(1, sum(counts))) for count in counts], recall)
            for name, counts, recall in zip(names, metrics.confusion, metrics.label_recall, strict=True)
        ],
        "caption": f"Accuracy {metrics.accuracy:.2%}, weighted F1 {metrics.f1:.2%}, macro F1 {metrics.macro_f1:.2%}, "
        f"ECE {reference.calibration_error:.3f}",
    }


def _training_curves(references: Sequence[Reference], folders: Sequence[Path]) -> list[tuple[str, str]]:
    """Return (recipe, base64 of the PNG) for each recipe with saved curves."""
    curves = []
    for reference in references:
        for folder in folders:
            path = folder / f"{reference.recipe}.curves.png"
            if path.is_file():
                curves.append((reference.recipe, base64.b64encode(path.read_bytes()).decode("ascii")))
                break
    return curves
