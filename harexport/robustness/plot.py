"""The picture of `harexport robustness`: all models in one, a panel for each kind of perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harexport.evaluation.plots import GREY, INK, new_figure, style_axes
from harexport.robustness.evaluate import ModelRobustness, Robustness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind eyes too; and marks, for who prints in grey.
_COLOURS = ("#0072b2", "#d55e00", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#000000", "#999999")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_TILT = "tilt"
_SMALL = {  # what costs little is drawn as points lost
    "noise": ("sensor noise", "mg rms"),
    "lost": ("lost samples", "%"),
    "clock": ("clock drift", "%"),
    "gain": ("gain error of each axis", "%"),
}


def draw(result: Robustness) -> Figure:
    """Accuracy when the phone leans; points of accuracy lost to what changes less; accuracy with another side up.

    Bold: the mean over draws; dotted: the worst of them. At strength 0 stands the model on the windows as recorded.
    """
    present = {one.group for model in result.models for one in model.outcomes}
    small = [group for group in _SMALL if group in present]
    turns = list(dict.fromkeys(one.name for model in result.models for one in model.outcomes if one.group == "turn"))
    leaning = _TILT in present
    heights = [3.0, *([0.8 + 0.28 * len(turns)] if turns else [])]
    drawn = new_figure(12.0, 0.9 + sum(heights))
    rows = drawn.add_gridspec(len(heights), 1, height_ratios=heights)
    upper = rows[0].subgridspec(1, len(small) + leaning, width_ratios=[1.6] * leaning + [1.0] * len(small))
    if leaning:
        _lines(drawn.add_subplot(upper[0]), result, _TILT, "tilted against gravity", "degrees", "accuracy, %")
    first = None
    for k, group in enumerate(small):
        axes = drawn.add_subplot(upper[k + leaning], sharey=first)
        _lines(axes, result, group, *_SMALL[group], "" if first else "change of accuracy, points", change=True)
        if first is not None:
            axes.tick_params(labelleft=False)
        first = first or axes
    if turns:
        _dots(drawn.add_subplot(rows[1]), result, turns)
    handles, names = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper left", ncols=6, frameon=False, fontsize=10)
    drawn.text(0.995, 0.985, "bold: mean of the draws; dotted: the worst", ha="right", va="top", fontsize=9, color=GREY)
    return drawn


def _lines(
    axes: Any, result: Robustness, group: str, title: str, unit: str, upright: str, *, change: bool = False
) -> None:
    """Accuracy, or its change, over the strength of one kind of perturbation."""
    levels: set[float] = set()
    for k, model in enumerate(result.models):
        colour, mark = _COLOURS[k % len(_COLOURS)], _MARKS[k % len(_MARKS)]
        at, means, worst = _curve(model, group, change)
        levels |= set(at)
        axes.plot(at, means, color=colour, marker=mark, markersize=5, linewidth=1.8, label=model.name)
        if worst != means:
            axes.plot(at, worst, color=colour, linewidth=1.1, linestyle=(0, (1, 1.5)))
    style_axes(axes)
    if change:
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.set_title(title, color=INK, loc="left", fontsize=10)
    axes.set_xlabel(unit, color=INK, fontsize=9)
    axes.set_ylabel(upright, color=INK, fontsize=9)
    axes.set_xticks(sorted(levels))
    axes.margins(x=0.1)


def _curve(model: ModelRobustness, group: str, change: bool) -> tuple[list[float], list[float], list[float]]:
    """Strengths, mean and worst accuracies in % (or their changes in points), with those of strength 0."""
    plain = 0.0 if change else 100 * model.figures.accuracy
    points = [(0.0, plain, plain)]
    for one in model.outcomes:
        if one.group == group and one.level is not None and one.windows:
            before = one.before if change else 0.0
            points.append((one.level, 100 * (one.mean - before), 100 * (one.worst - before)))
    levels, means, worst = zip(*sorted(points), strict=True)
    return list(levels), list(means), list(worst)


def _dots(axes: Any, result: Robustness, turns: list[str]) -> None:
    """A row a turn, a dot a model; the first row is the phone as it was worn."""
    for k, model in enumerate(result.models):
        found = [model.outcome(name) for name in turns]
        places = [(0, 100 * model.figures.accuracy)]
        places += [(row, 100 * one.mean) for row, one in enumerate(found, 1) if one]
        rows, accuracies = zip(*places, strict=True)
        axes.plot(
            accuracies, rows, color=_COLOURS[k % len(_COLOURS)], marker=_MARKS[k % len(_MARKS)], markersize=6,
            linestyle="none", label=model.name,
        )  # fmt: skip
    style_axes(axes)
    axes.set_yticks(range(len(turns) + 1), ["as it was worn", *turns])
    axes.invert_yaxis()
    axes.set_xlim(0, 101)
    axes.set_xlabel("accuracy, %", color=INK, fontsize=9)
    axes.set_title("another side up", color=INK, loc="left", fontsize=10)
