"""Runs in processes of this machine: the data reaches each process once, an outcome comes back when it is there."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from harexport.data.windows import Dataset
from harexport.searching.runs import Outcome, Run, lost, work


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def finished(dataset: Dataset, runs: Sequence[Run], jobs: int) -> Generator[tuple[int, Outcome], None, None]:
    """Do all `runs`, `jobs` at once; yields (index, outcome) as they end. Closing the iterator ends the processes.

    A process that is killed costs its own run: that one's outcome says so, a new process goes on with the others.
    (concurrent.futures gives up all runs then, and cannot say which one it was.)
    """
    waiting = deque(range(len(runs)))
    workers: dict[Connection, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                worker = _Worker(dataset)
                workers[worker.pipe] = worker
                worker.ask(waiting.popleft(), runs)
            for pipe in wait(list(workers)):
                worker = workers[pipe]  # type: ignore[index]  # only connections were waited for
                index, outcome = worker.index, worker.answer()
                if waiting and worker.alive:
                    worker.ask(waiting.popleft(), runs)
                else:
                    del workers[worker.pipe]
                    worker.end()
                yield index, outcome
    finally:
        for worker in workers.values():
            worker.end()


class _Worker:
    """A process and this end of the pipe to it. `index`: the run it is busy with."""

    def __init__(self, dataset: Dataset) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of running threads
        self.pipe, other = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(other, dataset), daemon=True)
        self._process.start()
        other.close()  # so that the pipe ends when the process does
        self.index = -1
        self.alive = True

    def ask(self, index: int, runs: Sequence[Run]) -> None:
        self.index = index
        with contextlib.suppress(OSError):  # it is dead already: `answer` finds out
            self.pipe.send(runs[index])

    def answer(self) -> Outcome:
        try:
            outcome: Outcome = self.pipe.recv()
        except (EOFError, OSError):
            self.alive = False
            self._process.join(10)
            return lost(_death(self._process.exitcode))
        return outcome

    def end(self) -> None:
        self.pipe.close()
        self._process.terminate()
        self._process.join(10)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"its process was killed ({name}); if memory ran out, take fewer --jobs. The same command tries it again"
    return f"its process ended with exit code {code}. The same command tries it again"


def _serve(pipe: Connection, dataset: Dataset) -> None:
    """In the process: run after run, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that asks decides
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(work(dataset, pipe.recv()))
