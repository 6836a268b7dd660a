"""Metrics of classification and calibration."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of equal width, as in Guo et al. 2017


@dataclass(frozen=True)
class ClassificationMetrics:
    """Metrics as shares from 0 to 1.

    Attributes:
        windows: Number of windows.
        accuracy: Share of correct predictions.
        precision: Mean over labels, weighted by their number of windows.
        recall: Weighted likewise.
        f1: Weighted likewise.
        macro_f1: Unweighted mean over labels.
        confusion: Number of windows of label i predicted as label j, by [i][j].
        label_recall: By label.
    """

    windows: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    macro_f1: float
    confusion: tuple[tuple[int, ...], ...]
    label_recall: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def classification_metrics(
    y_true: NDArray[np.int64], y_pred: NDArray[np.integer], labels: int
) -> ClassificationMetrics:
    """Compute metrics as defined by scikit-learn, without its import, which takes longer than an export.

    Args:
        y_true: True labels [n], from 0.
        y_pred: Predicted labels [n], from 0.
        labels: Number of labels. The macro F1 is the mean over those that occur in either array; 0 / 0 is 0.
    """
    matrix = np.bincount(y_true * labels + y_pred, minlength=labels * labels).reshape(labels, labels)
    correct, true_count, predicted_count = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    recall, precision = _divide(correct, true_count), _divide(correct, predicted_count)
    f1 = _divide(2 * correct, true_count + predicted_count)
    weights = _divide(true_count, np.full(labels, len(y_true)))
    return ClassificationMetrics(
        windows=len(y_true),
        accuracy=float(correct.sum() / len(y_true)),
        precision=float(weights @ precision),
        recall=float(weights @ recall),
        f1=float(weights @ f1),
        macro_f1=float(f1[true_count + predicted_count > 0].mean()),
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
        label_recall=tuple(float(share) for share in recall),
    )


def find_label_order(metrics: ClassificationMetrics) -> tuple[tuple[int, ...], float]:
    """Find the permutation of predicted labels with the highest accuracy.

    Args:
        metrics: Of a model whose outputs may be in another order than the labels.

    Returns:
        The label of each output, and the accuracy with this order.
    """
    from scipy.optimize import linear_sum_assignment

    confusion = np.array(metrics.confusion)  # [true label, output]
    outputs, labels = linear_sum_assignment(confusion.T, maximize=True)
    return tuple(int(label) for label in labels), float(confusion[labels, outputs].sum() / metrics.windows)


@dataclass(frozen=True)
class SubjectAccuracy:
    """Number of windows of a subject, and the accuracy on them."""

    windows: int
    accuracy: float


def accuracy_by_subject(
    y_true: NDArray[np.int64], y_pred: NDArray[np.integer], subjects: NDArray[np.int64]
) -> dict[int, SubjectAccuracy]:
    """Return the accuracy of each subject, by its number; all arguments are [n]."""
    numbers, index, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    correct = np.bincount(index, weights=y_true == y_pred, minlength=len(numbers))
    return {
        int(subject): SubjectAccuracy(int(count), float(hits / count))
        for subject, count, hits in zip(numbers, counts, correct, strict=True)
    }


def cross_entropy(logits: NDArray[np.floating], y_true: NDArray[np.int64]) -> float:
    """Return the mean of -log softmax(logits)[y_true] in nats; logits [n, labels], y_true [n]."""
    shifted = logits.astype(np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y_true)), y_true]).mean())


@dataclass(frozen=True)
class Reliability:
    """Windows binned by their confidence, the largest probability. Bin k is (k/15, (k+1)/15].

    Attributes:
        windows: Number of windows per bin.
        right: Number of correct predictions per bin.
        confidence: Sum of the confidences per bin.
    """

    windows: NDArray[np.int64]
    right: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, On calibration of modern neural networks).

        The sum over all bins of |windows in the bin| / n * |accuracy in the bin - mean confidence in the bin|.
        """
        return float(np.abs(self.right - self.confidence).sum() / self.windows.sum())


def reliability(probabilities: NDArray[np.floating], y_true: NDArray[np.int64]) -> Reliability:
    """Bin predictions for a reliability diagram; probabilities [n, labels], y_true [n]."""
    confidence = probabilities.max(axis=1)
    is_correct = probabilities.argmax(axis=1) == y_true
    bins = np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)
    sums = np.bincount(bins, weights=confidence, minlength=BINS).astype(np.float64)
    return Reliability(np.bincount(bins, minlength=BINS), np.bincount(bins[is_correct], minlength=BINS), sums)


def calibration_error(probabilities: NDArray[np.floating], y_true: NDArray[np.int64]) -> float:
    """Return the expected calibration error of probabilities [n, labels] for labels y_true [n]."""
    return reliability(probabilities, y_true).error


def _divide(numerator: NDArray[np.integer], denominator: NDArray[np.integer]) -> NDArray[np.float64]:
    quotient: NDArray[np.float64] = np.divide(
        numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0
    )
    return quotient


def format_report(metrics: ClassificationMetrics, labels: tuple[str, ...]) -> str:
    """Return a text report: four metrics, and the confusion matrix in counts and in percent of all windows."""
    counts = np.array(metrics.confusion)
    width = max(len(label) for label in labels)

    def matrix(values: NDArray[Any], pattern: str) -> list[str]:
        return [
            f"  {label:<{width}} " + " ".join(pattern.format(v) for v in row)
            for label, row in zip(labels, values, strict=True)
        ]

    lines = [
        f"Accuracy:  {metrics.accuracy:.2%}",
        f"Precision: {metrics.precision:.2%}   (weighted)",
        f"Recall:    {metrics.recall:.2%}   (weighted)",
        f"F1 score:  {metrics.f1:.2%}   (weighted)",
        "",
        f"Confusion matrix (rows: true label, columns: predicted label; {metrics.windows} windows)",
        *matrix(counts, "{:5d}"),
        "",
        "In % of all windows",
        *matrix(100 * counts / max(1, metrics.windows), "{:5.2f}"),
    ]
    return "\n".join(lines)
