"""Comparison of a model's predictions with a reference, and tolerances by quantization scheme."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.evaluation import metrics
from harexport.evaluation.statistics import mcnemar_p_value
from harexport.model.network import softmax

Kind = Literal["logits", "probabilities"]

_MAX_LISTED = 100  # disagreements in the JSON
_MARGIN_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75)
_MIN_PROBABILITY = float(np.finfo(np.float32).tiny)  # so that log(0) is finite


@dataclass(frozen=True)
class Predictions:
    """Output of a model on the test windows.

    Attributes:
        name: Name of the model.
        kind: What `values` are.
        values: [n, labels].
    """

    name: str
    kind: Kind
    values: NDArray[np.floating]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Predicted label of each window; for a window with NaN, the index of the first NaN."""
        predicted: NDArray[np.int64] = self.values.argmax(axis=1)
        return predicted

    @property
    def num_nonfinite(self) -> int:
        """Number of windows with NaN or infinity."""
        return int((~np.isfinite(self.values)).any(axis=1).sum())

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return softmax(self.values) if self.kind == "logits" else self.values.astype(np.float64)

    def log_probabilities(self) -> NDArray[np.float64]:
        values = self.values.astype(np.float64)
        if self.kind == "probabilities":
            logarithms: NDArray[np.float64] = np.log(np.maximum(values, _MIN_PROBABILITY))
            return logarithms
        shifted: NDArray[np.float64] = values - values.max(axis=1, keepdims=True)
        normalized: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return normalized


@dataclass(frozen=True)
class Disagreement:
    """A test window with different predictions of model and reference; labels are indices.

    Attributes:
        window: Index of the test window.
        truth: True label.
        reference: Label predicted by the reference.
        prediction: Label predicted by the model.
        margin: Difference of the reference's two largest logits.
        difference: Largest absolute logit difference to the reference.
    """

    window: int
    truth: int
    reference: int
    prediction: int
    margin: float
    difference: float


@dataclass(frozen=True)
class Comparison:
    """Predictions of a model compared with those of a reference on the test windows.

    Attributes:
        reference: Name of the reference.
        quantity: What the differences are of: "logits", or "logarithms of probabilities" if one of the two models
            outputs probabilities only.
        num_windows: Number of windows.
        num_nonfinite: Windows with NaN or infinity in the differences.
        max_logit_difference: Largest absolute difference over all logits; None if some are not finite.
        p999_logit_difference: Their 99.9 % quantile; None if some are not finite.
        worst_window: Window with the largest difference.
        max_reference_logit: Largest absolute logit of the reference.
        agreement: Share of windows with the same predicted label.
        accuracy_drop: Accuracy of the reference minus that of the model, in percentage points.
        regressions: Windows that only the reference classifies correctly.
        improvements: Windows that only the model classifies correctly.
        disagreements: All windows with different predictions, the largest margin of the reference first.
        margins: Quantiles (0, 1, 5, 25, 50, 75 %) of the reference's margin over all windows.
    """

    reference: str
    quantity: str
    num_windows: int
    num_nonfinite: int
    max_logit_difference: float | None
    p999_logit_difference: float | None
    worst_window: int
    max_reference_logit: float
    agreement: float
    accuracy_drop: float
    regressions: int
    improvements: int
    disagreements: tuple[Disagreement, ...]
    margins: tuple[float, ...]

    @property
    def p_value(self) -> float:
        """Exact McNemar test of regressions against improvements, on demand: an export needs no SciPy."""
        return mcnemar_p_value(self.regressions, self.improvements)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with at most 100 disagreements."""
        return {
            "reference": self.reference,
            "quantity": self.quantity,
            "max_logit_difference": self.max_logit_difference,
            "p999_logit_difference": self.p999_logit_difference,
            "agreement": self.agreement,
            "accuracy_drop": self.accuracy_drop,
            "regressions": self.regressions,
            "improvements": self.improvements,
            "p_value": self.p_value,
            "disagreements": [asdict(disagreement) for disagreement in self.disagreements[:_MAX_LISTED]],
            "margins": list(self.margins),
        }


def evaluate(
    predictions: Predictions, labels: NDArray[np.int64]
) -> tuple[metrics.ClassificationMetrics, float] | tuple[None, None]:
    """Return classification metrics and the expected calibration error; (None, None) for non-finite predictions."""
    if predictions.num_nonfinite:
        return None, None
    classification = metrics.classification_metrics(labels, predictions.labels, predictions.values.shape[1])
    return classification, metrics.calibration_error(predictions.probabilities, labels)


def compare(predictions: Predictions, reference: Predictions, labels: NDArray[np.int64]) -> Comparison:
    """Compare predictions with those of a reference.

    Args:
        predictions: Of the model, [n, labels].
        reference: Of the reference, of the same shape.
        labels: True labels [n].

    Raises:
        InputError: The shapes differ.
    """
    if predictions.values.shape != reference.values.shape:
        raise InputError(
            f"cannot compare {predictions.name} with {reference.name}: the predictions have the shapes "
            f"{list(predictions.values.shape)} and {list(reference.values.shape)}"
        )
    with np.errstate(invalid="ignore", over="ignore"):  # non-finite values are counted below
        values, expected = _comparable_values(predictions, reference)
        difference = np.abs(values - expected)  # [n, labels]
        two_largest = np.sort(expected, axis=1)[:, -2:]
        margin: NDArray[np.float64] = np.nan_to_num(two_largest[:, 1] - two_largest[:, 0])
    is_finite = np.isfinite(difference).all(axis=1)
    all_finite = bool(is_finite.all())
    largest = difference.max(axis=1)  # NaN where a logit is NaN
    listed_difference = np.nan_to_num(largest, nan=float(np.finfo(np.float32).max))
    predicted, expected_labels = predictions.labels, reference.labels
    is_correct, is_reference_correct = predicted == labels, expected_labels == labels
    regressions, improvements = (
        int((is_reference_correct & ~is_correct).sum()),
        int((is_correct & ~is_reference_correct).sum()),
    )
    differing = np.flatnonzero(predicted != expected_labels)
    by_margin = differing[np.argsort(-margin[differing], kind="stable")]
    return Comparison(
        reference=reference.name,
        quantity="logits" if predictions.kind == reference.kind == "logits" else "logarithms of probabilities",
        num_windows=len(labels),
        num_nonfinite=int((~is_finite).sum()),
        max_logit_difference=float(difference.max()) if all_finite else None,
        p999_logit_difference=float(np.quantile(difference, 0.999)) if all_finite else None,
        worst_window=int(np.nan_to_num(largest, nan=np.inf).argmax()),
        max_reference_logit=float(np.abs(expected).max()),
        agreement=float((predicted == expected_labels).mean()),
        accuracy_drop=100 * float(is_reference_correct.mean() - is_correct.mean()),
        regressions=regressions,
        improvements=improvements,
        disagreements=tuple(
            Disagreement(
                window=int(k),
                truth=int(labels[k]),
                reference=int(expected_labels[k]),
                prediction=int(predicted[k]),
                margin=float(margin[k]),
                difference=float(listed_difference[k]),
            )
            for k in by_margin
        ),
        margins=tuple(float(value) for value in np.quantile(margin, _MARGIN_QUANTILES)),
    )


def _comparable_values(
    predictions: Predictions, reference: Predictions
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if predictions.kind == reference.kind == "logits":
        return predictions.values.astype(np.float64), reference.values.astype(np.float64)
    return predictions.log_probabilities(), reference.log_probabilities()


@dataclass(frozen=True)
class Tolerance:
    """Acceptance threshold of a scheme on labeled test windows.

    The logit tolerance is max(atol, rtol * largest absolute logit of the reference). A scheme with such a tolerance may
    predict another label only for a tie: where the reference's two largest logits are at most twice the tolerance
    apart.

    Attributes:
        max_accuracy_drop: In percentage points.
        atol: Absolute logit tolerance; None: logits are not compared.
        rtol: Relative logit tolerance.
        min_agreement: Share of windows with the same predicted label; None: no limit.
    """

    max_accuracy_drop: float
    atol: float | None = None
    rtol: float = 0.0
    min_agreement: float | None = None

    def logit_tolerance(self, max_reference_logit: float) -> float | None:
        """Return the allowed absolute logit difference; None if logits are not compared."""
        return None if self.atol is None else max(self.atol, self.rtol * max_reference_logit)


# "torch" is PyTorch, the trainer, compared with the float64 reference. float32 has 24 bits, so its error grows with
# the logits: a GRU with ReLU candidates, states up to 87 and logits up to 847 differs by 3e-3 in ONNX Runtime. Up to
# logits of 25 the limit is 1e-4.
TOLERANCES = {
    "torch": Tolerance(max_accuracy_drop=0.0, atol=1e-5, rtol=1e-5),
    "float32": Tolerance(max_accuracy_drop=0.0, atol=1e-4, rtol=4e-6),
    "float16": Tolerance(max_accuracy_drop=0.2, min_agreement=0.99),
    "int8-weights": Tolerance(max_accuracy_drop=0.2, min_agreement=0.99),
    "int8": Tolerance(max_accuracy_drop=0.5),
}


def check_tolerance(comparison: Comparison, scheme: str, max_drop: float | None = None) -> tuple[str, ...]:
    """Check a comparison with the float64 reference against the tolerance of a scheme.

    Args:
        comparison: Comparison with the reference.
        scheme: Quantization scheme of the model, a key of TOLERANCES.
        max_drop: Allowed accuracy drop in percentage points, instead of the scheme's limits on accuracy and agreement.

    Returns:
        A message for each violated limit; empty if the model passed.

    Raises:
        InputError: The scheme has no tolerance.
    """
    if scheme not in TOLERANCES:
        raise InputError(f"no tolerance for scheme {scheme!r}; choose one of {', '.join(TOLERANCES)}")
    tolerance = TOLERANCES[scheme]
    max_accuracy_drop = tolerance.max_accuracy_drop if max_drop is None else max_drop
    min_agreement = tolerance.min_agreement if max_drop is None else None
    failures = []
    if comparison.max_logit_difference is None:
        failures.append(f"the logits of {comparison.num_nonfinite} windows are NaN or infinite")
    elif (allowed := tolerance.logit_tolerance(comparison.max_reference_logit)) is not None:
        if comparison.max_logit_difference > allowed:
            failures.append(
                f"logits differ by up to {comparison.max_logit_difference:.3g} (window {comparison.worst_window}); "
                f"{scheme} allows {allowed:.3g}"
            )
        untied = sum(disagreement.margin > 2 * allowed for disagreement in comparison.disagreements)
        if untied:
            failures.append(f"the predicted label of {untied} windows differs although the reference has no tie there")
        max_accuracy_drop += 100 * (len(comparison.disagreements) - untied) / comparison.num_windows
    if min_agreement is not None and comparison.agreement < min_agreement:
        failures.append(f"{comparison.agreement:.2%} of the predictions agree; {scheme} requires {min_agreement:.0%}")
    if not failures and not comparison.accuracy_drop <= max_accuracy_drop + 1e-9:
        failures.append(
            f"accuracy drops by {comparison.accuracy_drop:.2f} points; allowed are "
            f"{tolerance.max_accuracy_drop if max_drop is None else max_drop:g}"
        )
    return tuple(failures)
