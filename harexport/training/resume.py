"""An interrupted run is never lost: its state stands in one file, from which it ends in the very same bytes."""

from __future__ import annotations

import copy
import dataclasses
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harexport.errors import InputError
from harexport.utils import files
from harexport.utils.console import info

if TYPE_CHECKING:
    from harexport.training.history import Row, State

_SAVE_EVERY_SECONDS = 10.0


class ResumeError(InputError):
    """There is no interrupted run that this one could go on with."""


@dataclass(frozen=True)
class Finished:
    """A pass that is done: its log, and its network's logits [n, labels] for the held-out windows, if any were."""

    rows: list[Row]
    held_out_logits: NDArray[np.float64] | None


class Progress:
    """How far a run is, and the state file from which it can go on.

    `fingerprint` is what must be the same for a resumed run to end in the same bytes; its values are plain JSON.
    Starting anew never overwrites an interrupted run: `begin` moves its file aside.
    """

    def __init__(self, path: Path, fingerprint: dict[str, Any], resume: bool) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.finished: dict[str, Finished] = {}
        self.seconds: dict[str, float] = {}
        self._current: tuple[str, State] | None = None
        self._saved: float | None = None
        self._failed = False
        if resume:
            self._load()

    @property
    def aside(self) -> Path:
        """Where the state of an interrupted run is moved to when another one starts in its place."""
        return self.path.with_name(self.path.name.removesuffix(".pt") + ".old.pt")

    def begin(self) -> None:
        """Move the state of an interrupted run aside, if this one does not go on with it. Raises InputError."""
        if self._current is not None or not self.path.exists():
            return
        older = " in the place of an older one" if self.aside.exists() else ""
        try:
            self.path.replace(self.aside)
        except OSError as error:
            raise InputError(f"cannot move {self.path} to {self.aside}: {error.strerror or error}") from error
        info(
            f"Starting anew. The interrupted run that stood in {self.path.name} is kept as {self.aside}{older}; "
            "to go on with it, move it back and use --resume"
        )

    def state(self, phase: str) -> State | None:
        """The state to go on from in this pass, None for its beginning."""
        return self._current[1] if self._current and self._current[0] == phase else None

    def finish(self, phase: str, rows: list[Row], held_out_logits: NDArray[np.float64] | None) -> None:
        self.finished[phase] = Finished(rows, held_out_logits)

    def reporter(self, phase: str) -> Callable[[Row, State, int], None]:
        """What `fit` calls at every row of the log: it says the row, and saves the state now and then."""
        began, first, before = time.monotonic(), self.state(phase), self.seconds.get(phase, 0.0)
        start = first.step if first else 0

        def report(row: Row, state: State, steps: int) -> None:
            passed = time.monotonic() - began
            self.seconds[phase] = before + passed
            self._current = (phase, copy.deepcopy(state))  # the loop goes on changing what it handed over
            info(f"{_line(row)}  {passed / (state.step - start) * (steps - state.step):.0f} s left")
            # at once at the first row: a disk that has no room for the state is said before hours have gone by
            if self._saved is None or time.monotonic() - self._saved >= _SAVE_EVERY_SECONDS:
                self._try_to_save()

        return report

    def _try_to_save(self) -> None:
        """Save; where that fails, training goes on, and the next attempt comes in its time."""
        try:
            self.save()
        except InputError as error:
            self._saved = time.monotonic()
            if not self._failed:
                info(f"{error}. Training goes on, and so do the attempts to save its state")
            self._failed = True

    def save(self, path: Path | None = None) -> bool:
        """Write the last reported state, to its own place or to `path`; False where nothing was reported yet.

        Raises InputError where it cannot be written, and then leaves what was there.
        """
        import torch

        if self._current is None:
            return False
        phase, state = self._current
        content = {
            "fingerprint": self.fingerprint,
            "phase": phase,
            "state": dict(vars(state), history=_plain(state.history)),
            "finished": {
                name: {
                    "rows": _plain(one.rows),
                    "held_out_logits": None if one.held_out_logits is None else torch.from_numpy(one.held_out_logits),
                }
                for name, one in self.finished.items()
            },
            "seconds": self.seconds,
        }
        whole = io.BytesIO()  # torch itself reports a full disk as an error of its archive
        torch.save(content, whole)
        files.write_bytes(path or self.path, whole.getvalue())
        self._saved, self._failed = time.monotonic(), False
        return True

    def kept(self, again: str) -> str:
        """Save what there is, for the last time; one sentence of where it stands and how (`again`) to go on."""
        try:
            if self.save():
                return f"The run is saved in {self.path}. Go on with: {again}"
        except InputError as error:
            return f"{error}. {self._elsewhere(again)}"
        return "It was before the first line of the log: there was nothing to save yet"

    def _elsewhere(self, again: str) -> str:
        """Where its own folder has no room for the state: save it among temporary files, which may lie elsewhere."""
        spare = Path(tempfile.gettempdir()) / self.path.name
        try:
            if spare.exists():  # another run's
                raise InputError(f"{spare} is taken")
            self.save(spare)
        except InputError:
            if self.path.exists():
                return f"An earlier state of the run stands in {self.path}. Make room, then: {again}"
            return "Nothing of this run could be saved"
        return f"The run is saved in {spare}. Make room, move it to {self.path}, then: {again}"

    def done(self) -> None:
        """The run has left all its files: its state is not needed any more."""
        self.path.unlink(missing_ok=True)

    def _load(self) -> None:
        import torch

        from harexport.training.history import Row, State

        if not self.path.exists():
            others = sorted(path.name for path in self.path.parent.glob("*.resume*.pt"))
            there = f"Interrupted runs in {self.path.parent}: {', '.join(others)}. " if others else ""
            raise ResumeError(f"nothing to resume: {self.path} does not exist. {there}Start without --resume")
        try:
            saved = torch.load(
                self.path, map_location="cpu", weights_only=True
            )  # plain tensors and numbers only: never runs code
            different = list(_differences(saved["fingerprint"], self.fingerprint))
            rows = [Row(**row) for row in saved["state"].pop("history")]
            current = (str(saved["phase"]), State(**saved["state"], history=rows))
            finished = {
                name: Finished(
                    [Row(**row) for row in one["rows"]],
                    None if one["held_out_logits"] is None else one["held_out_logits"].numpy(),
                )
                for name, one in saved["finished"].items()
            }
            seconds = {name: float(value) for name, value in saved["seconds"].items()}
        except Exception as error:  # torch reports a broken file in a dozen ways
            reason = (str(error) or type(error).__name__).split(". ")[0].splitlines()[0]
            raise ResumeError(
                f"{self.path} cannot be resumed ({reason}); start without --resume, which moves it aside"
            ) from None
        if different:
            raise ResumeError(
                f"{self.path} was started otherwise: {'; '.join(different)}. Resume with what it was started with, "
                f"or start without --resume: then it is kept as {self.aside.name}"
            )
        self._current, self.finished, self.seconds = current, finished, seconds


def _line(row: Row) -> str:
    words = f"epoch {row.epoch:6.1f}  windows {row.windows:8d}  loss {row.loss:.4f}, accuracy {row.accuracy:.2%}"
    if row.coarse_accuracy is not None:
        words += f", coarse {row.coarse_accuracy:.2%}"
    if row.held_out_accuracy is not None:
        words += f"  held out: loss {row.held_out_loss:.4f}, accuracy {row.held_out_accuracy:.2%}"
    if row.held_out_coarse_accuracy is not None:
        words += f", coarse {row.held_out_coarse_accuracy:.2%}"
    return words


def _plain(rows: list[Row]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(row) for row in rows]


def _differences(saved: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """ "seed 1, not 0": every key whose value was another when the run was started."""
    for key in dict.fromkeys([*saved, *now]):
        was, wanted = saved.get(key), now.get(key)
        if isinstance(was, dict) and isinstance(wanted, dict):
            yield from _differences(was, wanted, f"{prefix}{key}.")
        elif was != wanted:
            yield f"{prefix}{key} {_short(was)}, not {_short(wanted)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "..."
