"""Confidence intervals and significance tests."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def median_interval(times: NDArray[np.float64], seed: int = 0) -> Interval:
    """Return the median of times [sessions, rounds, runs] with its percentile bootstrap interval."""
    return _interval(float(np.median(times)), _resampled_medians(times, seed), _num_independent(times))


def ratio_interval(numerator: NDArray[np.float64], denominator: NDArray[np.float64], seed: int = 0) -> Interval:
    """Return the ratio of two medians with its interval.

    Args:
        numerator: Times [sessions, rounds, runs].
        denominator: Times of the same shape from the same interleaved run. Both are resampled in pairs, so that noise
            that affects both cancels out.
        seed: Seed of the resampling.
    """
    value = float(np.median(numerator) / np.median(denominator))
    ratios = _resampled_medians(numerator, seed) / _resampled_medians(denominator, seed)
    return _interval(value, ratios, _num_independent(numerator))


def _interval(value: float, resampled: NDArray[np.float64], independent: int) -> Interval:
    """Return the expanded percentile interval (Hesterberg, What teachers should know about the bootstrap, 2015).

    Plain percentiles are too narrow for few independent values. Instead of 2.5 % the tail is
    Phi(-sqrt(n / (n - 1)) t), where t is Student's 97.5 % quantile with n - 1 degrees of freedom.
    """
    from scipy import stats

    tail = 0.0
    if independent > 1:
        t = stats.t.ppf((1 + CONFIDENCE) / 2, independent - 1)
        tail = float(stats.norm.cdf(-math.sqrt(independent / (independent - 1)) * t))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def _num_independent(times: NDArray[np.float64]) -> int:
    """Return the number of independent values: of sessions, or of blocks if there is one session."""
    sessions, rounds = int(times.shape[0]), int(times.shape[1])
    return sessions if sessions > 1 else -(-rounds // _block_length(rounds))


def _block_length(rounds: int) -> int:
    return max(1, round(math.sqrt(rounds)))


def _resampled_medians(times: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    indices = resample_indices(times.shape[0], times.shape[1], seed)
    return np.array([np.median(times[sessions, rounds]) for sessions, rounds in indices])


def resample_indices(sessions: int, rounds: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the indices of RESAMPLES two-level bootstrap samples.

    The first level draws sessions, each of which loads the models again (Kalibera & Jones, Rigorous benchmarking in
    reasonable time, 2013). The second draws circular blocks of about sqrt(rounds) consecutive rounds in each of them
    (Politis & Romano 1992), because the noise of consecutive rounds is correlated.

    Yields:
        Session and round of each of the sessions * rounds drawn rounds.
    """
    random = np.random.default_rng(seed)
    block = _block_length(rounds)
    blocks = -(-rounds // block)
    for _ in range(RESAMPLES):
        chosen = random.integers(sessions, size=sessions)
        starts = random.integers(rounds, size=(sessions, blocks, 1))
        within = (starts + np.arange(block)).reshape(sessions, -1)[:, :rounds] % rounds
        yield np.repeat(chosen, rounds), within.ravel()


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of the exact McNemar test (McNemar 1947).

    The null hypothesis is that both models are correct equally often. Test windows that overlap are not independent:
    in UCI HAR neighbors share half of their samples, so the value is a lower bound.

    Args:
        only_first: Windows that only the first model classifies correctly.
        only_second: Windows that only the second model classifies correctly.
    """
    from scipy import stats

    discordant = only_first + only_second
    return float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
