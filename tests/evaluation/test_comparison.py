"""Answers beside answers: logits with logits, probabilities with logits, and what is not a number."""

from __future__ import annotations

import numpy as np
import pytest

from harexport.errors import InputError
from harexport.evaluation import comparison
from harexport.evaluation.comparison import Predictions
from harexport.model.network import softmax

_LOGITS = np.random.default_rng(0).normal(0, 3, (300, 6))
_TRUTH = _LOGITS.argmax(axis=1)


def test_the_same_answers_are_the_same() -> None:
    one, other = Predictions("one", "logits", _LOGITS.astype(np.float32)), Predictions("other", "logits", _LOGITS)
    compared = comparison.compare(one, other, _TRUTH)
    assert compared.to == "other"
    assert compared.max_logit_difference is not None
    assert 0 < compared.max_logit_difference < 1e-5
    assert (compared.agreement, compared.drop, compared.lost, compared.won, compared.p_value) == (1.0, 0.0, 0, 0, 1.0)
    assert compared.disagreements == ()


def test_disagreements_are_listed_by_how_clear_the_decision_was() -> None:
    changed = _LOGITS.copy()
    changed[:3] = np.roll(_LOGITS[:3], 1, axis=1)
    truth = _TRUTH.copy()
    truth[1] = changed[1].argmax()
    compared = comparison.compare(Predictions("new", "logits", changed), Predictions("old", "logits", _LOGITS), truth)
    assert (compared.lost, compared.won) == (2, 1)
    assert compared.drop == pytest.approx(100 / 300)
    assert {one.window for one in compared.disagreements} == {0, 1, 2}
    margins = [one.margin for one in compared.disagreements]
    assert margins == sorted(margins, reverse=True)
    for one in compared.disagreements:
        two_best = np.sort(_LOGITS[one.window])[-2:]
        assert one.margin == pytest.approx(two_best[1] - two_best[0])
        assert one.difference == pytest.approx(np.abs(changed - _LOGITS)[one.window].max())
        assert (one.reference, one.answer) == (_LOGITS[one.window].argmax(), changed[one.window].argmax())
    assert comparison.worst_window(Predictions("new", "logits", changed), Predictions("old", "logits", _LOGITS)) in (0, 1, 2)


def test_probabilities_are_compared_by_their_logarithms() -> None:
    probabilities = Predictions("p", "probabilities", softmax(_LOGITS).astype(np.float32))
    shifted = Predictions("l", "logits", _LOGITS + 7)  # what all labels share says nothing
    compared = comparison.compare(probabilities, shifted, _TRUTH)
    assert compared.of == "logarithms of probabilities"
    assert compared.max_logit_difference is not None
    assert compared.max_logit_difference < 1e-5
    figures, calibration = comparison.evaluate(probabilities, _TRUTH)
    assert figures.accuracy == 1.0
    assert calibration == pytest.approx(1 - softmax(_LOGITS).max(axis=1).mean(), abs=1e-6)


def test_a_probability_of_nought_is_no_infinity() -> None:
    sure = np.zeros((300, 6), np.float32)
    sure[np.arange(300), _TRUTH] = 1
    compared = comparison.compare(Predictions("sure", "probabilities", sure), Predictions("l", "logits", _LOGITS), _TRUTH)
    assert compared.max_logit_difference is not None
    assert np.isfinite(compared.max_logit_difference)


def test_nan_is_said_and_not_hidden() -> None:
    broken = _LOGITS.copy()
    broken[5] = np.nan
    answers = Predictions("broken", "logits", broken)
    compared = comparison.compare(answers, Predictions("l", "logits", _LOGITS), _TRUTH)
    assert compared.max_logit_difference is None
    assert comparison.evaluate(answers, _TRUTH)[1] is None
    assert comparison.worst_window(answers, Predictions("l", "logits", _LOGITS)) == 5


def test_other_labels_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="one answers 5 labels, other 6"):
        comparison.compare(Predictions("one", "logits", _LOGITS[:, :5]), Predictions("other", "logits", _LOGITS), _TRUTH)
