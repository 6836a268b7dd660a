"""Pareto front and its plot: accuracy against the cost of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harexport.evaluation.plots import BLUE, GREY, INK, ORANGE, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Mark:
    """A point of the plot.

    Attributes:
        label: Text beside the point, if it is on the front.
        cost: Position on the x axis.
        accuracy: 0 to 1.
        error: Half the length of the error bar; 0: none.
    """

    label: str
    cost: float
    accuracy: float
    error: float


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points (cost, gain) that no other point dominates, sorted by cost.

    A point dominates another if it is at least as good in both and better in one. Equal points are all on the front.
    """
    front = []
    best_gain, best_cost = float("-inf"), float("inf")
    for index in sorted(range(len(points)), key=lambda k: (points[k][0], -points[k][1])):
        cost, gain = points[index]
        if gain > best_gain or (gain == best_gain and cost == best_cost):
            front.append(index)
            best_gain, best_cost = gain, cost
    return front


def plot_fronts(panels: Sequence[tuple[str, Sequence[Mark]]], title: str, note: str, key: Sequence[str]) -> Figure:
    """Plot accuracy against several costs.

    Args:
        panels: Name of the cost and points of each panel.
        title: Title of the figure.
        note: Explanation of the error bars.
        key: Lines below the panels.
    """
    figure = new_figure(10.5, 4.5 + 0.17 * len(key))
    for axes, (name, marks) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
        _plot_panel(axes, name, marks)
    figure.axes[0].set_ylabel("accuracy on held-out subjects, %", color=INK)
    figure.suptitle(title, color=INK, x=0.01, ha="left", fontsize=11)
    figure.supxlabel("\n".join([note, *key]), color=INK, x=0.01, ha="left", fontsize=8)
    return figure


def _plot_panel(axes: Any, name: str, marks: Sequence[Mark]) -> None:
    style_axes(axes)
    front = pareto_front([(mark.cost, mark.accuracy) for mark in marks])
    for index, mark in enumerate(marks):
        on_front = index in front
        axes.errorbar(
            mark.cost,
            100 * mark.accuracy,
            yerr=100 * mark.error if mark.error else None,
            fmt="o",
            markersize=5,
            color=BLUE if on_front else GREY,
            elinewidth=1,
            capsize=2.5,
            zorder=3 if on_front else 2,
        )
        if on_front:
            axes.annotate(
                mark.label, (mark.cost, 100 * mark.accuracy), xytext=(-4, 5), textcoords="offset points",
                ha="right", fontsize=8, color=INK, fontweight="bold",
            )  # fmt: skip
    axes.step(
        [marks[index].cost for index in front],
        [100 * marks[index].accuracy for index in front],
        where="post",
        color=ORANGE,
        linewidth=1.3,
        zorder=1,
    )
    axes.set_xlabel(name, color=INK)
    axes.margins(x=0.12, y=0.12)
    if max(mark.cost for mark in marks) > 20 * min(mark.cost for mark in marks):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")  # the default formatter writes math
