"""Intervals and tests, compared with scipy, by hand, and on simulated data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from harexport.evaluation.statistics import mcnemar_p_value, median_interval, ratio_interval


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (0, 4), (4, 0), (1, 1), (5, 12), (150, 17), (300, 310)]
)
def test_mcnemar_is_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    expected = binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
    assert mcnemar_p_value(only_first, only_second) == pytest.approx(expected, rel=1e-9)


def test_intervals_contain_the_true_median_in_about_95_percent() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for seed in range(60):
        # each session and each round has noise of its own, as on a real machine
        times = 100 + random.normal(0, 2, (8, 1, 1)) + random.normal(0, 1, (8, 5, 1)) + random.normal(0, 1, (8, 5, 25))
        interval = median_interval(times, seed)
        covered += interval.low <= 100 <= interval.high
    assert covered >= 54, "of 60; 95 % would be 57"


def test_drift_widens_the_interval() -> None:
    random = np.random.default_rng(2)
    rounds = np.linspace(95, 105, 40)
    noise = random.normal(0, 0.1, (1, 40, 25))
    drifting = median_interval(rounds[None, :, None] + noise)
    shuffled = median_interval(random.permutation(rounds)[None, :, None] + noise)
    assert drifting.high - drifting.low > 1.3 * (shuffled.high - shuffled.low)


def test_common_noise_cancels_out_of_the_ratio() -> None:
    random = np.random.default_rng(3)
    speed = random.uniform(1, 2, (4, 10, 1))
    one, two = speed * 10 + random.normal(0, 0.05, (4, 10, 25)), speed * 20 + random.normal(0, 0.05, (4, 10, 25))
    ratio, alone = ratio_interval(two, one), median_interval(one)
    assert ratio.low <= 2 <= ratio.high
    assert ratio.high - ratio.low < 0.05
    assert alone.high - alone.low > 1


def test_interval_of_constant_times_is_empty() -> None:
    interval = median_interval(np.full((1, 1, 25), 7.0))
    assert (interval.low, interval.value, interval.high) == (7.0, 7.0, 7.0)
