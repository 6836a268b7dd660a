"""Results of a training run: metrics per class and subject, log files, figures and text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Windows
from harexport.evaluation import metrics, plots
from harexport.model.contract import Contract
from harexport.model.network import softmax
from harexport.training import history
from harexport.training.history import LogEntry
from harexport.utils import files, tables

HELD_OUT, TEST = "held out", "test"


@dataclass(frozen=True)
class Evaluation:
    """Metrics on one set of windows.

    Attributes:
        figures: Classification metrics.
        loss: Mean cross-entropy in nats, without label smoothing.
        by_subject: Accuracy of each subject by its name.
        reliability: Reliability diagram.
        calibrated: Whether the logits are divided by a fitted temperature.
    """

    figures: metrics.ClassificationMetrics
    loss: float
    by_subject: dict[str, metrics.SubjectAccuracy]
    reliability: metrics.Reliability
    calibrated: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values for the header of a checkpoint."""
        subjects = {subject: dataclasses.asdict(accuracy) for subject, accuracy in self.by_subject.items()}
        calibration = {"ece": self.reliability.error, "calibrated": self.calibrated}
        return {**self.figures.to_dict(), "loss": self.loss, "by_subject": subjects, **calibration}


def evaluate_logits(
    logits: NDArray[np.floating],
    windows: Windows,
    calibrated: bool = False,
    subject_name: Callable[[int], str] = str,
) -> Evaluation:
    """Evaluate logits against labels.

    Args:
        logits: Output of a network for the windows [n, labels].
        windows: The windows, with labels and subjects.
        calibrated: Whether the logits are divided by a fitted temperature.
        subject_name: Name of a subject number.
    """
    labels, predictions = windows.labels, logits.argmax(axis=1)
    by_subject = metrics.accuracy_by_subject(labels, predictions, windows.subjects)
    return Evaluation(
        metrics.classification_metrics(labels, predictions, logits.shape[1]),
        metrics.cross_entropy(logits, labels),
        {subject_name(subject): accuracy for subject, accuracy in by_subject.items()},
        metrics.reliability(softmax(logits), labels),
        calibrated,
    )


def write_history(
    stem: Path, histories: Mapping[str, list[LogEntry]], seconds: Mapping[str, float], elapsed: float
) -> None:
    """Write the log to `stem`.history.json and .csv.

    Args:
        stem: Path without the ending.
        histories: Log of each pass.
        seconds: Computing time of each pass.
        elapsed: Wall-clock time.

    Raises:
        InputError: A file cannot be written.
    """
    document = {
        "seconds": round(elapsed, 1),
        "phase_seconds": {name: round(value, 1) for name, value in seconds.items()},
        "phases": history.to_dicts(histories),
    }
    files.write_json(stem.with_name(f"{stem.name}.history.json"), document)
    tables.write_csv(stem.with_name(f"{stem.name}.history.csv"), *history.to_table(histories))


def plot_results(
    stem: Path,
    histories: Mapping[str, list[LogEntry]],
    contract: Contract,
    evaluations: Mapping[str, Evaluation],
    uncalibrated: Mapping[str, metrics.Reliability],
) -> tuple[Path, ...]:
    """Plot training curves, confusion matrix, accuracy by subject and reliability.

    Args:
        stem: Path without the ending; the figures are `stem`.<figure>.png.
        histories: Log of each pass.
        contract: Contract with the labels.
        evaluations: Evaluations by set; the confusion matrix is that of the last one. May be empty.
        uncalibrated: Reliability before calibration, by set.

    Returns:
        The paths of the figures.

    Raises:
        InputError: A file cannot be written.
    """
    name = stem.name
    figures = {"curves": plots.plot_training_curves(history.to_dicts(histories), f"{name}: training")}
    if evaluations:
        last_set, last = list(evaluations.items())[-1]
        title = f"{name}: {last.figures.accuracy:.2%} of {last.figures.windows} {last_set} windows correct"
        figures["confusion"] = plots.plot_confusion(last.figures.confusion, contract.labels, title)
        by_subject = {name: evaluation.by_subject for name, evaluation in evaluations.items()}
        figures["subjects"] = plots.plot_subjects(by_subject, f"{name}: accuracy by subject")
        panels = {
            name: [("before", uncalibrated[name]), ("calibrated", evaluation.reliability)]
            if name in uncalibrated
            else [("", evaluation.reliability)]
            for name, evaluation in evaluations.items()
        }
        figures["reliability"] = plots.plot_reliability(
            panels, f"{name}: reliability, 15 bins of equal width (Guo et al. 2017)"
        )
    paths = {key: stem.with_name(f"{name}.{key}.png") for key in figures}
    for key, figure in figures.items():
        plots.save_figure(figure, paths[key])
    return tuple(paths.values())


def format_results(
    contract: Contract,
    evaluations: Mapping[str, Evaluation],
    uncalibrated: Mapping[str, metrics.Reliability],
    coarse: dict[str, Any] | None,
) -> str:
    """Return all metrics as text: the published report of the last set, then recall, subjects and calibration.

    Args:
        contract: Contract with the labels.
        evaluations: Evaluations by set. May be empty.
        uncalibrated: Reliability before calibration, by set.
        coarse: Metrics of the coarse head from `coarse_metrics`, None without one.
    """
    if not evaluations:
        return "No held-out or test data: accuracy is unknown."
    last_set, last = list(evaluations.items())[-1]
    lines = [f"On the {last_set} windows:", metrics.format_report(last.figures, contract.labels), ""]
    width = max(len(label) for label in contract.labels)
    lines.append(f"{'Recall by class':<{width + 2}}" + "".join(f"{name:>10}" for name in evaluations))
    for k, label in enumerate(contract.labels):
        cells = [
            f"{evaluation.figures.label_recall[k]:>10.2%}" if sum(evaluation.figures.confusion[k]) else f"{'-':>10}"
            for evaluation in evaluations.values()
        ]
        lines.append(f"  {label:<{width}}" + "".join(cells))
    for name, evaluation in evaluations.items():
        lines += ["", f"Accuracy by subject, {name}: {_format_range(evaluation)}"]
        lines += [
            f"  {subject:<{width}}{subject_accuracy.accuracy:>10.2%}  of {subject_accuracy.windows} windows"
            for subject, subject_accuracy in evaluation.by_subject.items()
        ]
    lines += ["", "Expected calibration error (ECE)"]
    for name, evaluation in evaluations.items():
        line = f"  {name:<{width}}{evaluation.reliability.error:>10.4f}"
        if name in uncalibrated:
            line += f", before calibration {uncalibrated[name].error:.4f}"
        lines.append(line + (", fitted on these windows" if evaluation.calibrated and name == HELD_OUT else ""))
    if coarse is not None:
        accuracies = {"test": coarse["test"]["accuracy"], **{key: coarse[key] for key in coarse if key != "test"}}
        shown = [f"{key.replace('_', ' ')} {value:.2%}" for key, value in accuracies.items() if value is not None]
        lines += ["", f"Accuracy on the coarse labels: {', '.join(shown)}"]
    return "\n".join(lines)


def _format_range(evaluation: Evaluation) -> str:
    accuracies = np.array([accuracy.accuracy for accuracy in evaluation.by_subject.values()])
    return f"{accuracies.min():.2%} to {accuracies.max():.2%}"
