"""Coarse labels: names, conversion and metrics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harexport.data import Dataset
from harexport.errors import InputError
from harexport.model.contract import LABELS
from harexport.training import coarse_labels
from harexport.training.history import LogEntry
from tests.helpers.networks import random_gru

PUBLISHED = (0, 1, 1, 3, 3, 5)


def test_coarse_label_names() -> None:
    assert coarse_labels.coarse_label_names(PUBLISHED, LABELS) == (
        "WALKING", "WALKING_UPSTAIRS_OR_WALKING_DOWNSTAIRS", "", "SITTING_OR_STANDING", "", "LAYING",
    )  # fmt: skip
    assert coarse_labels.coarse_label_names((1, 0, 1), ("a", "b", "c")) == ("b", "a_OR_c")
    assert coarse_labels.coarse_label_names((), LABELS) == ()
    with pytest.raises(InputError, match="each of 6 labels, but the data has 3"):
        coarse_labels.coarse_label_names(PUBLISHED, LABELS[:3])


def test_conversion_and_number_of_coarse_labels() -> None:
    np.testing.assert_array_equal(coarse_labels.to_coarse(PUBLISHED, np.array([5, 4, 3, 2, 1, 0])), [5, 3, 3, 1, 1, 0])
    assert (
        coarse_labels.num_coarse_labels(PUBLISHED),
        coarse_labels.num_coarse_labels((0, 1, 1, 0, 0, 0)),
        coarse_labels.num_coarse_labels(()),
    ) == (
        6,
        2,
        0,
    )


def test_coarse_metrics(small: Dataset) -> None:
    network = random_gru(labels=7)  # its coarse head has one output less
    row = LogEntry(1, 0.1, 1.0, 0.5, 0.1, "held_out", 1.0, 0.5)
    rows = [replace(row, stage=stage, eval_coarse_accuracy=share) for stage, share in ((1, 0.1), (1, 0.7), (2, 0.8))]
    found = coarse_labels.coarse_metrics(network, PUBLISHED, small.test, rows)
    predicted = network.logits(small.test.signals, head="coarse").argmax(axis=1)
    assert found["test"]["accuracy"] == (predicted == np.array(PUBLISHED)[small.test.labels]).mean()
    assert len(found["test"]["confusion"]) == 6
    assert (found["held_out"], found["held_out_after_stage_1"]) == (0.8, 0.7)
    unwatched = coarse_labels.coarse_metrics(network, PUBLISHED, small.test, [])
    assert (unwatched["held_out"], unwatched["held_out_after_stage_1"]) == (None, None)
