"""What a network's answers to a set of windows are worth: per class, per subject, and how far to trust them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport import metrics
from harexport.data.windows import Windows
from harexport.network import softmax


@dataclass(frozen=True)
class Outcome:
    """Figures of one set of windows; `loss` is the mean cross-entropy in nats, without label smoothing.

    `by_subject` is by the subjects' names. `calibrated` says whether a fitted temperature is in the probabilities that
    loss and reliability are of.
    """

    figures: metrics.Figures
    loss: float
    by_subject: dict[str, metrics.SubjectShare]
    reliability: metrics.Reliability
    calibrated: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as they stand in a checkpoint's header."""
        subjects = {subject: dataclasses.asdict(share) for subject, share in self.by_subject.items()}
        calibration = {"ece": self.reliability.error, "calibrated": self.calibrated}
        return {**self.figures.to_dict(), "loss": self.loss, "by_subject": subjects, **calibration}


def outcome(
    logits: NDArray[np.floating], windows: Windows, calibrated: bool = False, name: Callable[[int], str] = str
) -> Outcome:
    """The figures of `logits` [n, labels], which were answered to `windows` [n]; `name` is what a subject is called."""
    truth, answers = windows.labels, logits.argmax(axis=1)
    shares = metrics.by_subject(truth, answers, windows.subjects)
    return Outcome(
        metrics.classify(truth, answers, logits.shape[1]),
        metrics.cross_entropy(logits, truth),
        {name(subject): share for subject, share in shares.items()},
        metrics.reliability(softmax(logits), truth),
        calibrated,
    )
