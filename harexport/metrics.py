"""Classification figures, as the original printed them and as tables need them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Figures:
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


def classify(truth: NDArray[np.int64], answers: NDArray[np.integer], labels: int) -> Figures:
    """Figures of `answers` [n] against `truth` [n], both from 0; a share of nothing is 0.

    As scikit-learn defines them (a test compares), whose import alone takes longer than a whole export.
    """
    matrix = np.bincount(truth * labels + answers, minlength=labels * labels).reshape(labels, labels)
    right, of_label, answered = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    recall, precision = _share(right, of_label), _share(right, answered)
    f1 = _share(2 * right, of_label + answered)
    weights = _share(of_label, np.full(labels, len(truth)))
    return Figures(
        windows=len(truth),
        accuracy=float(right.sum() / len(truth)),
        precision=float(weights @ precision),
        recall=float(weights @ recall),
        f1=float(weights @ f1),
        macro_f1=float(f1.mean()),
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
        label_recall=tuple(float(share) for share in recall),
    )


def _share(part: NDArray[np.integer], whole: NDArray[np.integer]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return shares


def report(figures: Figures, labels: tuple[str, ...]) -> str:
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
