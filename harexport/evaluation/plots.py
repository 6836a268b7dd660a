"""Matplotlib figures of reports, without a display, written atomically as PNG."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harexport.evaluation.metrics import BINS, Reliability, SubjectAccuracy
from harexport.utils import files
from harexport.utils.console import sanitize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GRID, BLUE, ORANGE, GREY = "#1f2933", "#d9dee4", "#2563a8", "#d97706", "#8a94a0"


def new_figure(width: float, height: float) -> Figure:
    """Create a figure, in inches, without a window.

    Text is not parsed as math: labels and file names may contain "$".
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["text.parse_math"] = False  # is read when a text is created
    return Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")


def style_axes(axes: Any) -> None:
    """Apply the common style: a light grid behind the data and no box."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def save_figure(drawn: Figure, path: Path | str) -> None:
    """Write a figure as PNG. Raises InputError if it cannot be written."""
    with files.atomic_write(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # names in scripts that the font lacks
        drawn.savefig(temporary, format="png")


def format_label(label: str) -> str:
    """Format a label for display: WALKING_UPSTAIRS -> Walking upstairs."""
    return sanitize(label).replace("_", " ").capitalize()


def plot_confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> Figure:
    """Plot a confusion matrix with counts and percentages.

    Args:
        matrix: Counts [label, prediction].
        labels: Names of the labels.
        title: Title of the figure.

    Each cell shows the count, the percentage of its row (small) and of all windows (smallest). The shade is the
    percentage of the row, so that rare labels are visible too.
    """
    counts = np.asarray(matrix)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    names = [format_label(label) for label in labels]
    drawn = new_figure(6.9, 6.2)
    axes = drawn.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for t, a in np.ndindex(counts.shape):
        if not counts[t, a]:
            continue
        ink = "white" if shares[t, a] > 0.55 else INK
        axes.text(a, t - 0.2, f"{counts[t, a]}", ha="center", va="center", color=ink, fontsize=11)
        axes.text(a, t + 0.1, f"{shares[t, a]:.1%}", ha="center", va="center", color=ink, fontsize=8)
        axes.text(
            a, t + 0.32, f"({counts[t, a] / counts.sum():.2%})", ha="center", va="center", color=ink, fontsize=6.5
        )
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("prediction   (count, % of the row, in brackets % of all windows)", color=INK)
    axes.set_ylabel("label", color=INK)
    axes.set_title(title, color=INK, loc="left", fontsize=11)
    return drawn


# prefix of the column, line style, legend
_MEASURED = (
    ("", "-", "batches"),
    ("held_out_", (0, (3, 1.5)), "held out"),
    ("test_", (0, (1, 1)), "test"),
)
_HEADS = (("", 0.9, ""), ("coarse_", 0.45, ", coarse labels"))  # the same, with a shade


def _number(row: dict[str, Any], key: str, coarse: bool) -> float:
    value = row.get(key)
    return float("nan") if value is None or (row.get("stage") == 1 and not coarse) else float(value)


def plot_training_curves(phases: dict[str, list[dict[str, Any]]], title: str) -> Figure:
    """Loss and accuracy over windows seen; solid: training batches, dashed: subjects held out.

    A second, coarse head has curves of its own, in a lighter shade; while only that head is trained (stage 1), those
    of the labels themselves are left out.
    """
    drawn = new_figure(9.5, 4.3)
    left, right = drawn.subplots(1, 2)
    most = max(row["windows"] for rows in phases.values() for row in rows)
    unit, unit_name = (1e6, "million ") if most >= 1e6 else (1e3, "thousand ") if most >= 1e4 else (1.0, "")
    for (name, rows), color in zip(phases.items(), (ORANGE, BLUE), strict=False):
        seen = [row["windows"] / unit for row in rows]
        mark = "o" if len(rows) == 1 else None  # a line through one point is invisible
        for axes, key in ((left, "loss"), (right, "accuracy")):
            for (head, shade, of_head), (part, style, measured_on) in itertools.product(_HEADS, _MEASURED):
                values = [_number(row, f"{part}{head}{key}", bool(head)) for row in rows]
                if not np.isnan(values).all():
                    axes.plot(
                        seen, values, color=color, alpha=shade, linewidth=1.3, linestyle=style, marker=mark,
                        markersize=4, label=f"{name}: {measured_on}{of_head}",
                    )  # fmt: skip
    for axes, what in ((left, "loss"), (right, "accuracy")):
        style_axes(axes)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{unit_name}windows seen", color=INK)
        axes.set_title(what, color=INK, loc="left", fontsize=10)
    left.set_ylim(bottom=0)
    right.set_ylim(top=1.0)
    handles, names = right.get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    drawn.suptitle(title, color=INK, x=0.01, ha="left", fontsize=11)
    return drawn


def plot_subjects(groups: Mapping[str, Mapping[str, SubjectAccuracy]], title: str) -> Figure:
    """Plot the accuracy of each subject as bars, and that of each group as a line.

    The axis does not start at 0, which its label states: differences between 97 and 99 % stay visible.

    Args:
        groups: Accuracy by subject and group ("held out", "test").
        title: Title of the figure.
    """
    bars = sum(len(group) for group in groups.values())
    drawn = new_figure(max(5.0, 2.2 + 0.55 * (bars + len(groups))), 4.2)
    axes = drawn.add_subplot()
    lowest = min(share.accuracy for group in groups.values() for share in group.values())
    floor = min(0.9, max(0.0, np.floor(10 * lowest - 0.2) / 10))
    left = 0
    ticks: dict[int, tuple[str, str]] = {}
    for (name, group), color in zip(groups.items(), (ORANGE, BLUE), strict=False):
        at = np.arange(left, left + len(group))
        heights = [share.accuracy for share in group.values()]
        axes.bar(at, np.array(heights) - floor, bottom=floor, width=0.72, color=color, alpha=0.85)
        windows = sum(share.windows for share in group.values())
        mean = sum(share.windows * share.accuracy for share in group.values()) / windows
        label = f"{name}: {mean:.2%} of {windows} windows"
        axes.plot([left - 0.5, at[-1] + 0.5], [mean, mean], color=color, linewidth=1.4, label=label)
        percent = ["100" if height == 1 else f"{100 * height:.1f}" for height in heights]
        ticks.update(zip(at.tolist(), zip(group, percent, strict=True), strict=True))
        left = int(at[-1]) + 2
    style_axes(axes)
    axes.grid(visible=False, axis="x")
    long = max(len(name) for name, _ in ticks.values()) > 6
    texts = [f"{name}  {percent}" if long else f"{name}\n{percent}" for name, percent in ticks.values()]
    axes.set_xticks(list(ticks), texts, rotation=30 if long else 0, ha="right" if long else "center")
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(floor, 1.0 + 0.03 * (1 - floor))
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}" if share < 1.005 else "")
    axes.set_ylabel("accuracy" + (f"   (axis starts at {floor:.0%})" if floor else ""), color=INK)
    axes.set_xlabel("subject, and its accuracy in %", color=INK)
    axes.set_title(title, color=INK, loc="left", fontsize=11)
    drawn.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return drawn


def plot_reliability(panels: Mapping[str, Sequence[tuple[str, Reliability]]], title: str) -> Figure:
    """Plot reliability diagrams (Guo et al. 2017): accuracy over confidence in 15 bins.

    The diagonal is perfect calibration. The area of a point grows with its number of windows. A histogram below each
    panel shows the windows per bin of the last curve.

    Args:
        panels: By dataset, one curve or two (before and after calibration), each with its name.
        title: Title of the figure.
    """
    drawn = new_figure(0.6 + 4.6 * len(panels), 5.6)
    grid = drawn.subplots(2, len(panels), sharex=True, squeeze=False, height_ratios=(4, 1))
    for (name, shown), (upper, lower) in zip(panels.items(), grid.T, strict=True):
        upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (2, 2)))
        for (label, curve), color in zip(shown, (BLUE,) if len(shown) == 1 else (ORANGE, BLUE), strict=True):
            full = curve.windows > 0
            counts = curve.windows[full]
            x, y = curve.confidence[full] / counts, curve.right[full] / counts
            text = f"{label + ': ' if label else ''}ECE {curve.error:.4f}"
            upper.plot(x, y, color=color, linewidth=1.1, label=text)
            upper.scatter(x, y, s=6 + 90 * np.sqrt(counts / counts.sum()), color=color, alpha=0.8, linewidths=0)
        edges = np.arange(BINS) / BINS
        counts = shown[-1][1].windows
        lower.bar(edges, counts / counts.sum(), width=1 / BINS, align="edge", color=BLUE, alpha=0.8, edgecolor="white")
        for axes in (upper, lower):
            style_axes(axes)
        upper.set_title(name, color=INK, loc="left", fontsize=10)
        upper.legend(frameon=False, fontsize=9, loc="upper left")
        upper.set_xlim(0, 1.02)
        upper.set_ylim(0, 1.02)
        lower.set_ylim(0, 1)
        lower.set_yticks([0, 0.5, 1], ["0", "50%", "100%"])
        lower.set_xlabel("confidence: the largest probability", color=INK)
    grid[0, 0].set_ylabel("accuracy", color=INK)
    grid[1, 0].set_ylabel("windows", color=INK)
    drawn.suptitle(title, color=INK, x=0.01, ha="left", fontsize=11)
    return drawn
