"""Runs many trials in parallel, on this machine with joblib or on a Ray cluster, and caches their results."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harexport.data.dataset import Dataset
from harexport.errors import InputError, MissingExtraError
from harexport.model.recipe import Recipe
from harexport.model_selection.trials import (
    Trial,
    TrialCache,
    TrialResult,
    create_failure,
    package_versions,
    remove_test_windows,
    run_trial,
)
from harexport.training.passes import blocked_signals
from harexport.training.validation import apply_recipe_to_dataset, check_windows_and_recipe
from harexport.utils import files
from harexport.utils.console import info, progress

_CONNECT_TIMEOUT_S = 5.0  # Ray itself waits for minutes and then ends the process


@dataclass(frozen=True)
class Execution:
    """Where trials run.

    Attributes:
        jobs: Number of processes on this machine; None: the number of cores.
        cluster: Address of a Ray cluster; None: this machine.
    """

    jobs: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.cluster is not None:
            raise InputError("--jobs applies to this machine only; a cluster runs one trial per core")


def run_trials(dataset: Dataset, trials: Sequence[Trial], folder: Path, execution: Execution) -> list[TrialResult]:
    """Run trials and return their results in the same order.

    Args:
        dataset: Dataset; its test windows are not used.
        trials: Trials to run.
        folder: Cache of finished trials, which are not repeated.
        execution: Where to run them.

    Raises:
        InputError: A file cannot be written, a process was killed, or the cluster is not usable.
        MissingExtraError: Ray is not installed.
        KeyboardInterrupt: Finished trials are cached.
    """
    files.check_writable(folder)
    dataset = remove_test_windows(dataset)
    cache = TrialCache(folder, dataset)
    results = {index: result for index, trial in enumerate(trials) if (result := cache.find(trial))}
    pending = [index for index in range(len(trials)) if index not in results]
    if results:
        info(f"{len(results)} of {len(trials)} trials are finished already (in {folder})")
    if pending:
        todo = [trials[index] for index in pending]
        if execution.cluster is not None:
            finished = run_on_cluster(dataset, todo, execution.cluster)
        else:
            finished = run_locally(dataset, todo, execution.jobs)
        try:
            with progress("training", len(pending), "trials") as advance, contextlib.closing(finished):  # type: ignore[type-var]
                for done, (position, result) in enumerate(finished, 1):
                    trial = trials[pending[position]]
                    results[pending[position]] = result
                    if result.final:
                        cache.add(trial, result)
                    if result.error:
                        info(f"{describe_trial(trial, dataset)}: {result.error}")
                    advance(done)
        except KeyboardInterrupt:
            cached = sum(result.final for result in results.values())
            info(f"Interrupted. {cached} of {len(trials)} trials are saved in {folder}. Continue with the same command")
            raise
    return [results[index] for index in range(len(trials))]


def check_recipes(dataset: Dataset, recipes: Sequence[Recipe]) -> None:
    """Check before the first training that all recipes can be trained.

    Raises:
        InputError: A recipe does not fit the dataset.
        MissingExtraError: PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "train", "training")
    for recipe in recipes:
        selected = apply_recipe_to_dataset(dataset, recipe)
        check_windows_and_recipe(selected.train, None, recipe, len(selected.contract.labels))


def describe_trial(trial: Trial, dataset: Dataset) -> str:
    """Return recipe, held-out subjects and seed as text."""
    names = ", ".join(dataset.subject_name(subject) for subject in trial.held_out)
    return f"{trial.recipe.name} without subject{'s' * (len(trial.held_out) > 1)} {names}, seed {trial.seed}"


def run_locally(dataset: Dataset, trials: Sequence[Trial], jobs: int | None) -> Iterator[tuple[int, TrialResult]]:
    """Run trials in processes and yield (index, result) as they finish. Closing the iterator ends the processes.

    Raises:
        InputError: A process was killed. Results that were yielded before are valid.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = joblib.Parallel(
        n_jobs=min(jobs or joblib.cpu_count(), len(trials)), batch_size=1, return_as="generator_unordered"
    )
    tasks = (joblib.delayed(_run_indexed)(dataset, index, trial) for index, trial in enumerate(trials))
    with blocked_signals():  # the processes inherit this: Ctrl-C reaches all of them, and this one decides
        results = parallel(tasks)
    try:
        for result in results:  # noqa: UP028 - `yield from` would close `results` before the block below
            yield result
    except TerminatedWorkerError:
        raise InputError(
            "a training process was killed, possibly because memory ran out. Finished trials are saved: continue with "
            "the same command and fewer --jobs"
        ) from None
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib warns about the trials that are canceled
            results.close()


def _run_indexed(dataset: Dataset, index: int, trial: Trial) -> tuple[int, TrialResult]:
    return index, run_trial(dataset, trial)


def run_on_cluster(dataset: Dataset, trials: Sequence[Trial], address: str) -> Iterator[tuple[int, TrialResult]]:
    """Run trials on a Ray cluster, one core each, and yield (index, result) as they finish.

    Closing the iterator ends the running trials. A worker that dies is replaced once.

    Raises:
        InputError: There is no cluster at the address, or its machines lack the same packages.
        MissingExtraError: Ray is not installed.
    """
    with contextlib.redirect_stdout(sys.stderr):  # Ray prints messages to standard output
        ray = _connect(address)
        try:
            cores = int(ray.cluster_resources().get("CPU", 0))
            if cores < 1:
                raise InputError(f"the Ray cluster at {address} has no CPU cores; start it with --num-cpus")
            info(f"Ray cluster at {address}: {cores} cores")
            shared, versions = ray.put(dataset), package_versions()
            remote = ray.remote(num_cpus=1, max_retries=1)(_run_with_same_versions)
            waiting = {remote.remote(versions, shared, trial): index for index, trial in enumerate(trials)}
            while waiting:
                (ready,), _ = ray.wait(list(waiting))
                yield waiting.pop(ready), _fetch_result(ray, ready, address)
        finally:
            ray.shutdown()


def _fetch_result(ray: Any, reference: Any, address: str) -> TrialResult:
    try:
        result: TrialResult | str = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # run_trial itself does not raise
        raise InputError(
            f"a machine of the cluster at {address} cannot run the trials ({_last_line(error)}); install the same "
            "version of harexport with '.[train]' on all machines"
        ) from None
    except ray.exceptions.RayError as error:
        return create_failure(f"its process on the cluster died ({_last_line(error)}). The same command repeats it")
    if isinstance(result, str):
        raise InputError(result)
    return result


def _run_with_same_versions(expected: dict[str, str], dataset: Dataset, trial: Trial) -> TrialResult | str:
    """Run a trial on the cluster. Return an error message if package versions, and hence results, may differ."""
    versions = package_versions()
    wrong = [
        f"{name} {versions[name]} instead of {value}" for name, value in expected.items() if versions[name] != value
    ]
    if wrong:
        return f"a machine of the cluster has {', '.join(wrong)}; install the same versions on all machines"
    return run_trial(dataset, trial)


def _connect(address: str) -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    _check_address(address)
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "cluster", "--cluster") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"cannot connect to a Ray cluster at {address} ({_last_line(error)}). Start one with `ray start --head`, "
            "with the same version of Ray"
        ) from None
    return ray


def _check_address(address: str) -> None:
    """Raise InputError if the address is malformed or does not accept connections."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"--cluster {address}: give HOST:PORT of a running Ray cluster, or auto for the one on this machine"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"no Ray cluster at {address} ({error}). `ray start --head` starts one and prints its address"
        ) from None


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:300]
