"""Parity: the same windows through a runtime and through the float64 reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harexport import metrics
from harexport.errors import InputError


@dataclass(frozen=True)
class Threshold:
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
THRESHOLDS = {
    "torch": Threshold(drop=0.0, logit=1e-5, share=1e-5),
    "float32": Threshold(drop=0.0, logit=1e-4, share=4e-6),
    "float16": Threshold(drop=0.2, agreement=0.99),
    "int8-weights": Threshold(drop=0.2, agreement=0.99),
    "int8": Threshold(drop=0.5),
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


def compare(
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
    if scheme not in THRESHOLDS:
        raise InputError(f"no parity threshold for scheme {scheme!r}; there are {', '.join(THRESHOLDS)}")
    if answered.shape != reference.shape:
        raise InputError(f"the model answers logits of shape {answered.shape}, its reference {reference.shape}")
    difference = np.abs(answered.astype(np.float64) - reference)
    expected, given = reference.argmax(axis=1), answered.argmax(axis=1)
    labels = reference.shape[1]
    figures = metrics.classify(truth, given, labels)
    drop = 100 * (float((expected == truth).mean()) - figures.accuracy)
    agreement = float((expected == given).mean())
    threshold = THRESHOLDS[scheme]
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
