"""Classification and calibration figures, as the original printed them and as tables need them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of equal width, as Guo et al. 2017 have them


@dataclass(frozen=True)
class ClassificationMetrics:
    """Shares from 0 to 1; precision, recall and f1 are weighted by the windows of each label.

    `confusion[t][a]` counts windows of label t answered as a; `label_recall` is per label, in order.
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
    truth: NDArray[np.int64], answers: NDArray[np.integer], labels: int
) -> ClassificationMetrics:
    """Figures of `answers` [n] against `truth` [n], both from 0; a share of nothing is 0.

    The macro F1 is the mean over the labels that occur in either.
    As scikit-learn defines them (a test compares), whose import alone takes longer than a whole export.
    """
    matrix = np.bincount(truth * labels + answers, minlength=labels * labels).reshape(labels, labels)
    right, of_label, answered = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    recall, precision = _share(right, of_label), _share(right, answered)
    f1 = _share(2 * right, of_label + answered)
    weights = _share(of_label, np.full(labels, len(truth)))
    return ClassificationMetrics(
        windows=len(truth),
        accuracy=float(right.sum() / len(truth)),
        precision=float(weights @ precision),
        recall=float(weights @ recall),
        f1=float(weights @ f1),
        macro_f1=float(f1[of_label + answered > 0].mean()),
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
        label_recall=tuple(float(share) for share in recall),
    )


@dataclass(frozen=True)
class SubjectAccuracy:
    """How many windows a subject gave, and the share of them that was answered right, 0 to 1."""

    windows: int
    accuracy: float


def accuracy_by_subject(
    truth: NDArray[np.int64], answers: NDArray[np.integer], subjects: NDArray[np.int64]
) -> dict[int, SubjectAccuracy]:
    """Accuracy of the windows of each subject, by the subjects' numbers; all three [n]."""
    numbers, which, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    right = np.bincount(which, weights=truth == answers, minlength=len(numbers))
    return {
        int(subject): SubjectAccuracy(int(count), float(hits / count))
        for subject, count, hits in zip(numbers, counts, right, strict=True)
    }


def cross_entropy(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Mean of -log softmax(logits)[truth], in nats; logits [n, labels], truth [n]."""
    wide = logits.astype(np.float64)
    wide = wide - wide.max(axis=1, keepdims=True)
    return float((np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(len(truth)), truth]).mean())


@dataclass(frozen=True)
class Reliability:
    """Windows by their confidence, the largest probability: bin k holds those in (k/15, (k+1)/15].

    Of each bin: how many windows, how many of them answered right, the sum of their confidences [15].
    """

    windows: NDArray[np.int64]
    right: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error: how far confidence lies from accuracy, 0 to 1.

        Naeini et al. 2015, as Guo et al. 2017 (On calibration of modern neural networks) use it: the sum over the bins
        of |windows in it| / n * |share of them that is right - mean of their confidences|.
        """
        return float(np.abs(self.right - self.confidence).sum() / self.windows.sum())


def reliability(probabilities: NDArray[np.floating], truth: NDArray[np.int64]) -> Reliability:
    """The reliability diagram's numbers (Guo et al. 2017) of probabilities [n, labels] against truth [n]."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)
    sums = np.bincount(bins, weights=confidence, minlength=BINS).astype(np.float64)
    return Reliability(np.bincount(bins, minlength=BINS), np.bincount(bins[right], minlength=BINS), sums)


def calibration_error(probabilities: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """The expected calibration error (see `Reliability.error`) of probabilities [n, labels] against truth [n]."""
    return reliability(probabilities, truth).error


def _share(part: NDArray[np.integer], whole: NDArray[np.integer]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return shares


def format_report(figures: ClassificationMetrics, labels: tuple[str, ...]) -> str:
    """The final report of the published original: four figures, the matrix in counts and in % of the test data."""
    counts = np.array(figures.confusion)
    width = max(len(label) for label in labels)

    def matrix(values: NDArray[Any], form: str) -> list[str]:
        return [
            f"  {label:<{width}} " + " ".join(form.format(v) for v in row)
            for label, row in zip(labels, values, strict=True)
        ]

    lines = [
        f"Accuracy:  {figures.accuracy:.2%}",
        f"Precision: {figures.precision:.2%}   (weighted)",
        f"Recall:    {figures.recall:.2%}   (weighted)",
        f"F1 score:  {figures.f1:.2%}   (weighted)",
        "",
        f"Confusion matrix (rows: truth, columns: answer; {figures.windows} windows)",
        *matrix(counts, "{:5d}"),
        "",
        "The same in % of the test data",
        *matrix(100 * counts / max(1, figures.windows), "{:5.2f}"),
    ]
    return "\n".join(lines)
