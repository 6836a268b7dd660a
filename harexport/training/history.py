"""The log of a run as files: JSON and CSV at its end, TensorBoard's events while it goes on."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from torch import Tensor

from harexport.errors import InputError, MissingExtraError
from harexport.utils import files
from harexport.utils.console import info

if TYPE_CHECKING:
    pass


def plain(phases: Mapping[str, list[Row]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of every pass as plain JSON values."""
    return {phase: [dataclasses.asdict(row) for row in rows] for phase, rows in phases.items()}


def to_csv(phases: Mapping[str, list[Row]]) -> str:
    """One line a row, the pass it belongs to in the column `phase`; what no row has measured has no column."""
    lines = [{"phase": phase, **row} for phase, rows in plain(phases).items() for row in rows]
    columns = [name for name in lines[0] if any(line[name] is not None for line in lines)]
    whole = io.StringIO()
    writer = csv.DictWriter(whole, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return whole.getvalue()


class EventLog:
    """TensorBoard's event files, a folder a pass: every number of a row over the windows seen.

    Written one record after the other with TensorBoard's own record writer. Its SummaryWriter would import all of
    TensorFlow where that is installed, and writes from a thread whose errors on a full disk come as other kinds.
    Raises MissingExtraError without the package, InputError where `folder` cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            raise MissingExtraError("tensorboard", "logging", "--tensorboard") from None
        files.check_writable(folder)
        self.folder = folder
        self._event, self._summary = event_pb2, summary_pb2
        self._writer = RecordWriter
        self._file: BinaryIO | None = None
        self._records: Any = None

    def begin(self, phase: str, windows_seen: int) -> None:
        """Start a file for this pass; what an earlier run logged at or after `windows_seen` is not shown any more."""
        self.close()
        folder = self.folder / phase.replace(" ", "-")
        name = f"events.out.tfevents.{time.time_ns() // 1000:020d}.{os.getpid()}"
        try:
            folder.mkdir(exist_ok=True)
            self._file = (folder / name).open("xb")
        except OSError as error:
            raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
        self._records = self._writer(self._file)
        self._add(file_version="brain.Event:2")
        start = self._event.SessionLog(status=self._event.SessionLog.START)
        self._add(step=windows_seen, session_log=start)

    def add(self, row: Row) -> None:
        """Log a row: loss, accuracy, held-out figures, learning rate."""
        values = {name: value for name, value in dataclasses.asdict(row).items() if value is not None}
        seen, _ = values.pop("windows"), values.pop("epoch")
        summary = self._summary.Summary(
            value=[self._summary.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        )
        self._add(step=seen, summary=summary)

    def _add(self, **content: Any) -> None:
        if self._file is None:
            return
        try:
            self._records.write(self._event.Event(wall_time=time.time(), **content).SerializeToString())
            self._records.flush()
        except OSError as error:
            info(f"could not write {self._file.name}: {error.strerror or error}. Training goes on without TensorBoard")
            self.close()

    def close(self) -> None:
        if self._file is not None:
            opened, self._file = self._file, None
            try:
                opened.close()
            except OSError:
                return  # what could not be written was said when it could not


@dataclass(frozen=True)
class Row:
    """One line of the log: batch loss and accuracy since the last line, then the held-out subjects'.

    Where the recipe has a coarse head, the same of that head, and the stage: in stage 1 only that head is trained,
    and loss and accuracy are what the labels' own head makes of it untrained.
    """

    windows: int
    epoch: float
    loss: float
    accuracy: float
    held_out_loss: float | None
    held_out_accuracy: float | None
    learning_rate: float
    stage: int | None = None
    coarse_loss: float | None = None
    coarse_accuracy: float | None = None
    held_out_coarse_loss: float | None = None
    held_out_coarse_accuracy: float | None = None


@dataclass
class State:
    """Where a run stands after `step` batches, all on the CPU; torch can save it and `fit` can go on from it.

    `optimizer` and `average` hold what goes with each head's loss and with each trained array.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: list[Tensor]
    history: list[Row] = field(default_factory=list)
