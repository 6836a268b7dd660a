"""The pictures of reports: drawn without a display, written atomically as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harexport import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GRID, BLUE, ORANGE, GREY = "#1f2933", "#d9dee4", "#2563a8", "#d97706", "#8a94a0"


def figure(width: float, height: float) -> Figure:
    """A figure in inches that never opens a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")


def tidy(axes: Any) -> None:
    """The house style: a light grid behind the data, no box around it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def save(drawn: Figure, path: Path | str) -> None:
    """Write `drawn` as PNG. Raises InputError where it cannot be written."""
    with files.replacing(path) as temporary:
        drawn.savefig(temporary, format="png")


def readable(label: str) -> str:
    """WALKING_UPSTAIRS -> Walking upstairs."""
    return label.replace("_", " ").capitalize()


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> Figure:
    """Counts, and under each its % of all test data, as the original drew it; the shade is the share of its row."""
    counts = np.asarray(matrix)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    names = [readable(label) for label in labels]
    drawn = figure(6.9, 6.2)
    axes = drawn.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for t, a in np.ndindex(counts.shape):
        if counts[t, a]:
            ink = "white" if shares[t, a] > 0.55 else INK
            axes.text(a, t - 0.1, f"{counts[t, a]}", ha="center", va="center", color=ink, fontsize=11)
            share = f"{counts[t, a] / counts.sum():.2%}"
            axes.text(a, t + 0.24, share, ha="center", va="center", color=ink, fontsize=7.5)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("answer   (small: % of the test data)", color=INK)
    axes.set_ylabel("truth", color=INK)
    axes.set_title(title, color=INK, loc="left", fontsize=11)
    return drawn


def curves(phases: dict[str, list[dict[str, Any]]], title: str) -> Figure:
    """Loss and accuracy over windows seen; solid: training batches, dashed: subjects held out."""
    drawn = figure(9.5, 3.9)
    left, right = drawn.subplots(1, 2)
    for (name, rows), colour in zip(phases.items(), (ORANGE, BLUE), strict=False):
        seen = [row["windows"] / 1e6 for row in rows]
        for axes, key in ((left, "loss"), (right, "accuracy")):
            axes.plot(
                seen, [row[key] for row in rows], color=colour, linewidth=1.2, alpha=0.75, label=f"{name}: batches"
            )
            held = [row[f"held_out_{key}"] for row in rows]
            if held and held[0] is not None:
                axes.plot(seen, held, color=colour, linewidth=1.4, linestyle=(0, (3, 1.5)), label=f"{name}: held out")
    for axes, what in ((left, "loss"), (right, "accuracy")):
        tidy(axes)
        axes.set_xlabel("million windows seen", color=INK)
        axes.set_title(what, color=INK, loc="left", fontsize=10)
    left.set_ylim(bottom=0)
    right.set_ylim(top=1.0)
    right.legend(frameon=False, fontsize=8, loc="lower right")
    drawn.suptitle(title, color=INK, x=0.01, ha="left", fontsize=11)
    return drawn
