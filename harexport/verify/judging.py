"""A model's answers beside those of another: how far apart, which windows, and whether the difference is chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harexport import metrics
from harexport.errors import InputError
from harexport.network import softmax
from harexport.verify.result import Comparison, Disagreement
from harexport.verify.statistics import mcnemar

Kind = Literal["logits", "probabilities"]

_LISTED = 100  # disagreements in a result; what their count says, the list need not
_MARGINS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75)
_SMALLEST = float(np.finfo(np.float32).tiny)  # a probability of 0 still has a logarithm


@dataclass(frozen=True)
class Answers:
    """What a model answered to the test windows: values [n, labels], logits or probabilities."""

    name: str
    kind: Kind
    values: NDArray[np.floating]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The answer to each window; that of a window answered with NaN is the label whose number is NaN."""
        answers: NDArray[np.int64] = self.values.argmax(axis=1)
        return answers

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return softmax(self.values) if self.kind == "logits" else self.values.astype(np.float64)

    def logarithms(self) -> NDArray[np.float64]:
        """Logarithms of the probabilities: logits less what all labels share."""
        wide = self.values.astype(np.float64)
        if self.kind == "probabilities":
            logarithms: NDArray[np.float64] = np.log(np.maximum(wide, _SMALLEST))
            return logarithms
        shifted: NDArray[np.float64] = wide - wide.max(axis=1, keepdims=True)
        shares: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return shares


def figures(answers: Answers, truth: NDArray[np.int64]) -> tuple[metrics.Figures, float | None]:
    """Accuracy, F1, recalls, confusion; and the calibration error, None where answers are not all numbers."""
    counted = metrics.classify(truth, answers.labels, answers.values.shape[1])
    finite = bool(np.isfinite(answers.values).all())
    return counted, metrics.calibration_error(answers.probabilities, truth) if finite else None


def compare(answers: Answers, other: Answers, truth: NDArray[np.int64]) -> Comparison:
    """`answers` beside those of `other`, for windows with these labels. Raises InputError for another shape."""
    if answers.values.shape != other.values.shape:
        raise InputError(
            f"{answers.name} answers {answers.values.shape[1]} labels, {other.name} {other.values.shape[1]}: they "
            "cannot be compared"
        )
    of: Kind = "logits" if answers.kind == other.kind == "logits" else "probabilities"
    if of == "logits":
        ours, theirs = answers.values.astype(np.float64), other.values.astype(np.float64)
    else:
        ours, theirs = answers.logarithms(), other.logarithms()
    difference = np.abs(ours - theirs)
    finite = bool(np.isfinite(difference).all())
    given, expected = answers.labels, other.labels
    two_best = np.sort(theirs, axis=1)[:, -2:]
    margin: NDArray[np.float64] = np.nan_to_num(two_best[:, 1] - two_best[:, 0])
    lost, won = (expected == truth) & (given != truth), (given == truth) & (expected != truth)
    apart = np.flatnonzero(given != expected)
    furthest: NDArray[np.float64] = np.nan_to_num(difference.max(axis=1), nan=float(np.finfo(np.float32).max))
    clearest = apart[np.argsort(-margin[apart], kind="stable")][:_LISTED]
    return Comparison(
        to=other.name,
        of="logits" if of == "logits" else "logarithms of probabilities",
        max_logit_difference=float(difference.max()) if finite else None,
        p999_logit_difference=float(np.quantile(difference, 0.999)) if finite else None,
        agreement=float((given == expected).mean()),
        drop=100 * float((expected == truth).mean() - (given == truth).mean()),
        lost=int(lost.sum()),
        won=int(won.sum()),
        p_value=mcnemar(int(lost.sum()), int(won.sum())),
        disagreements=tuple(
            Disagreement(
                window=int(k),
                truth=int(truth[k]),
                reference=int(expected[k]),
                answer=int(given[k]),
                margin=float(margin[k]),
                difference=float(furthest[k]),
            )
            for k in clearest
        ),
        margins=tuple(float(value) for value in np.quantile(margin, _MARGINS)),
    )


def worst_window(answers: Answers, other: Answers) -> int:
    """The window whose logits are furthest from the other's, or that is not answered with numbers."""
    ours, theirs = (side.values if answers.kind == other.kind else side.logarithms() for side in (answers, other))
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(axis=1)
    return int(np.nan_to_num(difference, nan=np.inf).argmax())
