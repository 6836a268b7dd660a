"""A bench result for people: text for the terminal, Markdown for a pull request, JSON and one HTML page for keeping."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harexport.bench.report import text
from harexport.bench.report.html import html
from harexport.bench.report.text import rows, summary
from harexport.bench.result import BenchResult
from harexport.utils import files, tables
from harexport.utils.tables import markdown

__all__ = ["html", "markdown", "pull_request", "rows", "save", "summary", "terminal"]


def terminal(result: BenchResult) -> str:
    """Aligned plain text: what the models answer, what they cost, and what went wrong."""
    blocks = [tables.plain(text.answers(result))]
    if any(model.latency for model in result.models):
        blocks.append(tables.plain(text.costs(result)))
    if len(text.threads(result)) > 1:
        blocks.append(tables.plain(text.threads(result)))
    if any(model.instructions for model in result.models):
        blocks.append(tables.plain(text.work(result)))
    if ratios := _ratios(result):
        blocks.append(ratios)
    lines = [*text.noise(result), *text.notes(result), *(result.gate.notes if result.gate else ())]
    blocks += ["\n".join(lines)] if lines else []
    blocks += ["\n".join(wrong)] if (wrong := text.failures(result)) else []
    return "\n\n".join(blocks)


def _ratios(result: BenchResult) -> str:
    if result.baseline is None:
        return ""
    return f'"times" is p50 in that of {result.baseline}; each "95 %" is the interval of the column before it.'


def pull_request(result: BenchResult) -> str:
    """Markdown that fits a comment: what came out, the two tables that matter, the rest folded away."""
    good = result.passed and not result.refused
    parts = [f"### {'✅' if good else '❌'} harexport bench: {summary(result)}"]
    if wrong := text.failures(result):
        parts.append("\n".join(f"- {line}" for line in wrong))
    if result.gate:
        rules = ", ".join(f"`{rule}`" for rule in result.gate.rules)
        compared = f" against {result.gate.compared_with}" if result.gate.compared_with else ""
        parts.append(f"Rules{compared}: {rules}")
        parts += ["\n".join(f"- {note}" for note in result.gate.notes)] if result.gate.notes else []
    parts.append(markdown(text.answers(result)))
    if any(model.latency for model in result.models):
        parts += [markdown(text.costs(result)), _ratios(result)]
    folded = [markdown(text.work(result)), markdown(text.recalls(result))]
    if len(text.threads(result)) > 1:
        folded.append(markdown(text.threads(result)))
    folded.append("\n".join(f"- {what}: {which}" for what, which in text.origin(result)))
    parts += ["<details><summary>More figures, and where they come from</summary>", *folded, "</details>"]
    parts += ["\n".join(f"- {line}" for line in [*text.noise(result), *text.notes(result)])]
    return "\n\n".join(part for part in parts if part) + "\n"


def save(result: BenchResult, out: Path, picture_folders: Sequence[Path] = (), page: Path | None = None) -> Path:
    """Write bench.json to `out`, and the page to `page` (else report.html in `out`); returns the page's path.

    Training curves are taken into the page from `picture_folders`, where `train` left them.
    """
    files.write_json(out / "bench.json", result.to_dict())
    page = page or out / "report.html"
    files.write_text(page, html(result, picture_folders))
    return page
