"""Latency is measured interleaved, warmed up, and counted right."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from harexport.errors import InputError
from harexport.verify.latency import interleaved

_WINDOWS = np.zeros((8, 128, 9), np.float32)


def _busy(microseconds: float):  # type: ignore[no-untyped-def]
    def model(window: np.ndarray) -> None:
        until = time.perf_counter_ns() + 1000 * microseconds
        while time.perf_counter_ns() < until:
            pass

    return model


def test_known_durations_are_found() -> None:
    timed = interleaved({"slow": _busy(200), "fast": _busy(50)}, _WINDOWS, runs=200)
    for name, expected in (("slow", 200), ("fast", 50)):
        latency = timed[name]
        assert latency.runs == 200
        assert expected <= latency.min <= latency.p50 <= latency.p90 <= latency.p99
        assert latency.min < expected * 1.2 + 5


def test_models_alternate_and_see_the_same_single_windows() -> None:
    calls: list[tuple[str, float]] = []

    def spy(name: str):  # type: ignore[no-untyped-def]
        def model(window: np.ndarray) -> None:
            assert window.shape == (1, 128, 9)
            calls.append((name, float(window[0, 0, 0])))

        return model

    windows = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((1, 128, 9), np.float32)
    told: list[int] = []
    interleaved({"a": spy("a"), "b": spy("b")}, windows, runs=1000, progress=told.append)
    switches = sum(x[0] != y[0] for x, y in itertools.pairwise(calls))
    assert switches >= 40, "each of the 40 rounds holds both models"
    assert [w for name, w in calls if name == "a"] == [w for name, w in calls if name == "b"]
    assert told[-1] == 1000
    first_of_round = [calls[k * 60][0] for k in range(40)]
    assert len(set(first_of_round)) == 2, "neither model always goes first"


def test_the_warm_up_is_not_counted() -> None:
    calls = []
    timed = interleaved({"a": lambda window: calls.append(1)}, _WINDOWS, runs=100)
    assert timed["a"].runs == 100
    assert len(calls) == 120


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(InputError, match="at least one run"):
        interleaved({"a": lambda window: None}, _WINDOWS, runs=0)
    with pytest.raises(InputError, match="at least one run and one window"):
        interleaved({"a": lambda window: None}, _WINDOWS[:0])
