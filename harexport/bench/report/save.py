"""Format a bench result for the terminal and for pull requests; write bench.json and the HTML report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harexport.bench.report import text
from harexport.bench.report.html import render_html
from harexport.bench.result import BenchResult
from harexport.utils import files
from harexport.utils.tables import escape_markdown, format_markdown, format_text


def format_terminal(result: BenchResult) -> str:
    """Return plain text: accuracy, latency, notes and failures."""
    blocks = [format_text(text.accuracy_table(result))]
    if any(model.latency for model in result.models):
        blocks.append(format_text(text.latency_table(result)))
    if len(text.threads_table(result)) > 1:
        blocks.append(format_text(text.threads_table(result)))
    if any(model.instructions for model in result.models):
        blocks.append(format_text(text.compute_table(result)))
    notes = [
        *text.noise_lines(result),
        *text.note_lines(result),
        *(result.thresholds.notes if result.thresholds else ()),
    ]
    lines = [_ratio_note(result), "\n".join(notes), "\n".join(text.failure_lines(result))]
    return "\n\n".join([*blocks, *(line for line in lines if line)])


def _ratio_note(result: BenchResult) -> str:
    if result.baseline is None:
        return ""
    return (
        f'"ratio" is the p50 relative to {result.baseline}; each "95 %" is the confidence interval of the column to '
        "its left."
    )


def format_pull_request(result: BenchResult) -> str:
    """Return Markdown for a comment: the summary and the two main tables; everything else is folded."""
    is_good = result.passed and not result.refused
    parts = [f"### {'✅' if is_good else '❌'} harexport bench: {escape_markdown(text.summarize(result))}"]
    parts.append(_bullets(text.failure_lines(result)))
    if result.thresholds:
        rules = ", ".join(f"`{rule}`" for rule in result.thresholds.rules)
        compared = (
            f" compared with {escape_markdown(result.thresholds.compared_with)}"
            if result.thresholds.compared_with
            else ""
        )
        parts += [f"Fail if{compared}: {rules}", _bullets(result.thresholds.notes)]
    parts.append(format_markdown(text.accuracy_table(result)))
    if any(model.latency for model in result.models):
        parts += [format_markdown(text.latency_table(result)), escape_markdown(_ratio_note(result))]
    folded = [format_markdown(text.compute_table(result)), format_markdown(text.recall_table(result))]
    if len(text.threads_table(result)) > 1:
        folded.append(format_markdown(text.threads_table(result)))
    folded.append(_bullets([f"{item}: {description}" for item, description in text.provenance(result)]))
    parts += ["<details><summary>More results and their origin</summary>", *folded, "</details>"]
    parts.append(_bullets([*text.noise_lines(result), *text.note_lines(result)]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def save(result: BenchResult, out: Path, plot_folders: Sequence[Path] = (), page: Path | None = None) -> Path:
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
