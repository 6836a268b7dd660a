"""The passes of a training run, one after another or side by side in two processes, with the same result."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Windows
from harexport.model.network import Network
from harexport.model.recipe import Recipe
from harexport.training.history import EvalSet, LogEntry, TrainerState
from harexport.utils.console import info

if TYPE_CHECKING:
    from harexport.training.resume import Report

# A process needs about 4 s to import PyTorch: passes that see fewer windows (about 10 s) run one after another.
MIN_PARALLEL_WINDOWS = 100_000


@dataclass(frozen=True)
class Pass:
    """One training of a run.

    Attributes:
        name: Name in logs and files.
        train: Training windows.
        evaluated: Windows that the log shows loss and accuracy of, and their name; None: training windows only.
        predicted: Windows whose logits are returned at the end.
    """

    name: str
    train: Windows
    evaluated: tuple[EvalSet, Windows] | None
    predicted: Windows | None


@dataclass(frozen=True)
class Settings:
    """What all passes of a run share."""

    recipe: Recipe
    num_labels: int
    seed: int
    device: str


@dataclass(frozen=True)
class PassResult:
    """The trained network, its log, and the float64 logits [n, labels] of `Pass.predicted`."""

    network: Network
    history: list[LogEntry]
    logits: NDArray[np.float64] | None


def run_passes(
    passes: Sequence[Pass],
    settings: Settings,
    states: Mapping[str, TrainerState | None],
    reports: Mapping[str, Report],
    on_finish: Callable[[str, PassResult], None],
) -> Network:
    """Run all passes and return the network of the last one.

    Args:
        passes: One or two passes.
        settings: Recipe, number of labels, seed and device.
        states: State from which each pass continues, by name.
        reports: Callback of each pass for log entries, by name.
        on_finish: Called with the name and the result of each finished pass.

    Raises:
        CheckFailedError: A training diverged.
    """
    *others, last = passes
    if others and _run_side_by_side(passes, settings):
        with _run_in_background(others[0], settings, states[others[0].name], reports[others[0].name]) as background:

            def report(entry: LogEntry, state: TrainerState, steps: int) -> None:
                reports[last.name](entry, state, steps)
                background.poll()

            result = run_pass(last, settings, states[last.name], report)
            on_finish(others[0].name, background.wait())
            on_finish(last.name, result)
            return result.network
    for training in passes:
        result = run_pass(training, settings, states[training.name], reports[training.name])
        on_finish(training.name, result)
    return result.network


def run_pass(training: Pass, settings: Settings, state: TrainerState | None, report: Report) -> PassResult:
    """Train one network in this process."""
    from harexport.training.trainer import fit

    network, history = fit(
        training.train,
        training.evaluated[1] if training.evaluated else None,
        settings.recipe,
        settings.num_labels,
        settings.seed,
        resume=state,
        on_report=report,
        device=settings.device,
        eval_set=training.evaluated[0] if training.evaluated else None,
    )
    logits = network.logits(training.predicted.signals) if training.predicted is not None else None
    return PassResult(network, history, logits)


def _run_side_by_side(passes: Sequence[Pass], settings: Settings) -> bool:
    import joblib

    epochs = settings.recipe.schedule.epochs + settings.recipe.schedule.coarse_epochs
    windows = epochs * min(len(training.train) for training in passes)
    return settings.device == "cpu" and joblib.cpu_count() > 1 and windows >= MIN_PARALLEL_WINDOWS


class _Background:
    """A pass in a child process. Its messages are handled in this process by `poll` and `wait`."""

    def __init__(self, connection: Any, rerun: Callable[[], PassResult], report: Report) -> None:
        self._connection, self._rerun, self._report = connection, rerun, report
        self._result: PassResult | None = None

    def poll(self) -> None:
        """Handle the messages that have arrived."""
        while self._result is None and self._connection.poll():
            self._receive()

    def wait(self) -> PassResult:
        """Handle messages until the pass is finished."""
        while self._result is None:
            self._receive()
        return self._result

    def _receive(self) -> None:
        try:
            kind, content = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):  # for example killed because memory ran out
            info("A training process ended unexpectedly; its pass continues in this process")
            self._result = self._rerun()
            return
        if kind == "error":
            raise content
        if kind == "report":
            self._report(*content)
        else:
            self._result = content


@contextlib.contextmanager
def _run_in_background(
    training: Pass, settings: Settings, state: TrainerState | None, report: Report
) -> Iterator[_Background]:
    """Run a pass in a child process, which is killed at the end of the block."""
    # joblib's processes do not import the user's __main__ module, which may lack `if __name__ == "__main__"`
    from joblib.externals.loky.backend import get_context

    latest = state

    def report_and_keep(entry: LogEntry, state: TrainerState, steps: int) -> None:
        nonlocal latest
        latest = state
        report(entry, state, steps)

    context = get_context("loky")
    receiver, sender = context.Pipe(duplex=False)
    work = pickle.dumps((training, settings, state))
    process = context.Process(target=_train_in_child, args=(sender, work), daemon=True)
    with blocked_signals():  # the child inherits this: Ctrl-C reaches all processes, and this one decides
        process.start()
    sender.close()  # so that `recv` raises EOFError when the child ends
    try:
        yield _Background(receiver, lambda: run_pass(training, settings, latest, report), report_and_keep)
    finally:
        if process.is_alive():  # SIGTERM is blocked in the child, and loky's processes have no kill()
            os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.join()
        receiver.close()


def _train_in_child(connection: Any, work: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where signals cannot be blocked

    # plain pickle: Connection.send would pass tensors in shared memory, which does not outlive a killed process
    def send(kind: str, content: Any) -> None:
        connection.send_bytes(pickle.dumps((kind, content)))

    training, settings, state = pickle.loads(work)
    try:
        send("result", run_pass(training, settings, state, lambda *report: send("report", report)))
    except BrokenPipeError:
        return  # the parent process was killed
    except Exception as error:
        send("error", error)


@contextlib.contextmanager
def blocked_signals() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM for the duration of the block, and in the processes started in it (POSIX only)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as loky_resource_tracker

    for tracker in (resource_tracker, loky_resource_tracker):
        tracker.ensure_running()  # unblocks both signals when it starts its process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
