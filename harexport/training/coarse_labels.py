"""Coarse labels: groups of labels that a second head predicts (coarse and fine labels, as in CIFAR-100).

A recipe's model.coarse gives the coarse label of each label as a number: (0, 1, 1, 3, 3, 5) merges 1 with 2 and 3 with
4. The second head has one output up to the largest number; here outputs 2 and 4 never occur.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Windows
from harexport.errors import InputError
from harexport.evaluation import metrics
from harexport.model.network import Network

if TYPE_CHECKING:
    from harexport.training.history import LogEntry


def num_coarse_labels(coarse: tuple[int, ...]) -> int:
    """Return the number of outputs of the second head, 0 without one."""
    return max(coarse, default=-1) + 1


def to_coarse(coarse: tuple[int, ...], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Convert labels [n] to coarse labels [n]."""
    return np.asarray(coarse, dtype=np.int64)[labels]


def coarse_label_names(coarse: tuple[int, ...], labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the contract's `coarse_labels`: the merged names joined by _OR_, empty for outputs that never occur.

    Raises:
        InputError: `coarse` has another number of labels.
    """
    check_coarse_labels(coarse, len(labels))
    return tuple(
        "_OR_".join(label for label, number in zip(labels, coarse, strict=True) if number == output)
        for output in range(num_coarse_labels(coarse))
    )


def check_coarse_labels(coarse: tuple[int, ...], num_labels: int) -> None:
    """Raise InputError unless there is one coarse label for each label, or none at all."""
    if coarse and len(coarse) != num_labels:
        raise InputError(
            f"model.coarse lists coarse labels for each of {len(coarse)} labels, but the data has {num_labels}; "
            "list one for each label, or none"
        )


def coarse_metrics(
    network: Network, coarse: tuple[int, ...], test: Windows, held_out_history: list[LogEntry]
) -> dict[str, Any]:
    """Evaluate the second head.

    Args:
        network: Network with a coarse head.
        coarse: Coarse label of each label.
        test: Test windows.
        held_out_history: Log of the held-out pass; empty if there was none.

    Returns:
        Plain JSON values: "test", the metrics on the test windows; "held_out", the accuracy on the held-out subjects
        at the end of the held-out pass; "held_out_after_stage_1", the same after stage 1.
    """
    predictions = network.logits(test.signals, head="coarse").argmax(axis=1)
    evaluated = [entry for entry in held_out_history if entry.eval_coarse_accuracy is not None]
    stage_1 = [entry for entry in evaluated if entry.stage == 1]
    figures = metrics.classification_metrics(to_coarse(coarse, test.labels), predictions, num_coarse_labels(coarse))
    return {
        "test": figures.to_dict(),
        "held_out": evaluated[-1].eval_coarse_accuracy if evaluated else None,
        "held_out_after_stage_1": stage_1[-1].eval_coarse_accuracy if stage_1 else None,
    }
