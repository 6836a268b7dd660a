"""A bench result for people: text for the terminal, Markdown for a pull request, JSON and one HTML page for keeping."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harexport import files
from harexport.verify import tables, words
from harexport.verify.page import html
from harexport.verify.result import BenchResult
from harexport.verify.tables import markdown, rows
from harexport.verify.words import summary

__all__ = ["html", "markdown", "pull_request", "rows", "save", "summary", "terminal"]


def terminal(result: BenchResult) -> str:
    """Aligned plain text: what the models answer, what they cost, and what went wrong."""
    blocks = [tables.plain(tables.answers(result))]
    if any(model.latency for model in result.models):
        blocks.append(tables.plain(tables.costs(result)))
    if len(tables.threads(result)) > 1:
        blocks.append(tables.plain(tables.threads(result)))
    if any(model.instructions for model in result.models):
        blocks.append(tables.plain(tables.work(result)))
    if ratios := _ratios(result):
        blocks.append(ratios)
    lines = [*words.noise(result), *words.notes(result), *(result.gate.notes if result.gate else ())]
    blocks += ["\n".join(lines)] if lines else []
    blocks += ["\n".join(wrong)] if (wrong := words.failures(result)) else []
    return "\n\n".join(blocks)


def _ratios(result: BenchResult) -> str:
    if result.baseline is None:
        return ""
    return f'"times" is p50 in that of {result.baseline}; each "95 %" is the interval of the column before it.'


def pull_request(result: BenchResult) -> str:
    """Markdown that fits a comment: what came out, the two tables that matter, the rest folded away."""
    good = result.passed and not result.refused
    parts = [f"### {'✅' if good else '❌'} harexport bench: {summary(result)}"]
    if wrong := words.failures(result):
        parts.append("\n".join(f"- {line}" for line in wrong))
    if result.gate:
        rules = ", ".join(f"`{rule}`" for rule in result.gate.rules)
        compared = f" against {result.gate.compared_with}" if result.gate.compared_with else ""
        parts.append(f"Rules{compared}: {rules}")
        parts += ["\n".join(f"- {note}" for note in result.gate.notes)] if result.gate.notes else []
    parts.append(markdown(tables.answers(result)))
    if any(model.latency for model in result.models):
        parts += [markdown(tables.costs(result)), _ratios(result)]
    folded = [markdown(tables.work(result)), markdown(tables.recalls(result))]
    if len(tables.threads(result)) > 1:
        folded.append(markdown(tables.threads(result)))
    folded.append("\n".join(f"- {what}: {which}" for what, which in words.origin(result)))
    parts += ["<details><summary>More figures, and where they come from</summary>", *folded, "</details>"]
    parts += ["\n".join(f"- {line}" for line in [*words.noise(result), *words.notes(result)])]
    return "\n\n".join(part for part in parts if part) + "\n"


def save(result: BenchResult, out: Path, picture_folders: Sequence[Path] = (), page: Path | None = None) -> Path:
    """Write bench.json to `out`, and the page to `page` (else report.html in `out`); returns the page's path.

    Training curves are taken into the page from `picture_folders`, where `train` left them.
    """
    files.write_json(out / "bench.json", result.to_dict())
    page = page or out / "report.html"
    files.write_text(page, html(result, picture_folders))
    return page
