"""Comparison of predictions: logits, probabilities, and values that are not finite."""

from __future__ import annotations

import numpy as np
import pytest

from harexport.errors import InputError
from harexport.evaluation import comparison
from harexport.evaluation.comparison import Predictions
from harexport.model.network import softmax

_LOGITS = np.random.default_rng(0).normal(0, 3, (300, 6))
_TRUTH = _LOGITS.argmax(axis=1)


def test_equal_predictions() -> None:
    one, other = Predictions("one", "logits", _LOGITS.astype(np.float32)), Predictions("other", "logits", _LOGITS)
    compared = comparison.compare(one, other, _TRUTH)
    assert compared.reference == "other"
    assert compared.max_logit_difference is not None
    assert 0 < compared.max_logit_difference < 1e-5
    assert (
        compared.agreement,
        compared.accuracy_drop,
        compared.regressions,
        compared.improvements,
        compared.p_value,
    ) == (1.0, 0.0, 0, 0, 1.0)
    assert compared.disagreements == ()


def test_disagreements_are_sorted_by_margin() -> None:
    changed = _LOGITS.copy()
    changed[:3] = np.roll(_LOGITS[:3], 1, axis=1)
    truth = _TRUTH.copy()
    truth[1] = changed[1].argmax()
    compared = comparison.compare(Predictions("new", "logits", changed), Predictions("old", "logits", _LOGITS), truth)
    assert (compared.regressions, compared.improvements) == (2, 1)
    assert compared.accuracy_drop == pytest.approx(100 / 300)
    assert {item.window for item in compared.disagreements} == {0, 1, 2}
    margins = [item.margin for item in compared.disagreements]
    assert margins == sorted(margins, reverse=True)
    for item in compared.disagreements:
        two_best = np.sort(_LOGITS[item.window])[-2:]
        assert item.margin == pytest.approx(two_best[1] - two_best[0])
        assert item.difference == pytest.approx(np.abs(changed - _LOGITS)[item.window].max())
        assert (item.reference, item.prediction) == (_LOGITS[item.window].argmax(), changed[item.window].argmax())
    assert compared.worst_window in (0, 1, 2)


def test_probabilities_are_compared_as_logarithms() -> None:
    probabilities = Predictions("p", "probabilities", softmax(_LOGITS).astype(np.float32))
    shifted = Predictions("l", "logits", _LOGITS + 7)  # softmax is invariant to a constant
    compared = comparison.compare(probabilities, shifted, _TRUTH)
    assert compared.quantity == "logarithms of probabilities"
    assert compared.max_logit_difference is not None
    assert compared.max_logit_difference < 1e-5
    figures, calibration = comparison.evaluate(probabilities, _TRUTH)
    assert figures.accuracy == 1.0
    assert calibration == pytest.approx(1 - softmax(_LOGITS).max(axis=1).mean(), abs=1e-6)


def test_a_probability_of_0_has_a_finite_logarithm() -> None:
    sure = np.zeros((300, 6), np.float32)
    sure[np.arange(300), _TRUTH] = 1
    compared = comparison.compare(
        Predictions("sure", "probabilities", sure), Predictions("l", "logits", _LOGITS), _TRUTH
    )
    assert compared.max_logit_difference is not None
    assert np.isfinite(compared.max_logit_difference)


def test_nan_is_reported() -> None:
    broken = _LOGITS.copy()
    broken[5] = np.nan
    nonfinite = Predictions("broken", "logits", broken)
    compared = comparison.compare(nonfinite, Predictions("l", "logits", _LOGITS), _TRUTH)
    assert compared.max_logit_difference is None
    assert comparison.evaluate(nonfinite, _TRUTH)[1] is None
    assert compared.worst_window == 5


def test_different_shapes_raise() -> None:
    with pytest.raises(InputError, match=r"one with other: .* \[300, 5\] and \[300, 6\]"):
        comparison.compare(
            Predictions("one", "logits", _LOGITS[:, :5]), Predictions("other", "logits", _LOGITS), _TRUTH
        )
