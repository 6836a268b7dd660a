"""Latency measurement, interleaved so that system noise affects all models equally."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.evaluation.statistics import Interval, median_interval, ratio_interval

Model = Callable[[NDArray[np.float32]], object]

_BLOCK = 25  # consecutive timed runs of one model: enough to be warm, few enough to share the noise
_BLOCK_WARM_UP = 5  # untimed runs before each block: the previous model has evicted the caches
_STABLE = 0.98  # warm-up ends when a block's median is at least this share of the fastest one before it
_MAX_WARM_UP_BLOCKS, _MAX_WARM_UP_S = 20, 0.5
_MAX_WINDOWS = 256


@dataclass(frozen=True)
class Latency:
    """Latency per window in microseconds: input copied in, inference, logits read.

    Attributes:
        runs: Number of timed runs.
        min: Fastest run.
        p50: Median.
        p90: 90 % quantile.
        p99: 99 % quantile.
        low: Lower bound of the median's 95 % confidence interval.
        high: Its upper bound.
    """

    runs: int
    min: float
    p50: float
    p90: float
    p99: float
    low: float
    high: float

    def per_window(self, batch: int) -> Latency:
        """Return the latency per window of runs with `batch` windows."""
        times = (self.min, self.p50, self.p90, self.p99, self.low, self.high)
        return Latency(self.runs, *(value / batch for value in times))


@dataclass(frozen=True)
class Times:
    """Microseconds of every run by model: [sessions, rounds, runs of a block]. All models share the rounds."""

    by_model: dict[str, NDArray[np.float64]]

    def latency(self, name: str) -> Latency:
        """Return the latency of a model."""
        times = self.by_model[name]
        p50, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
        interval = median_interval(times)
        return Latency(times.size, float(times.min()), p50, p90, p99, interval.low, interval.high)

    def ratio(self, name: str, baseline: str) -> Interval:
        """Return the median of a model relative to that of `baseline`."""
        return ratio_interval(self.by_model[name], self.by_model[baseline])

    def round_medians(self, name: str) -> NDArray[np.float64]:
        """Return the median of each round, in the order of the rounds."""
        medians: NDArray[np.float64] = np.median(self.by_model[name], axis=2).ravel()
        return medians


def time_interleaved(
    models: Mapping[str, Model],
    windows: NDArray[np.float32],
    runs: int = 1000,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    batch: int = 1,
) -> dict[str, Latency]:
    """Measure the latency of loaded models in one session; for the arguments see `measure`."""
    times = measure(lambda: models, windows, runs, seed=seed, progress=progress, batch=batch)
    return {name: times.latency(name) for name in models}


def measure(
    load: Callable[[], Mapping[str, Model]],
    windows: NDArray[np.float32],
    runs: int = 1000,
    *,
    sessions: int = 1,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    batch: int = 1,
) -> Times:
    """Time models in alternating blocks.

    The addresses of a model's buffers change its speed by several percent as long as it is loaded. Intervals from one
    session would therefore be too narrow, and each session loads the models again.

    Args:
        load: Loads the models, by name; called once per session.
        windows: Inputs [n, window, channels]; all models run on the same ones.
        runs: Least number of timed runs per model.
        sessions: Number of sessions.
        seed: Seed of the order of models and windows.
        progress: Called with the number of finished runs per model.
        batch: Windows per run.

    Raises:
        InputError: `runs` is below 1, or there are fewer windows than one batch.
    """
    if runs < 1 or len(windows) < batch:
        raise InputError(
            f"latency needs at least one run and {batch} windows, got {runs} runs and {len(windows)} windows"
        )
    random = np.random.default_rng(seed)
    starts = range(0, min(len(windows) - batch + 1, _MAX_WINDOWS * batch), batch)
    batches = [np.ascontiguousarray(windows[start : start + batch]) for start in starts]
    rounds = -(-runs // (_BLOCK * sessions))
    blocks_of: dict[str, list[list[int]]] = {}
    gc_was_enabled = gc.isenabled()
    gc.disable()  # as timeit does: a collection would be counted as the model's time
    try:
        for session in range(sessions):
            models = load()
            for model in models.values():
                _warm_up(model, batches)
            for done in range(rounds):
                block = [batches[int(k)] for k in random.integers(len(batches), size=_BLOCK)]
                for name in random.permutation(list(models)):
                    blocks_of.setdefault(str(name), []).append(time_block(models[name], block))
                progress((session * rounds + done + 1) * _BLOCK)
    finally:
        if gc_was_enabled:
            gc.enable()
    # nanoseconds -> microseconds [sessions, rounds, runs of a block]
    return Times({name: np.array(times).reshape(sessions, rounds, _BLOCK) / 1000 for name, times in blocks_of.items()})


def time_block(model: Model, block: Sequence[NDArray[np.float32]]) -> list[int]:
    """Return the nanoseconds of each run, after a short warm-up.

    A model in another process has a method `time_block` of its own, so that its times contain no transfer.
    """
    if own := getattr(model, "time_block", None):
        return list(own(block))
    clock = time.perf_counter_ns
    for window in block[:_BLOCK_WARM_UP]:
        model(window)
    times = []
    for window in block:
        start = clock()
        model(window)
        times.append(clock() - start)
    return times


def _warm_up(model: Model, batches: list[NDArray[np.float32]]) -> None:
    """Run blocks until they get no faster: caches, branch prediction and the core's clock have settled."""
    block = [batches[k % len(batches)] for k in range(_BLOCK)]
    deadline = time.perf_counter() + _MAX_WARM_UP_S
    fastest = np.inf
    for _ in range(_MAX_WARM_UP_BLOCKS):
        median = float(np.median(time_block(model, block)))
        if median >= _STABLE * fastest or time.perf_counter() > deadline:
            return
        fastest = median
