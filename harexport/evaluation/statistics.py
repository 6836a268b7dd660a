"""What may be said of measured numbers: intervals by resampling, McNemar's test. Formulas with source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A number and the bounds that hold it with 95 % confidence."""

    value: float
    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        return self.low <= other.high and other.low <= self.high


def median_interval(times: NDArray[np.float64], seed: int = 0) -> Interval:
    """The median of times [sittings, rounds, runs] with its percentile-bootstrap interval."""
    return _interval(float(np.median(times)), _medians(times, seed), _independent(times))


def ratio_interval(above: NDArray[np.float64], below: NDArray[np.float64], seed: int = 0) -> Interval:
    """The ratio of two medians. Both [sittings, rounds, runs] of one interleaved run: they are drawn in pairs, so that
    what slowed down both, cancels out."""
    value = float(np.median(above) / np.median(below))
    return _interval(value, _medians(above, seed) / _medians(below, seed), _independent(above))


def _interval(value: float, drawn: NDArray[np.float64], independent: int) -> Interval:
    """The percentile interval, expanded because so few independent numbers were drawn from: alone, percentiles are as
    narrow as if their spread were known (Hesterberg, What teachers should know about the bootstrap, 2015).

    In the place of 2.5 %: Phi(-sqrt(n / (n - 1)) t), t being Student's 97.5 % quantile at n - 1 degrees of freedom.
    """
    t = _student(independent - 1)
    tail = NormalDist().cdf(-math.sqrt(independent / (independent - 1)) * t) if independent > 1 else 0.0
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def _independent(times: NDArray[np.float64]) -> int:
    """How many numbers that have nothing to do with each other an interval rests on: sittings, else blocks."""
    sittings, rounds = int(times.shape[0]), int(times.shape[1])
    return sittings if sittings > 1 else -(-rounds // _block(rounds))


def _student(freedom: int) -> float:
    """Student's (1 + CONFIDENCE) / 2 quantile, by Abramowitz & Stegun 26.7.5: within 1 % from 3 degrees on."""
    if freedom < 1:
        return math.inf
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / float(freedom) ** k for k, term in enumerate(terms, 1))


def _block(rounds: int) -> int:
    return max(1, round(math.sqrt(rounds)))


def _medians(times: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    drawn = resamples(times.shape[0], times.shape[1], seed)
    return np.array([np.median(times[sittings, rounds]) for sittings, rounds in drawn])


def resamples(sittings: int, rounds: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """DRAWS times the indices of sittings * rounds rounds, drawn on two levels.

    First sittings (each loaded the models anew: Kalibera & Jones, Rigorous benchmarking in reasonable time, 2013, draw
    from the outermost level on), then in each of them circular blocks of about sqrt(rounds) rounds in a row
    (Politis & Romano 1992), because a machine that drifts is not drawn anew every round.
    """
    random = np.random.default_rng(seed)
    block = _block(rounds)
    blocks = -(-rounds // block)
    for _ in range(DRAWS):
        chosen = random.integers(sittings, size=sittings)
        starts = random.integers(rounds, size=(sittings, blocks, 1))
        within = (starts + np.arange(block)).reshape(sittings, -1)[:, :rounds] % rounds
        yield np.repeat(chosen, rounds), within.ravel()


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of "both are right equally often", from the windows that only one got right.

    McNemar 1947 in its exact form: under that hypothesis each such window is a fair coin, so
    p = min(1, 2 P[Binomial(b + c, 1/2) <= min(b, c)]). Windows that overlap are no independent coins: on UCI HAR, where
    neighbours share half their samples, read p as a lower bound.
    """
    coins, fewer = only_first + only_second, min(only_first, only_second)
    return min(1.0, float(2 * sum(math.comb(coins, k) for k in range(fewer + 1)) / 2**coins))
