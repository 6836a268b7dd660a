"""Tables: as CSV for programs, in columns for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harexport.utils import files


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write atomically; None is an empty cell, numbers in full precision. Raises InputError."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    files.write_text(path, text.getvalue())


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells under their heads: the first column to the left, the others to the right."""
    table = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[k]) for row in table) for k in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def form(score: str, value: float | None) -> str:
    """A score as people read it: shares in %, cross-entropy as it is."""
    return number(value) if score == "cross_entropy" else percent(value)


Table = list[tuple[str, ...]]  # the head, then a row a model


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A GitHub Markdown table."""
    head, *body = table
    left = 2 if len(head) > 1 and head[1] == "runtime" else 1
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * left + "---:|" * (len(head) - left)]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body)])


def plain(table: Sequence[Sequence[str]]) -> str:
    """Aligned text."""
    first, *others = (max(map(len, column)) for column in zip(*table, strict=True))
    lines = [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))])
        for name, *cells in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)
