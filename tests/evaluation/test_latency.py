"""Latency: interleaved blocks, warm-up, and the number of runs."""

from __future__ import annotations

import gc
import itertools
import time

import numpy as np
import pytest

from harexport.errors import InputError
from harexport.evaluation.latency import measure, time_interleaved

_WINDOWS = np.zeros((8, 128, 9), np.float32)


def _busy(microseconds: float):  # type: ignore[no-untyped-def]
    def model(window: np.ndarray) -> None:
        until = time.perf_counter_ns() + 1000 * microseconds
        while time.perf_counter_ns() < until:
            pass

    return model


def test_known_durations_are_found() -> None:
    timed = time_interleaved({"slow": _busy(200), "fast": _busy(50)}, _WINDOWS, runs=200)
    for name, expected in (("slow", 200), ("fast", 50)):
        latency = timed[name]
        assert latency.runs == 200
        assert expected <= latency.min <= latency.p50 <= latency.p90 <= latency.p99
        assert latency.low <= latency.p50 <= latency.high
        assert latency.min < expected * 1.2 + 5


def test_ratios_come_with_an_interval() -> None:
    times = measure(lambda: {"slow": _busy(200), "fast": _busy(50)}, _WINDOWS, 400, sessions=4)
    ratio = times.ratio("slow", "fast")
    assert ratio.low <= ratio.value <= ratio.high
    assert 3.2 < ratio.value < 4.2
    assert times.ratio("slow", "slow").high == 1.0
    assert times.by_model["slow"].shape == (4, 4, 25)
    assert len(times.round_medians("slow")) == 16


def test_models_alternate_and_see_the_same_single_windows() -> None:
    calls: list[tuple[str, float]] = []

    def spy(name: str):  # type: ignore[no-untyped-def]
        def model(window: np.ndarray) -> None:
            assert window.shape == (1, 128, 9)
            calls.append((name, float(window[0, 0, 0])))

        return model

    windows = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((1, 128, 9), np.float32)
    counts: list[int] = []
    time_interleaved({"a": spy("a"), "b": spy("b")}, windows, runs=1000, progress=counts.append)
    measured = calls[-40 * 60 :]  # what comes before is the warm-up
    switches = sum(x[0] != y[0] for x, y in itertools.pairwise(measured))
    assert switches >= 40, "each of the 40 rounds holds both models"
    assert [w for name, w in measured if name == "a"] == [w for name, w in measured if name == "b"]
    assert counts[-1] == 1000
    first_of_round = [measured[k * 60][0] for k in range(40)]
    assert len(set(first_of_round)) == 2, "neither model always goes first"


def test_the_warm_up_is_not_counted_and_ends() -> None:
    calls = []
    timed = time_interleaved({"a": lambda window: calls.append(1)}, _WINDOWS, runs=100)
    assert timed["a"].runs == 100
    warm_up = len(calls) - 120
    assert 60 <= warm_up <= 600
    assert warm_up % 30 == 0


def test_a_model_is_warmed_up_until_it_is_stable() -> None:
    """Each call is faster than the one before, for 200 calls: none of the slow ones may be counted."""
    calls = itertools.count()

    def model(window: np.ndarray) -> None:
        _busy(max(20.0, 400 - 2 * next(calls)))(window)

    assert time_interleaved({"a": model}, _WINDOWS, runs=100)["a"].p90 < 60


def test_every_session_loads_the_models_again() -> None:
    loads: list[dict[str, object]] = []

    def load():  # type: ignore[no-untyped-def]
        loads.append({"a": _busy(1)})
        return loads[-1]

    assert measure(load, _WINDOWS, 100, sessions=4).by_model["a"].shape == (4, 1, 25)
    assert len(loads) == 4


def test_garbage_is_collected_again_afterwards() -> None:
    def broken(window: np.ndarray) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        time_interleaved({"a": broken}, _WINDOWS, runs=25)
    assert gc.isenabled()


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(InputError, match="at least one run"):
        time_interleaved({"a": lambda window: None}, _WINDOWS, runs=0)
    with pytest.raises(InputError, match="at least one run and 1 windows"):
        time_interleaved({"a": lambda window: None}, _WINDOWS[:0])
