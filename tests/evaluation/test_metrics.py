"""Metrics: published figures, comparison with scikit-learn, and calibration by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harexport.evaluation import metrics
from harexport.model.contract import LABELS

_PUBLISHED = np.array(
    [
        [430, 24, 42, 0, 0, 0],
        [5, 427, 39, 0, 0, 0],
        [6, 5, 409, 0, 0, 0],
        [17, 6, 4, 414, 50, 0],
        [9, 0, 0, 103, 420, 0],
        [0, 20, 7, 0, 0, 510],
    ]
)  # of the published run with 88.56 %


def _published() -> metrics.ClassificationMetrics:
    truth, predicted = (np.repeat(axis.ravel(), _PUBLISHED.ravel()) for axis in np.indices((6, 6)))
    return metrics.classification_metrics(truth, predicted, 6)


def test_the_published_matrix_gives_the_published_figures() -> None:
    figures = _published()
    assert figures.windows == 2947
    np.testing.assert_array_equal(figures.confusion, _PUBLISHED)
    # published: 88.56 %, weighted precision 88.99, recall 88.56, F1 88.58; printed cut off, not rounded
    for value, published in ((figures.accuracy, 88.56), (figures.precision, 88.99), (figures.f1, 88.58)):
        assert abs(100 * value - published) < 0.01
    assert figures.recall == figures.accuracy
    np.testing.assert_allclose(figures.label_recall, _PUBLISHED.diagonal() / _PUBLISHED.sum(axis=1))


def test_the_report_holds_counts_and_percent_of_the_test_data() -> None:
    text = metrics.format_report(_published(), LABELS)
    assert "Accuracy:  88.56%" in text or "Accuracy:  88.57%" in text
    assert "  WALKING              430    24    42     0     0     0" in text
    assert "  WALKING            14.59  0.81  1.43  0.00  0.00  0.00" in text


def test_a_label_that_never_occurs_counts_nothing() -> None:
    figures = metrics.classification_metrics(np.array([0, 1, 1]), np.array([0, 1, 0]), 3)
    assert figures.label_recall == (1.0, 0.5, 0.0)
    assert np.isfinite([figures.precision, figures.f1]).all()
    from sklearn.metrics import f1_score  # imported where it is used: it takes 2 s

    assert figures.macro_f1 == pytest.approx(f1_score([0, 1, 1], [0, 1, 0], average="macro"))  # of 0 and 1


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_those_of_scikit_learn(seed: int) -> None:
    from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, recall_score

    random = np.random.default_rng(seed)
    truth = random.integers(0, 5, 200)
    predicted = np.where(random.random(200) < 0.7, truth, random.integers(0, 6, 200))
    every = list(range(6))  # label 5 never occurs, and is sometimes predicted
    figures = metrics.classification_metrics(truth, predicted, 6)
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, labels=every, average="weighted", zero_division=0
    )
    assert np.allclose([figures.precision, figures.recall, figures.f1], [precision, recall, f1])
    assert np.isclose(figures.macro_f1, f1_score(truth, predicted, labels=every, average="macro", zero_division=0))
    assert np.array_equal(figures.confusion, confusion_matrix(truth, predicted, labels=every))
    assert np.allclose(
        figures.label_recall, recall_score(truth, predicted, labels=every, average=None, zero_division=0)
    )


def test_calibration_error_by_hand() -> None:
    # confidence 0.9 three times, right twice; 0.6 twice, right once: (3 |2/3 - 0.9| + 2 |1/2 - 0.6|) / 5
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6]])
    truth = np.array([0, 0, 0, 0, 0])
    assert metrics.calibration_error(probabilities, truth) == pytest.approx(
        (3 * abs(2 / 3 - 0.9) + 2 * abs(0.5 - 0.6)) / 5
    )


def test_calibration_error_is_small_for_a_calibrated_model_and_large_for_an_overconfident_one() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1.0, 20_000)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    fair = (random.uniform(size=20_000) > confidence).astype(np.int64)
    assert metrics.calibration_error(probabilities, fair) < 0.015
    assert metrics.calibration_error(np.array([[1.0, 0.0]] * 100), np.arange(100) % 2) == pytest.approx(0.5)


def test_the_bins_of_a_reliability_curve_hold_every_window_once() -> None:
    # 0.4 is in (5/15, 6/15], 14/15 in the bin that ends there, 1.0 in the last one
    probabilities = np.array([[0.4, 0.3, 0.3], [14 / 15, 1 / 15, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    found = metrics.reliability(probabilities, np.array([1, 0, 0, 1]))
    assert {k: int(count) for k, count in enumerate(found.windows) if count} == {5: 1, 13: 1, 14: 2}
    assert found.right.tolist() == [0] * 13 + [1, 1]
    np.testing.assert_allclose(found.confidence[[5, 13, 14]], [0.4, 14 / 15, 2.0])
    assert found.error == pytest.approx((0.4 + 1 / 15 + 1.0) / 4)


def test_every_subject_has_its_own_accuracy() -> None:
    truth, predicted = np.array([0, 1, 2, 0, 1]), np.array([0, 1, 0, 0, 0])
    found = metrics.accuracy_by_subject(truth, predicted, np.array([9, 9, 2, 9, 2]))
    assert found == {2: metrics.SubjectAccuracy(2, 0.0), 9: metrics.SubjectAccuracy(3, 1.0)}
    assert list(found) == [2, 9]
