"""Training log: its entries, as JSON, as a table, and in TensorBoard."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from harexport.errors import InputError, MissingExtraError
from harexport.utils import files
from harexport.utils.console import info

if TYPE_CHECKING:
    from torch import Tensor

EvalSet = Literal["held_out", "test"]


@dataclass(frozen=True)
class LogEntry:
    """One line of the log.

    Losses are the training objective: cross-entropy with the recipe's label smoothing, plus its L2 penalty.

    Attributes:
        windows: Training windows seen so far.
        epoch: The same in epochs.
        loss: Mean over the batches since the last entry.
        accuracy: The same, 0 to 1.
        learning_rate: Learning rate of the last batch.
        eval_set: Windows that `eval_*` were measured on; None: not measured.
        eval_loss: Loss on these windows, without dropout and augmentation.
        eval_accuracy: Accuracy on these windows.
        stage: 1 while only the coarse head is trained, then 2; None without a coarse head.
        coarse_loss, coarse_accuracy, eval_coarse_loss, eval_coarse_accuracy: The same for the coarse head.
    """

    windows: int
    epoch: float
    loss: float
    accuracy: float
    learning_rate: float
    eval_set: EvalSet | None = None
    eval_loss: float | None = None
    eval_accuracy: float | None = None
    stage: int | None = None
    coarse_loss: float | None = None
    coarse_accuracy: float | None = None
    eval_coarse_loss: float | None = None
    eval_coarse_accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with `eval_` replaced by the name of the evaluated set."""
        plain = dataclasses.asdict(self)
        prefix = f"{plain.pop('eval_set') or 'held_out'}_"
        order = ("windows", "epoch", "loss", "accuracy", "eval_loss", "eval_accuracy", "learning_rate")
        ordered = {key: plain.pop(key) for key in order} | plain
        return {key.replace("eval_", prefix, 1) if key.startswith("eval_") else key: ordered[key] for key in ordered}

    def format(self) -> str:
        """Return one line of text."""
        text = f"epoch {self.epoch:6.1f}  windows {self.windows:8d}  loss {self.loss:.4f}, accuracy {self.accuracy:.2%}"
        if self.coarse_accuracy is not None:
            text += f", coarse {self.coarse_accuracy:.2%}"
        if self.eval_set is not None:
            name = self.eval_set.replace("_", " ")
            text += f"  {name}: loss {self.eval_loss:.4f}, accuracy {self.eval_accuracy:.2%}"
        if self.eval_coarse_accuracy is not None:
            text += f", coarse {self.eval_coarse_accuracy:.2%}"
        return text


@dataclass
class TrainerState:
    """State of a training run after `step` batches, on the CPU. `fit` can continue from it.

    Attributes:
        step: Number of batches.
        model: The module's state_dict.
        optimizer: One optimizer state_dict for each head.
        average: Moving average of each trained parameter.
        history: Log entries so far.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: list[Tensor]
    history: list[LogEntry] = field(default_factory=list)


def to_dicts(passes: Mapping[str, list[LogEntry]]) -> dict[str, list[dict[str, Any]]]:
    """Return the log entries of each pass as plain JSON values."""
    return {name: [entry.to_dict() for entry in entries] for name, entries in passes.items()}


def to_table(passes: Mapping[str, list[LogEntry]]) -> tuple[list[str], list[list[Any]]]:
    """Return columns and rows of the log: a row per entry, its pass in column `phase`, no column without values."""
    lines = [{"phase": name, **entry} for name, entries in to_dicts(passes).items() for entry in entries]
    names = dict.fromkeys(name for line in lines for name in line)
    columns = [name for name in names if any(line.get(name) is not None for line in lines)]
    return columns, [[line.get(name) for name in columns] for line in lines]


class TensorBoardLog:
    """TensorBoard event files, one folder per pass: every number of a log entry over the windows seen.

    Args:
        folder: Folder for the event files.

    Raises:
        MissingExtraError: TensorBoard is not installed.
        InputError: The folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        # TensorBoard then uses its own file writer instead of TensorFlow's: where TensorFlow is loaded, the triton of
        # PyTorch ends the process ("inconsistency in registered CommandLine options").
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("tensorboard", "logging", "--tensorboard") from None
        files.check_writable(folder)
        self.folder = folder
        self._create_writer = SummaryWriter
        self._writers: dict[str, Any] = {}

    def begin(self, name: str, windows_seen: int) -> None:
        """Start a file for a pass. Entries of earlier runs from `windows_seen` on are no longer shown."""
        folder = self.folder / name.replace(" ", "-")
        try:
            self._writers[name] = self._create_writer(folder, purge_step=windows_seen)
        except OSError as error:
            raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error

    def add(self, name: str, entry: LogEntry) -> None:
        """Log an entry. After an error training continues without TensorBoard."""
        writer = self._writers.get(name)
        if writer is None:
            return
        values = entry.to_dict()
        step, _ = values.pop("windows"), values.pop("epoch")
        try:
            for tag, value in values.items():
                if value is not None:
                    writer.add_scalar(tag, value, step)
            writer.flush()
        except OSError as error:  # the writer's thread failed, for example on a full disk
            info(f"could not write {self.folder}: {error.strerror or error}. Training continues without TensorBoard")
            self._writers.clear()

    def close(self) -> None:
        """Close all files."""
        for writer in self._writers.values():
            try:
                writer.close()
            except OSError as error:
                info(f"could not write {self.folder}: {error.strerror or error}")
        self._writers.clear()
