"""The front, and a picture in which every number can be read."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Annotation, Text

from harexport.model_selection.pareto import Mark, front, picture

_FEW = st.integers(0, 6).map(float)  # few values, so that many are equal


@given(st.lists(st.tuples(_FEW, _FEW), max_size=25))
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    def beaten(one: tuple[float, float]) -> bool:
        return any(cost <= one[0] and gain >= one[1] and (cost, gain) != one for cost, gain in points)

    found = front(points)
    assert sorted(found) == [k for k, point in enumerate(points) if not beaten(point)]
    assert [points[k][0] for k in found] == sorted(points[k][0] for k in found)


@pytest.mark.parametrize(("count", "shapes"), [(1, 1), (8, 4), (24, 6), (80, 12)])
def test_labels_do_not_cover_each_other(count: int, shapes: int) -> None:
    random = np.random.default_rng(count)
    costs = np.sort(random.uniform(8, 300, shapes))
    marks = [
        Mark(str(k + 1), float(costs[random.integers(shapes)]), float(random.uniform(0.9, 0.95)), 0.002)
        for k in range(count)
    ]
    drawn = picture([("µs", marks), ("kB", marks)], "title", "note", ["1: hidden 8"])
    drawn.draw_without_rendering()
    best = {marks[k].label for k in front([(mark.cost, mark.accuracy) for mark in marks])}
    for axes in drawn.axes:
        labels = [text for text in axes.texts if isinstance(text, Annotation)]
        assert best <= {label.get_text() for label in labels}
        boxes = [Text.get_window_extent(label) for label in labels]  # an annotation's own one holds its arrow too
        for one, other in itertools.combinations(boxes, 2):
            assert not one.overlaps(other)
        window = axes.get_window_extent()
        for box in boxes:
            assert window.x0 <= box.x0 + 1
            assert box.x1 - 1 <= window.x1
            assert window.y0 <= box.y0 + 1
            assert box.y1 - 1 <= window.y1
