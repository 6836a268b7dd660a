"""What a training leaves beside its checkpoint: the log as json and csv, the pictures, and the report in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Windows
from harexport.evaluation import metrics, plots
from harexport.model.contract import Contract
from harexport.model.network import softmax
from harexport.training import history
from harexport.utils import files

if TYPE_CHECKING:
    from harexport.training.history import Row


HELD_OUT, TEST = "held out", "test"


def write_history(stem: Path, phases: Mapping[str, list[Row]], seconds: Mapping[str, float]) -> None:
    """`stem`.history.json and .csv. Raises InputError where they cannot be written."""
    spent = {phase: round(one, 1) for phase, one in seconds.items()}
    whole = {"seconds": round(sum(seconds.values()), 1), "phase_seconds": spent, "phases": history.plain(phases)}
    files.write_json(stem.with_name(f"{stem.name}.history.json"), whole)
    files.write_text(stem.with_name(f"{stem.name}.history.csv"), history.to_csv(phases))


def draw(
    stem: Path,
    phases: Mapping[str, list[Row]],
    contract: Contract,
    outcomes: Mapping[str, Outcome],
    uncalibrated: Mapping[str, metrics.Reliability],
) -> tuple[Path, ...]:
    """Curves; and of the outcomes ("held out", "test"; none is fine) the confusion of the last one in counts and in
    percent, accuracy by subject, and reliability, beside the one before calibration where there is one.

    Answers the paths. Raises InputError where one cannot be written.
    """
    name = stem.name
    drawn = {"curves": plots.plot_training_curves(history.plain(phases), f"{name}: training")}
    if outcomes:
        what, last = list(outcomes.items())[-1]
        figures = last.figures
        title = f"{name}: {figures.accuracy:.2%} of {figures.windows} {what} windows right"
        drawn["confusion"] = plots.plot_confusion(figures.confusion, contract.labels, title)
        drawn["confusion-percent"] = plots.plot_confusion(figures.confusion, contract.labels, title, percent=True)
        by_subject = {what: one.by_subject for what, one in outcomes.items()}
        drawn["subjects"] = plots.plot_subjects(by_subject, f"{name}: accuracy by subject")
        panels = {
            what: [("before", uncalibrated[what]), ("calibrated", one.reliability)]
            if what in uncalibrated
            else [("", one.reliability)]
            for what, one in outcomes.items()
        }
        drawn["reliability"] = plots.plot_reliability(
            panels, f"{name}: reliability, 15 bins of equal width (Guo et al. 2017)"
        )
    paths = {key: stem.with_name(f"{name}.{key}.png") for key in drawn}
    for key, picture in drawn.items():
        plots.save_figure(picture, paths[key])
    return tuple(paths.values())


def report(contract: Contract, outcomes: Mapping[str, Outcome], coarse: dict[str, Any] | None) -> str:
    """The published original's report on the last outcome, then all of them by class and by subject, and calibration.

    `coarse` is what `coarse.figures` says of a second head.
    """
    if not outcomes:
        return "Nothing was held out and there is no test set: nobody knows how good this model is."
    what, last = list(outcomes.items())[-1]
    lines = [f"On the {what} windows:", metrics.format_report(last.figures, contract.labels), ""]
    width = max(len(label) for label in contract.labels)
    lines.append(f"{'Recall by class':<{width + 2}}" + "".join(f"{name:>10}" for name in outcomes))
    for k, label in enumerate(contract.labels):
        cells = [
            f"{one.figures.label_recall[k]:>10.2%}" if sum(one.figures.confusion[k]) else f"{'-':>10}"
            for one in outcomes.values()
        ]
        lines.append(f"  {label:<{width}}" + "".join(cells))
    for name, one in outcomes.items():
        lines += ["", f"Accuracy by subject, {name}: {_spread(one)}"]
        lines += [
            f"  {subject:<{width}}{share.accuracy:>10.2%}  of {share.windows} windows"
            for subject, share in one.by_subject.items()
        ]
    lines += ["", "Calibration (ECE: how far the largest probability lies from the share of right answers)"]
    lines += [
        f"  {name:<{width}}{one.reliability.error:>10.4f}"
        + (", of the windows that the temperature was fitted on" if one.calibrated and name == HELD_OUT else "")
        for name, one in outcomes.items()
    ]
    if coarse is not None:
        known = {"test": coarse["test"]["accuracy"], **{key: coarse[key] for key in coarse if key != "test"}}
        shown = [f"{key.replace('_', ' ')} {value:.2%}" for key, value in known.items() if value is not None]
        lines += ["", f"Accuracy on the coarse labels: {', '.join(shown)}"]
    return "\n".join(lines)


def _spread(outcome: Outcome) -> str:
    accuracies = np.array([share.accuracy for share in outcome.by_subject.values()])
    return f"{accuracies.min():.2%} to {accuracies.max():.2%}"


@dataclass(frozen=True)
class Outcome:
    """Figures of one set of windows; `loss` is the mean cross-entropy in nats, without label smoothing.

    `by_subject` is by the subjects' names. `calibrated` says whether a fitted temperature is in the probabilities that
    loss and reliability are of.
    """

    figures: metrics.ClassificationMetrics
    loss: float
    by_subject: dict[str, metrics.SubjectAccuracy]
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
    shares = metrics.accuracy_by_subject(truth, answers, windows.subjects)
    return Outcome(
        metrics.classification_metrics(truth, answers, logits.shape[1]),
        metrics.cross_entropy(logits, truth),
        {name(subject): share for subject, share in shares.items()},
        metrics.reliability(softmax(logits), truth),
        calibrated,
    )
