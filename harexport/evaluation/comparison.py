"""A model's answers beside those of another: how far apart, which windows, and whether the difference is chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.evaluation import metrics
from harexport.evaluation.statistics import mcnemar_p_value
from harexport.model.network import softmax

Kind = Literal["logits", "probabilities"]

_LISTED = 100  # disagreements in a result; what their count says, the list need not
_MARGINS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75)
_SMALLEST = float(np.finfo(np.float32).tiny)  # a probability of 0 still has a logarithm


@dataclass(frozen=True)
class Predictions:
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


def evaluate(answers: Predictions, truth: NDArray[np.int64]) -> tuple[metrics.ClassificationMetrics, float | None]:
    """Accuracy, F1, recalls, confusion; and the calibration error, None where answers are not all numbers."""
    counted = metrics.classification_metrics(truth, answers.labels, answers.values.shape[1])
    finite = bool(np.isfinite(answers.values).all())
    return counted, metrics.calibration_error(answers.probabilities, truth) if finite else None


def compare(answers: Predictions, other: Predictions, truth: NDArray[np.int64]) -> Comparison:
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
        p_value=mcnemar_p_value(int(lost.sum()), int(won.sum())),
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


def worst_window(answers: Predictions, other: Predictions) -> int:
    """The window whose logits are furthest from the other's, or that is not answered with numbers."""
    ours, theirs = (side.values if answers.kind == other.kind else side.logarithms() for side in (answers, other))
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(axis=1)
    return int(np.nan_to_num(difference, nan=np.inf).argmax())


@dataclass(frozen=True)
class Tolerance:
    """What a scheme promises. `logit`: largest difference on any window, or `share` of the reference's largest logit
    where that is more; `drop`: points of accuracy; `agreement`: share of windows with the same answer.

    A float scheme may answer another label only where the reference's two best logits lie within twice
    `logit` of each other: a tie that no rounding can be blamed for.
    """

    drop: float
    logit: float | None = None
    agreement: float | None = None
    share: float = 0.0


# The published promises. torch is the trainer itself and the reference's first check. What float32 can do depends on
# the size of the logits: it has 24 bits, so up to 25 the promise of 1e-4 stands, and a GRU whose states reach 87 and
# logits 847 (ReLU candidates, trained) is 3e-3 off in ONNX Runtime.
TOLERANCES = {
    "torch": Tolerance(drop=0.0, logit=1e-5, share=1e-5),
    "float32": Tolerance(drop=0.0, logit=1e-4, share=4e-6),
    "float16": Tolerance(drop=0.2, agreement=0.99),
    "int8-weights": Tolerance(drop=0.2, agreement=0.99),
    "int8": Tolerance(drop=0.5),
}


@dataclass(frozen=True)
class Parity:
    """How a runtime's answers lie to the reference's, over `windows` windows.

    Logit differences are absolute, the largest and the 99.9 % quantile over all logits (None where some are not
    numbers); `agreement` is the share of windows with the same answer; `drop` is the reference's accuracy minus
    this one's, in points. `failures` says in words which promise was broken; empty means passed.
    """

    scheme: str
    windows: int
    max_logit_difference: float | None
    p999_logit_difference: float | None
    agreement: float
    accuracy: float
    macro_f1: float
    drop: float
    confusion: tuple[tuple[int, ...], ...]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failures


def compare_logits(
    reference: NDArray[np.float64],
    answered: NDArray[np.floating],
    truth: NDArray[np.int64],
    scheme: str,
    max_drop: float | None = None,
) -> Parity:
    """Compare `answered` logits [n, labels] with `reference` ones, under the promise of `scheme`.

    `max_drop`: points of accuracy to allow instead of what that promise says of accuracy and agreement. Raises
    InputError for an unknown scheme or for logits of another shape.
    """
    if scheme not in TOLERANCES:
        raise InputError(f"no parity threshold for scheme {scheme!r}; there are {', '.join(TOLERANCES)}")
    if answered.shape != reference.shape:
        raise InputError(f"the model answers logits of shape {answered.shape}, its reference {reference.shape}")
    difference = np.abs(answered.astype(np.float64) - reference)
    expected, given = reference.argmax(axis=1), answered.argmax(axis=1)
    labels = reference.shape[1]
    figures = metrics.classification_metrics(truth, given, labels)
    drop = 100 * (float((expected == truth).mean()) - figures.accuracy)
    agreement = float((expected == given).mean())
    threshold = TOLERANCES[scheme]
    if max_drop is not None:
        threshold = replace(threshold, drop=max_drop, agreement=None)
    failures = []
    finite = bool(np.isfinite(difference).all())
    if not finite:
        failures.append(f"{int((~np.isfinite(difference)).any(axis=1).sum())} windows answered with NaN or infinity")
    elif threshold.logit is not None:
        largest = float(difference.max())
        allowed = max(threshold.logit, threshold.share * float(np.abs(reference).max()))
        if largest > allowed:
            worst = int(difference.max(axis=1).argmax())
            failures.append(f"logits differ by up to {largest:.3g} (window {worst}); {scheme} allows {allowed:.3g}")
        two_best = np.sort(reference, axis=1)[:, -2:]
        untied = (expected != given) & (two_best[:, 1] - two_best[:, 0] > 2 * allowed)
        if untied.any():
            failures.append(f"{int(untied.sum())} windows answered otherwise where the reference sees no tie")
        drop_allowed = threshold.drop + 100 * float(((expected != given) & ~untied).mean())
    else:
        drop_allowed = threshold.drop
    if threshold.agreement is not None and agreement < threshold.agreement:
        failures.append(f"{agreement:.2%} of the answers agree; {scheme} promises {threshold.agreement:.0%}")
    if not failures and not drop <= drop_allowed + 1e-9:
        failures.append(f"accuracy drops by {drop:.2f} points, allowed are {threshold.drop:g}")
    return Parity(
        scheme=scheme,
        windows=len(truth),
        max_logit_difference=float(difference.max()) if finite else None,
        p999_logit_difference=float(np.quantile(difference, 0.999)) if finite else None,
        agreement=agreement,
        accuracy=figures.accuracy,
        macro_f1=figures.macro_f1,
        drop=drop,
        confusion=figures.confusion,
        failures=tuple(failures),
    )


@dataclass(frozen=True)
class Disagreement:
    """A test window (its number) that the model answers otherwise than its reference: labels by number.

    `margin` is the distance of the reference's two best logits: how near the decision was. `difference` is the
    largest of the model's logits from the reference's.
    """

    window: int
    truth: int
    reference: int
    answer: int
    margin: float
    difference: float


@dataclass(frozen=True)
class Comparison:
    """A model's answers to all test windows beside those of another (`to`).

    Logit differences: the largest and the 99.9 % quantile over all logits, None where some are not numbers; where one
    of the two answers probabilities only, differences of their logarithms (`of` says which). `agreement`: share of
    windows with the same answer. `drop`: the other's accuracy minus this one's, in points. `lost` windows only the
    other got right, `won` only this one; `p_value`: McNemar's exact test that this is chance. `disagreements`: those
    windows, the clearest decision of the reference first, at most 100; `margins`: quantiles (0, 1, 5, 25, 50, 75 %)
    of the reference's margin over all windows.
    """

    to: str
    of: str
    max_logit_difference: float | None
    p999_logit_difference: float | None
    agreement: float
    drop: float
    lost: int
    won: int
    p_value: float
    disagreements: tuple[Disagreement, ...]
    margins: tuple[float, ...]
