"""Tolerances: which differences from the reference each scheme allows."""

from __future__ import annotations

import numpy as np
import pytest

from harexport.errors import InputError
from harexport.evaluation.comparison import Comparison, Predictions, check_tolerance, compare


def _case(windows: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return logits with a margin of at least 1, and labels for which they are correct in 90 % of the windows."""
    rng = np.random.default_rng(0)
    best = rng.integers(6, size=windows)
    logits = rng.uniform(-1, 0, size=(windows, 6))
    logits[np.arange(windows), best] += 2
    truth = np.where(np.arange(windows) % 10 == 0, (best + 1) % 6, best)
    return logits, truth


def _compare(reference: np.ndarray, logits: np.ndarray, truth: np.ndarray) -> Comparison:
    return compare(Predictions("model", "logits", logits), Predictions("reference", "logits", reference), truth)


def _check(reference: np.ndarray, logits: np.ndarray, truth: np.ndarray, scheme: str) -> tuple[str, ...]:
    return check_tolerance(_compare(reference, logits, truth), scheme)


def test_equal_predictions_pass_every_scheme() -> None:
    logits, truth = _case()
    compared = _compare(logits, logits.astype(np.float32), truth)
    assert (compared.agreement, compared.accuracy_drop, compared.num_windows) == (1.0, 0.0, 1000)
    assert compared.max_logit_difference is not None
    assert 0 < compared.max_logit_difference < 1e-6
    for scheme in ("torch", "float32", "int8-weights"):
        assert check_tolerance(compared, scheme) == ()


def test_float_schemes_limit_the_largest_difference() -> None:
    logits, truth = _case()
    off = logits.copy()
    off[123, 4] += 2e-4
    compared = _compare(logits, off, truth)
    (failure,) = check_tolerance(compared, "float32")
    assert "window 123" in failure
    assert compared.p999_logit_difference == 0.0
    off[123, 4] = logits[123, 4] + 5e-5
    assert not _check(logits, off, truth, "float32")
    assert _check(logits, off, truth, "torch")
    # the tolerance of torch grows with logits of this size, that of float32 with larger ones
    assert not _check(30 * logits, 30 * logits + 3e-4, truth, "torch")
    assert _check(30 * logits, 30 * logits + 3e-3, truth, "torch")
    assert _check(30 * logits, 30 * logits + 3e-4, truth, "float32")


def test_only_a_tie_may_change_the_predicted_label() -> None:
    logits, truth = _case()
    best, truth = logits.argmax(axis=1)[7], truth.copy()
    truth[7] = best
    logits[7] = -1
    logits[7, best], logits[7, (best + 1) % 6] = 1.0, 1.0 - 1e-5
    other = logits.copy()
    other[7, (best + 1) % 6] += 4e-5
    compared = _compare(logits, other, truth)
    assert compared.agreement == 0.999
    assert compared.accuracy_drop > 0
    assert not check_tolerance(compared, "float32")
    assert _check(logits, np.roll(logits, 1, axis=0), truth, "float32")


def test_more_disagreements_than_the_json_lists_are_checked() -> None:
    logits, truth = _case()
    failures = _check(logits, np.roll(logits, 1, axis=1), truth, "float32")
    assert any(failure.startswith("the predicted label of 1000 windows differs") for failure in failures)


def test_int8_weights_are_checked_by_accuracy_and_agreement() -> None:
    logits, truth = _case()
    noisy = logits + np.random.default_rng(1).normal(scale=0.01, size=logits.shape)
    assert not _check(logits, noisy, truth, "int8-weights")
    right = np.flatnonzero(logits.argmax(axis=1) == truth)
    for count, passes in ((2, True), (3, False)):  # 0.2 and 0.3 points of 1000 windows
        worse = logits.copy()
        worse[right[:count]] = np.roll(worse[right[:count]], 1, axis=1)
        compared = _compare(logits, worse, truth)
        assert (not check_tolerance(compared, "int8-weights")) is passes
        assert compared.accuracy_drop == pytest.approx(count / 10)
        assert not check_tolerance(compared, "int8-weights", max_drop=0.3)
    changed = logits.copy()
    wrong = np.flatnonzero(logits.argmax(axis=1) != truth)[:11]
    changed[wrong] = np.roll(changed[wrong], 3, axis=1)  # same accuracy, 1.1 % of the predictions differ
    assert "98.90% of the predictions agree" in _check(logits, changed, truth, "int8-weights")[0]


def test_nan_fails_every_scheme() -> None:
    logits, truth = _case()
    broken = logits.copy()
    broken[3, 1] = np.nan
    for scheme in ("torch", "float32", "int8-weights"):
        assert "logits of 1 windows are NaN" in _check(logits, broken, truth, scheme)[0]


def test_an_unknown_scheme_raises() -> None:
    logits, truth = _case()
    with pytest.raises(InputError, match="torch, float32, float16, int8-weights, int8"):
        _check(logits, logits, truth, "int4")
