"""Text, Markdown and CSV tables.

A table is a sequence of rows of cells; the first row is the header.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harexport.utils import files
from harexport.utils.console import sanitize

Table = list[tuple[str, ...]]


def format_text(table: Sequence[Sequence[str]]) -> str:
    """Return aligned text: the first column to the left, the others to the right, a rule below the header."""
    table = [[sanitize(cell).replace("\n", "\N{REPLACEMENT CHARACTER}") for cell in row] for row in table]
    first, *others = (max(map(len, column)) for column in zip(*table, strict=True))
    lines = [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))])
        for name, *cells in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def format_markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a GitHub Markdown table; numbers are aligned to the right. Cells may contain Markdown, but no HTML."""
    header = table[0]
    left = 2 if len(header) > 1 and header[1] == "runtime" else 1
    rows = [f"| {' | '.join(escape_markdown(cell) for cell in row)} |" for row in table]
    return "\n".join([rows[0], "|" + "---|" * left + "---:|" * (len(header) - left), *rows[1:]])


def escape_markdown(text: str) -> str:
    """Escape HTML and table separators, and replace line breaks and control characters."""
    escaped = sanitize(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
    return " ".join(escaped.split())


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file atomically. None becomes an empty cell; numbers keep full precision. Raises InputError."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    files.write_text(path, text.getvalue())


def pluralize(count: int, singular: str, plural: str = "") -> str:
    """Return a count with its noun; the plural is the singular with an s, if none is given."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def format_percent(value: float | None) -> str:
    """Return a share from 0 to 1 in percent, without the sign; "-" for None."""
    return "-" if value is None else f"{100 * value:.2f}"


def format_number(value: float | None) -> str:
    """Return a number with four decimals; "-" for None."""
    return "-" if value is None else f"{value:.4f}"


def format_score(score: str, value: float | None) -> str:
    """Return a score for a table: shares in percent, cross-entropy as a number."""
    return format_number(value) if score == "cross_entropy" else format_percent(value)
