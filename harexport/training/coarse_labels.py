"""Coarse labels, which lump some of the contract's together: what a network's second head tells apart.

A recipe's model.coarse names a coarse label for each label, as a number: (0, 1, 1, 3, 3, 5) merges 1 with 2 and
3 with 4. There are as many outputs as the largest number asks for; here 2 and 4 are outputs that never occur.
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
    from harexport.training.history import Row


def outputs(coarse: tuple[int, ...]) -> int:
    """How many outputs the second head has; 0 without one."""
    return max(coarse, default=-1) + 1


def truth(coarse: tuple[int, ...], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The coarse labels [n] of the labels [n]."""
    return np.asarray(coarse, dtype=np.int64)[labels]


def names(coarse: tuple[int, ...], labels: tuple[str, ...]) -> tuple[str, ...]:
    """The contract's `coarse_labels`: the names of the labels each one lumps, joined by _OR_; empty where none does.

    Raises InputError where `coarse` is for another number of labels.
    """
    check(coarse, len(labels))
    return tuple(
        "_OR_".join(label for label, number in zip(labels, coarse, strict=True) if number == output)
        for output in range(outputs(coarse))
    )


def check(coarse: tuple[int, ...], labels: int) -> None:
    """Raise InputError unless there is a coarse label for each of so many labels, or none at all."""
    if coarse and len(coarse) != labels:
        raise InputError(
            f"model.coarse has a coarse label for each of {len(coarse)} labels, the data has {labels} labels: give one "
            "for each of these, or none"
        )


def figures(network: Network, coarse: tuple[int, ...], test: Windows, held_out_pass: list[Row]) -> dict[str, Any]:
    """What a checkpoint says of the second head, as plain JSON values.

    "test": its figures on the test windows, answered once. "held_out": its accuracy on the held-out subjects at
    the end of the held-out pass, and "held_out_after_stage_1": before the labels themselves were trained.
    """
    answers = network.logits(test.signals, head="coarse").argmax(axis=1)
    watched = [row for row in held_out_pass if row.held_out_coarse_accuracy is not None]
    first = [row for row in watched if row.stage == 1]
    return {
        "test": metrics.classification_metrics(truth(coarse, test.labels), answers, outputs(coarse)).to_dict(),
        "held_out": watched[-1].held_out_coarse_accuracy if watched else None,
        "held_out_after_stage_1": first[-1].held_out_coarse_accuracy if first else None,
    }
