"""Pareto front and its plot."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harexport.model_selection.pareto import Mark, pareto_front, plot_fronts

_FEW = st.integers(0, 6).map(float)  # few values, so that many are equal


@given(st.lists(st.tuples(_FEW, _FEW), max_size=25))
def test_front_contains_all_non_dominated_points(points: list[tuple[float, float]]) -> None:
    def beaten(one: tuple[float, float]) -> bool:
        return any(cost <= one[0] and gain >= one[1] and (cost, gain) != one for cost, gain in points)

    found = pareto_front(points)
    assert sorted(found) == [k for k, point in enumerate(points) if not beaten(point)]
    assert [points[k][0] for k in found] == sorted(points[k][0] for k in found)


def test_the_points_of_the_front_are_numbered() -> None:
    random = np.random.default_rng(0)
    marks = [Mark(str(k), float(random.uniform(8, 300)), float(random.uniform(0.9, 0.95)), 0.002) for k in range(40)]
    figure = plot_fronts([("µs", marks), ("KB", marks)], "title", "note", ["1: hidden 8"])
    figure.draw_without_rendering()
    front = {marks[k].label for k in pareto_front([(mark.cost, mark.accuracy) for mark in marks])}
    for axes in figure.axes:
        assert {text.get_text() for text in axes.texts} == front
