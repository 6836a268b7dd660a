"""Parity says passed only where the promise was kept."""

from __future__ import annotations

import numpy as np
import pytest

from harexport.errors import InputError
from harexport.evaluation.comparison import compare_logits


def _case(windows: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Logits with a clear answer (margin of at least 1), and the truth they are right about in 90 %."""
    rng = np.random.default_rng(0)
    best = rng.integers(6, size=windows)
    logits = rng.uniform(-1, 0, size=(windows, 6))
    logits[np.arange(windows), best] += 2
    truth = np.where(np.arange(windows) % 10 == 0, (best + 1) % 6, best)
    return logits, truth


def test_the_same_answers_pass_every_scheme() -> None:
    logits, truth = _case()
    for scheme in ("torch", "float32", "int8-weights"):
        parity = compare_logits(logits, logits.astype(np.float32), truth, scheme)
        assert parity.passed
        assert (parity.agreement, parity.drop, parity.windows) == (1.0, 0.0, 1000)
        assert parity.accuracy == 0.9
        assert 0 < parity.max_logit_difference < 1e-6


def test_the_largest_difference_decides_for_floats() -> None:
    logits, truth = _case()
    off = logits.copy()
    off[123, 4] += 2e-4
    parity = compare_logits(logits, off, truth, "float32")
    assert not parity.passed
    assert "window 123" in parity.failures[0]
    assert parity.p999_logit_difference == 0.0
    off[123, 4] = logits[123, 4] + 5e-5
    assert compare_logits(logits, off, truth, "float32").passed
    assert not compare_logits(logits, off, truth, "torch").passed
    # torch's promise grows with the logits, a file's does not
    assert compare_logits(30 * logits, 30 * logits + 3e-4, truth, "torch").passed
    assert not compare_logits(30 * logits, 30 * logits + 3e-3, truth, "torch").passed
    assert not compare_logits(30 * logits, 30 * logits + 3e-4, truth, "float32").passed


def test_a_tie_may_fall_either_way_and_nothing_else() -> None:
    logits, truth = _case()
    answer, truth = logits.argmax(axis=1)[7], truth.copy()
    truth[7] = answer
    logits[7] = -1
    logits[7, answer], logits[7, (answer + 1) % 6] = 1.0, 1.0 - 1e-5
    other = logits.copy()
    other[7, (answer + 1) % 6] += 4e-5
    parity = compare_logits(logits, other, truth, "float32")
    assert parity.agreement == 0.999
    assert parity.drop > 0
    assert parity.passed
    assert not compare_logits(logits, np.roll(logits, 1, axis=0), truth, "float32").passed


def test_int8_weights_are_judged_by_accuracy_and_agreement() -> None:
    logits, truth = _case()
    noisy = logits + np.random.default_rng(1).normal(scale=0.01, size=logits.shape)
    assert compare_logits(logits, noisy, truth, "int8-weights").passed
    right = np.flatnonzero(logits.argmax(axis=1) == truth)
    for count, passes in ((2, True), (3, False)):  # 0.2 and 0.3 points of 1000 windows
        worse = logits.copy()
        worse[right[:count]] = np.roll(worse[right[:count]], 1, axis=1)
        parity = compare_logits(logits, worse, truth, "int8-weights")
        assert parity.passed is passes
        assert parity.drop == pytest.approx(count / 10)
    lost = logits.copy()
    wrong = np.flatnonzero(logits.argmax(axis=1) != truth)[:11]
    lost[wrong] = np.roll(lost[wrong], 3, axis=1)  # accuracy does not drop, 1.1 % of the answers differ
    assert "98.90% of the answers agree" in compare_logits(logits, lost, truth, "int8-weights").failures[0]


def test_nan_fails_whatever_the_scheme() -> None:
    logits, truth = _case()
    broken = logits.copy()
    broken[3, 1] = np.nan
    for scheme in ("torch", "float32", "int8-weights"):
        assert "1 windows answered with NaN" in compare_logits(logits, broken, truth, scheme).failures[0]


def test_unknown_scheme_and_other_shapes_are_refused() -> None:
    logits, truth = _case()
    with pytest.raises(InputError, match="torch, float32, float16, int8-weights, int8"):
        compare_logits(logits, logits, truth, "int4")
    with pytest.raises(InputError, match=r"\(1000, 5\), its reference \(1000, 6\)"):
        compare_logits(logits, logits[:, :5], truth, "float32")
