"""All runs of a search: those that stand already, the others here or on a cluster, each kept as soon as it is done."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import multiprocessing
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from harexport.data.dataset import Dataset
from harexport.errors import InputError, MissingExtraError
from harexport.model.recipe import Recipe
from harexport.model_selection.trials import Kept, Outcome, Run, lost, versions, without_test, work
from harexport.training.validation import apply_recipe_to_dataset, check_windows_and_recipe
from harexport.utils import files
from harexport.utils.console import info, progress


@dataclass(frozen=True)
class Where:
    """Where runs are done: in so many processes here (None: one a core), or on the Ray cluster at an address."""

    jobs: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.cluster is not None:
            raise InputError("--jobs is for this machine: a cluster takes as many runs at once as it has cores")


def gather(dataset: Dataset, runs: Sequence[Run], folder: Path, where: Where) -> list[Outcome]:
    """The outcome of each of `runs`, in their order. `folder` holds the finished ones, which are not done again.

    Raises InputError where nothing can be written, MissingExtraError without Ray; KeyboardInterrupt (SIGTERM too) goes
    on, after a line that says what is kept.
    """
    files.check_writable(folder)
    dataset = without_test(dataset)
    kept = Kept(folder, dataset)
    outcomes = {index: outcome for index, run in enumerate(runs) if (outcome := kept.find(run))}
    pending = [index for index in range(len(runs)) if index not in outcomes]
    if outcomes:
        info(f"{len(outcomes)} of {len(runs)} runs stand in {folder} already")
    if pending:
        try:
            finished = _finished(dataset, [runs[index] for index in pending], where)
            with progress("training", len(pending), "runs") as advance, contextlib.closing(finished):
                for done, (place, outcome) in enumerate(finished, 1):
                    run = runs[pending[place]]
                    outcomes[pending[place]] = outcome
                    if outcome.final:
                        kept.add(run, outcome)
                    if outcome.error:
                        info(f"{described(run, dataset)}: {outcome.error}")
                    advance(done)
        except KeyboardInterrupt:
            stand = sum(outcome.final for outcome in outcomes.values())
            info(f"Interrupted; {stand} of {len(runs)} runs are kept in {folder}. Go on with the same command")
            raise
    return [outcomes[index] for index in range(len(runs))]


def check(dataset: Dataset, recipes: Sequence[Recipe]) -> None:
    """Before the first of many trainings: raise InputError for data and recipes that cannot end in a network,
    MissingExtraError without torch."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "train", "training")
    for recipe in recipes:
        seen = apply_recipe_to_dataset(dataset, recipe)
        check_windows_and_recipe(seen.train, None, recipe, len(seen.contract.labels))


def described(run: Run, dataset: Dataset) -> str:
    """Which run it is, in words."""
    people = ", ".join(dataset.subject_name(subject) for subject in run.held_out)
    return f"{run.recipe.name} without subject{'s' * (len(run.held_out) > 1)} {people}, seed {run.seed}"


def _finished(dataset: Dataset, runs: Sequence[Run], where: Where) -> Generator[tuple[int, Outcome], None, None]:
    if where.cluster is not None:
        pass

        return finished_on_cluster(dataset, runs, where.cluster)
    pass

    return finished_locally(dataset, runs, min(where.jobs or cores(), len(runs)))


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def finished_locally(dataset: Dataset, runs: Sequence[Run], jobs: int) -> Generator[tuple[int, Outcome], None, None]:
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


_SECONDS = 5.0  # for an answer from the address: Ray itself waits for minutes, then ends the process


def finished_on_cluster(
    dataset: Dataset, runs: Sequence[Run], address: str
) -> Generator[tuple[int, Outcome], None, None]:
    """Do all `runs` on the cluster, one core each; yields (index, outcome) as they end.

    Closing the iterator ends what still runs there. A worker that dies is replaced once, then its run's outcome says
    so. Raises MissingExtraError without Ray, InputError for an address where no cluster answers and for machines that
    cannot do the work.
    """
    with contextlib.redirect_stdout(sys.stderr):  # Ray prints there what it has to say of its machines
        yield from _finished_on_cluster(dataset, runs, address)


def _finished_on_cluster(
    dataset: Dataset, runs: Sequence[Run], address: str
) -> Generator[tuple[int, Outcome], None, None]:
    ray = _connected(address)
    try:
        cores = int(ray.cluster_resources().get("CPU", 0))
        if cores < 1:
            raise InputError(f"the Ray cluster at {address} has no CPU cores to give: start it with --num-cpus")
        info(f"Ray cluster at {address}: {cores} cores")
        shared, here = ray.put(dataset), versions()
        ask = ray.remote(num_cpus=1, max_retries=1)(_work)
        waiting = {ask.remote(here, shared, run): index for index, run in enumerate(runs)}
        del shared
        while waiting:
            (ready,), _ = ray.wait(list(waiting))
            index = waiting.pop(ready)
            try:
                outcome = ray.get(ready)
            except ray.exceptions.RayTaskError as error:  # `work` itself raises nothing
                raise InputError(
                    f"a machine of the cluster at {address} cannot do the work ({_last_line(error)}); install the same "
                    "harexport[train] on all of them"
                ) from None
            except ray.exceptions.RayError as error:
                outcome = lost(
                    f"its process on the cluster died ({_last_line(error)}). The same command tries it again"
                )
            if isinstance(outcome, str):
                raise InputError(outcome)
            yield index, outcome
    finally:
        ray.shutdown()


def _work(expected: dict[str, str], dataset: Dataset, run: Run) -> Outcome | str:
    """On the cluster. Another version may end in other numbers: then, in words, what is to be installed."""
    here = versions()
    wrong = [f"{name} {here[name]} instead of {version}" for name, version in expected.items() if here[name] != version]
    if wrong:
        return f"a machine of the cluster has {', '.join(wrong)}; install the same versions on all of them"
    return work(dataset, run)


def _connected(address: str) -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent home
    _check(address)
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "cluster", "--cluster") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"no Ray cluster to connect to at {address} ({_last_line(error)}); `ray start --head` starts one, and its "
            "version must be the one here"
        ) from None
    return ray


def _check(address: str) -> None:
    """Raise InputError for an address that cannot be one, and where nobody listens."""
    if address == "auto":
        return
    place = address.removeprefix("ray://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"--cluster {address}: give HOST:PORT of a running Ray cluster, or auto for the one on this machine"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"no Ray cluster at {address} ({error}); `ray start --head` starts one and prints its address"
        ) from None


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:300]
