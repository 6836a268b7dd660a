"""Tables and plot of a robustness evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harexport.evaluation.plots import GREY, INK, format_label, new_figure, style_axes
from harexport.robustness.evaluate import ConditionResult, ModelRobustness, Robustness
from harexport.utils import tables
from harexport.utils.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NONE = "-"
# Okabe and Ito's colors, distinguishable by color-blind readers; markers for prints in gray.
_COLORS = ("#0072b2", "#d55e00", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#000000", "#999999")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_TILT = "tilt"
_SIDES = ("turn", "orientation")
_SMALL = {  # small effects are plotted as changes
    "noise": ("sensor noise", "mg rms"),
    "lost": ("lost samples", "%"),
    "clock": ("clock drift", "%"),
    "gain": ("gain error of each axis", "%"),
}


def condition_rows(result: Robustness) -> Table:
    """Return accuracy by condition and model, with that of the worst draw in brackets."""
    rows: Table = [("condition", *(model.name for model in result.models))]
    rows.append(("as recorded", *(f"{model.figures.accuracy:.1%}" for model in result.models)))
    for name in result.conditions:
        rows.append((name, *(_cell(model.outcome(name)) for model in result.models)))
    return rows


def label_rows(result: Robustness) -> Table:
    """Return the recall of each label on the recorded windows."""
    rows: Table = [("recall", *(model.name for model in result.models))]
    for k, label in enumerate(result.labels):
        rows.append((format_label(label), *(f"{model.figures.label_recall[k]:.1%}" for model in result.models)))
    return rows


def subject_rows(result: Robustness) -> Table:
    """Return the accuracy of each test subject on the recorded windows."""
    rows: Table = [("test subject", *(model.name for model in result.models))]
    for subject in result.models[0].subjects:
        rows.append((subject, *(f"{model.subjects[subject].accuracy:.1%}" for model in result.models)))
    return rows


def left_out_notes(result: Robustness) -> list[str]:
    """Return a sentence for each condition that could not be applied to all windows."""
    notes = {}
    for model in result.models:
        for condition in (condition for condition in model.outcomes if condition.left_out):
            total = condition.windows + condition.left_out
            notes[condition.name] = (
                f"{condition.name}: {condition.left_out} of {total} windows are left out, their segment is too short."
            )
    return list(notes.values())


def format_robustness(result: Robustness) -> str:
    """Return all tables as text."""
    parts = [tables.format_text(rows(result)) for rows in (condition_rows, label_rows, subject_rows)]
    return "\n\n".join([*parts, *left_out_notes(result)])


def format_markdown(result: Robustness) -> str:
    """Return all tables as GitHub Markdown."""
    parts = [tables.format_markdown(rows(result)) for rows in (condition_rows, label_rows, subject_rows)]
    return "\n\n".join([*parts, *map(tables.escape_markdown, left_out_notes(result))]) + "\n"


def _cell(outcome: ConditionResult | None) -> str:
    if outcome is None or not outcome.windows:
        return _NONE
    worst = f" ({outcome.worst:.1%})" if outcome.draws > 1 else ""
    return f"{outcome.mean:.1%}{worst}"


def plot_robustness(result: Robustness) -> Figure:
    """Plot accuracy over tilt, the change of accuracy for small perturbations, and accuracy after rotations.

    Bold lines: mean of the draws; dotted lines: the worst draw. Strength 0 is the result on the recorded windows.
    """
    present = {outcome.group for model in result.models for outcome in model.outcomes}
    small = [group for group in _SMALL if group in present]
    turns = list(dict.fromkeys(o.name for model in result.models for o in model.outcomes if o.group in _SIDES))
    has_tilt = _TILT in present
    heights = [3.0, *([0.8 + 0.28 * len(turns)] if turns else [])]
    drawn = new_figure(12.0, 0.9 + sum(heights))
    rows = drawn.add_gridspec(len(heights), 1, height_ratios=heights)
    upper = rows[0].subgridspec(1, len(small) + has_tilt, width_ratios=[1.6] * has_tilt + [1.0] * len(small))
    if has_tilt:
        _lines(drawn.add_subplot(upper[0]), result, _TILT, "tilt", "degrees", "accuracy, %")
    first = None
    for k, group in enumerate(small):
        axes = drawn.add_subplot(upper[k + has_tilt], sharey=first)
        _lines(axes, result, group, *_SMALL[group], "" if first else "change of accuracy, points", change=True)
        if first is not None:
            axes.tick_params(labelleft=False)
        first = first or axes
    if turns:
        _dots(drawn.add_subplot(rows[1]), result, turns)
    handles, names = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper left", ncols=6, frameon=False, fontsize=10)
    drawn.text(
        0.995, 0.985, "bold: mean of the draws; dotted: worst draw", ha="right", va="top", fontsize=9, color=GREY
    )
    return drawn


def _lines(
    axes: Any, result: Robustness, group: str, title: str, unit: str, y_label: str, *, change: bool = False
) -> None:
    """Plot accuracy, or its change, over the strength of one kind of perturbation."""
    levels: set[float] = set()
    for k, model in enumerate(result.models):
        color, mark = _COLORS[k % len(_COLORS)], _MARKS[k % len(_MARKS)]
        at, means, worst = _curve(model, group, change)
        levels |= set(at)
        axes.plot(at, means, color=color, marker=mark, markersize=5, linewidth=1.8, label=model.name)
        if worst != means:
            axes.plot(at, worst, color=color, linewidth=1.1, linestyle=(0, (1, 1.5)))
    style_axes(axes)
    if change:
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.set_title(title, color=INK, loc="left", fontsize=10)
    axes.set_xlabel(unit, color=INK, fontsize=9)
    axes.set_ylabel(y_label, color=INK, fontsize=9)
    axes.set_xticks(sorted(levels))
    axes.margins(x=0.1)


def _curve(model: ModelRobustness, group: str, change: bool) -> tuple[list[float], list[float], list[float]]:
    """Return strengths, mean and worst accuracy in percent (or their changes in points), starting at strength 0."""
    plain = 0.0 if change else 100 * model.figures.accuracy
    points = [(0.0, plain, plain)]
    for outcome in model.outcomes:
        if outcome.group == group and outcome.level is not None and outcome.windows:
            before = outcome.before if change else 0.0
            points.append((outcome.level, 100 * (outcome.mean - before), 100 * (outcome.worst - before)))
    levels, means, worst = zip(*sorted(points), strict=True)
    return list(levels), list(means), list(worst)


def _dots(axes: Any, result: Robustness, turns: list[str]) -> None:
    """Plot a row per rotation and a marker per model; the first row is without rotation."""
    for k, model in enumerate(result.models):
        found = [model.outcome(name) for name in turns]
        places = [(0, 100 * model.figures.accuracy)]
        places += [(row, 100 * one.mean) for row, one in enumerate(found, 1) if one]
        rows, accuracies = zip(*places, strict=True)
        axes.plot(
            accuracies, rows, color=_COLORS[k % len(_COLORS)], marker=_MARKS[k % len(_MARKS)], markersize=6,
            linestyle="none", label=model.name,
        )  # fmt: skip
    style_axes(axes)
    axes.set_yticks(range(len(turns) + 1), ["as recorded", *turns])
    axes.invert_yaxis()
    axes.set_xlim(0, 101)
    axes.set_xlabel("accuracy, %", color=INK, fontsize=9)
    axes.set_title("rotated by 90 degrees or more", color=INK, loc="left", fontsize=10)
