"""Runs on a Ray cluster that is there already: the data goes into its object store once.

Ray itself and not joblib's backend for it: that one answers when all runs are done (it cannot yield), so nothing
could be kept of an interrupted search.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Generator, Sequence
from typing import Any

from harexport.console import say
from harexport.data.windows import Dataset
from harexport.errors import InputError, MissingExtraError
from harexport.searching.runs import Outcome, Run, lost, versions, work

_SECONDS = 5.0  # for an answer from the address: Ray itself waits for minutes, then ends the process


def finished(dataset: Dataset, runs: Sequence[Run], address: str) -> Generator[tuple[int, Outcome], None, None]:
    """Do all `runs` on the cluster, one core each; yields (index, outcome) as they end.

    Closing the iterator ends what still runs there. A worker that dies is replaced once, then its run's outcome says
    so. Raises MissingExtraError without Ray, InputError for an address where no cluster answers and for machines that
    cannot do the work.
    """
    with contextlib.redirect_stdout(sys.stderr):  # Ray prints there what it has to say of its machines
        yield from _finished(dataset, runs, address)


def _finished(dataset: Dataset, runs: Sequence[Run], address: str) -> Generator[tuple[int, Outcome], None, None]:
    ray = _connected(address)
    try:
        cores = int(ray.cluster_resources().get("CPU", 0))
        if cores < 1:
            raise InputError(f"the Ray cluster at {address} has no CPU cores to give: start it with --num-cpus")
        say(f"Ray cluster at {address}: {cores} cores")
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
