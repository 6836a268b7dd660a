"""Latency: warmed up, the models of one run interleaved so that the machine's moods hit all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.evaluation.statistics import Interval, median_interval, ratio_interval

Model = Callable[[NDArray[np.float32]], object]

_BLOCK = 25  # timed runs of one model in a row: long enough to be warm, short enough to share the noise
_WARM_UP = 5  # untimed runs before each block: the model before it has taken the cache
_STABLE = 0.98  # warm when a block's median is no longer below this share of the fastest one before it
_LONGEST_WARM_UP = 20, 0.5  # blocks, seconds
_WINDOWS = 256


@dataclass(frozen=True)
class Latency:
    """Per-window latency in microseconds over `runs` single runs: input in, inference, logits out.

    The median lies between `low` and `high` with 95 % confidence (statistics.py says how they are found).
    """

    runs: int
    min: float
    p50: float
    p90: float
    p99: float
    low: float
    high: float

    def shared(self, windows: int) -> Latency:
        """The latency of each of `windows` windows that one run answered."""
        times = (self.min, self.p50, self.p90, self.p99, self.low, self.high)
        return Latency(self.runs, *(value / windows for value in times))


@dataclass(frozen=True)
class Times:
    """Microseconds of every run of every model: [sittings, rounds, runs in a row]; rounds are shared by all models."""

    taken: dict[str, NDArray[np.float64]]

    def latency(self, name: str) -> Latency:
        times = self.taken[name]
        p50, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
        interval = median_interval(times)
        return Latency(times.size, float(times.min()), p50, p90, p99, interval.low, interval.high)

    def ratio(self, name: str, to: str) -> Interval:
        """The median of one model's times in those of another."""
        return ratio_interval(self.taken[name], self.taken[to])

    def rounds(self, name: str) -> NDArray[np.float64]:
        """The median of each round, in the order they were run."""
        medians: NDArray[np.float64] = np.median(self.taken[name], axis=2).ravel()
        return medians


def time_interleaved(
    models: Mapping[str, Model],
    windows: NDArray[np.float32],
    runs: int = 1000,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    batch: int = 1,
) -> dict[str, Latency]:
    """Time every model at least `runs` times on windows [n, window, channels], `batch` windows a run.

    Raises InputError for runs < 1 and for fewer windows than a run takes.
    """
    times = measure(lambda: models, windows, runs, seed=seed, progress=progress, batch=batch)
    return {name: times.latency(name) for name in models}


def measure(
    load: Callable[[], Mapping[str, Model]],
    windows: NDArray[np.float32],
    runs: int = 1000,
    *,
    sittings: int = 1,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    batch: int = 1,
) -> Times:
    """`interleaved`, with the models loaded anew for each of `sittings` sittings; answers every single time.

    Where a model's buffers happen to lie in memory decides about its speed by several per cent, for as long as it is
    loaded: intervals from one sitting would be too narrow. Blocks of all models alternate in shuffled order (`seed`);
    every model sees the same windows. Raises InputError as `interleaved`.
    """
    if runs < 1 or len(windows) < batch:
        raise InputError(
            f"latency needs at least one run and {batch} windows, got {runs} runs and {len(windows)} windows"
        )
    random = np.random.default_rng(seed)
    starts = range(0, min(len(windows) - batch + 1, _WINDOWS * batch), batch)
    singles = [np.ascontiguousarray(windows[start : start + batch]) for start in starts]
    rounds = -(-runs // (_BLOCK * sittings))
    taken: dict[str, list[list[int]]] = {}
    collecting = gc.isenabled()
    gc.disable()  # as timeit does: a collection is the harness's time and not the model's
    try:
        for sitting in range(sittings):
            models = load()
            for model in models.values():
                _warm(model, singles)
            for done in range(rounds):
                block = [singles[int(k)] for k in random.integers(len(singles), size=_BLOCK)]
                for name in random.permutation(list(models)):
                    taken.setdefault(str(name), []).append(_timed(models[name], block))
                progress((sitting * rounds + done + 1) * _BLOCK)
    finally:
        if collecting:
            gc.enable()
    return Times({name: np.array(blocks).reshape(sittings, rounds, _BLOCK) / 1000 for name, blocks in taken.items()})


def _timed(model: Model, block: list[NDArray[np.float32]]) -> list[int]:
    """Nanoseconds of each run."""
    clock = time.perf_counter_ns
    for window in block[:_WARM_UP]:
        model(window)
    times = []
    for window in block:
        began = clock()
        model(window)
        times.append(clock() - began)
    return times


def _warm(model: Model, singles: list[NDArray[np.float32]]) -> None:
    """Run until it gets no faster: caches, branch predictors, the clock of a core that was asleep."""
    block = [singles[k % len(singles)] for k in range(_BLOCK)]
    most, seconds = _LONGEST_WARM_UP
    until = time.perf_counter() + seconds
    fastest = np.inf
    for _ in range(most):
        median = float(np.median(_timed(model, block)))
        if median >= _STABLE * fastest or time.perf_counter() > until:
            return
        fastest = median
