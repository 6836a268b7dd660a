"""The picture of a search: accuracy against what it costs, and the front that nothing beats in both."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harexport.evaluation.plots import BLUE, GREY, INK, ORANGE, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LABELLED = 30  # points with a number beside each; of more, only those of the front have one
_NEAR, _FAR = 8.0, (16.0, 26.0, 38.0, 52.0)  # points of the page from a mark to its number
_ROUND = ((1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1.3), (0, -1.3), (1.3, 0), (-1.3, 0))


@dataclass(frozen=True)
class Mark:
    """A point of the picture. `error` is half of its bar, 0 for none; `label` a short number or letter."""

    label: str
    cost: float
    accuracy: float
    error: float


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of (cost, gain) no other beats: none is as cheap and as good and better in one of both.

    In the order of cost; of equal points all are on the front.
    """
    kept = []
    best = float("-inf")
    cost_of_best = float("inf")
    for index in sorted(range(len(points)), key=lambda k: (points[k][0], -points[k][1])):
        cost, gain = points[index]
        if gain > best or (gain == best and cost == cost_of_best):
            kept.append(index)
            best, cost_of_best = gain, cost
    return kept


def picture(panels: Sequence[tuple[str, Sequence[Mark]]], title: str, note: str, key: Sequence[str]) -> Figure:
    """A panel for each (name of the cost, marks); under them what the bars are and a line for each of `key`."""
    drawn = new_figure(10.5, 4.5 + 0.17 * len(key))
    for axes, (name, marks) in zip(drawn.subplots(1, len(panels), sharey=True), panels, strict=True):
        _panel(axes, name, marks)
    drawn.axes[0].set_ylabel("accuracy on held-out subjects, %", color=INK)
    drawn.suptitle(title, color=INK, x=0.01, ha="left", fontsize=11)
    drawn.supxlabel("\n".join([note, *key]), color=INK, x=0.01, ha="left", fontsize=8)
    drawn.draw_without_rendering()  # the layout must be settled before labels can keep out of each other's way
    drawn.set_layout_engine("none")
    for axes, (_, marks) in zip(drawn.axes, panels, strict=True):
        _label(axes, marks)
    return drawn


def _panel(axes: Any, name: str, marks: Sequence[Mark]) -> None:
    style_axes(axes)
    best = set(front([(mark.cost, mark.accuracy) for mark in marks]))
    for index, mark in enumerate(marks):
        colour = BLUE if index in best else GREY
        axes.errorbar(
            mark.cost,
            100 * mark.accuracy,
            yerr=100 * mark.error if mark.error else None,
            fmt="o",
            markersize=5,
            color=colour,
            elinewidth=1,
            capsize=2.5,
            zorder=3 if index in best else 2,
        )
    ordered = sorted((marks[index] for index in best), key=lambda mark: (mark.cost, mark.accuracy))
    # between two points of the front there is nothing better than the cheaper one
    axes.step(
        [mark.cost for mark in ordered],
        [100 * mark.accuracy for mark in ordered],
        where="post",
        color=ORANGE,
        linewidth=1.3,
        zorder=1,
    )
    axes.set_xlabel(name, color=INK)
    axes.margins(x=0.12, y=0.12)
    if max(mark.cost for mark in marks) > 20 * min(mark.cost for mark in marks):
        axes.set_xscale("log")


def _label(axes: Any, marks: Sequence[Mark]) -> None:
    """A number beside each mark where it covers neither a mark nor another number, with a line to it if it is far."""
    from matplotlib.transforms import Bbox

    best = set(front([(mark.cost, mark.accuracy) for mark in marks]))
    shown = [k for k in range(len(marks)) if k in best or len(marks) <= _MOST_LABELLED]
    unit = axes.figure.dpi / 72  # pixels a point
    places = axes.transData.transform([(mark.cost, 100 * mark.accuracy) for mark in marks])
    bars = axes.transData.transform([(mark.cost, 100 * (mark.accuracy + mark.error)) for mark in marks])[:, 1]
    taken = [Bbox([[x - 4 * unit, y - 4 * unit], [x + 4 * unit, y + 4 * unit]]) for x, y in places]
    taken += [
        Bbox([[x - 2 * unit, y - (top - y)], [x + 2 * unit, top]])
        for (x, y), top in zip(places, bars, strict=True)
        if top > y
    ]
    corners = places[sorted(best, key=lambda k: (marks[k].cost, marks[k].accuracy))]
    for (x, y), (next_x, next_y) in itertools.pairwise(corners):  # the front, a step from point to point
        taken += [Bbox([[x, y - unit], [next_x, y + unit]]), Bbox([[next_x - unit, y], [next_x + unit, next_y]])]
    inside = axes.get_window_extent()
    for index in sorted(shown, key=lambda k: (k not in best, k)):
        x, y = places[index]
        width, height = (3 + 4.6 * len(marks[index].label)) * unit, 8 * unit
        for distance, (right, up) in ((d, place) for d in (_NEAR, *_FAR) for place in _ROUND):
            middle = x + right * distance * unit, y + up * distance * unit
            box = Bbox.from_bounds(middle[0] - width / 2, middle[1] - height / 2, width, height)
            free = not any(box.overlaps(other) for other in taken)
            if free and inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1:
                break
        else:
            continue  # no room: the table has its number
        taken.append(box)
        axes.annotate(
            marks[index].label,
            (marks[index].cost, 100 * marks[index].accuracy),
            xytext=((middle[0] - x) / unit, (middle[1] - y) / unit),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=INK,
            fontweight="bold" if index in best else "normal",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 4, "shrinkB": 4}
            if distance > _NEAR
            else None,
        )
