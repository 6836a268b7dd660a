"""All runs of a search: those that stand already, the others here or on a cluster, each kept as soon as it is done."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harexport import files
from harexport.console import say, track
from harexport.data.windows import Dataset
from harexport.errors import InputError, MissingExtraError
from harexport.interrupts import interruptible
from harexport.searching.runs import Kept, Outcome, Run, without_test
from harexport.training.fitness import as_seen, check_fit
from harexport.training.recipe import Recipe


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
        say(f"{len(outcomes)} of {len(runs)} runs stand in {folder} already")
    if pending:
        try:
            finished = _finished(dataset, [runs[index] for index in pending], where)
            with interruptible(), track("training", len(pending), "runs") as advance, contextlib.closing(finished):
                for done, (place, outcome) in enumerate(finished, 1):
                    run = runs[pending[place]]
                    outcomes[pending[place]] = outcome
                    if outcome.final:
                        kept.add(run, outcome)
                    if outcome.error:
                        say(f"{described(run, dataset)}: {outcome.error}")
                    advance(done)
        except KeyboardInterrupt:
            stand = sum(outcome.final for outcome in outcomes.values())
            say(f"Interrupted; {stand} of {len(runs)} runs are kept in {folder}. Go on with the same command")
            raise
    return [outcomes[index] for index in range(len(runs))]


def check(dataset: Dataset, recipes: Sequence[Recipe]) -> None:
    """Before the first of many trainings: raise InputError for data and recipes that cannot end in a network,
    MissingExtraError without torch."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "train", "training")
    for recipe in recipes:
        seen = as_seen(dataset, recipe)
        check_fit(seen.train, None, recipe, len(seen.contract.labels))


def described(run: Run, dataset: Dataset) -> str:
    """Which run it is, in words."""
    people = ", ".join(dataset.subject_name(subject) for subject in run.held_out)
    return f"{run.recipe.name} without subject{'s' * (len(run.held_out) > 1)} {people}, seed {run.seed}"


def _finished(dataset: Dataset, runs: Sequence[Run], where: Where) -> Generator[tuple[int, Outcome], None, None]:
    if where.cluster is not None:
        from harexport.searching import cluster

        return cluster.finished(dataset, runs, where.cluster)
    from harexport.searching import local

    return local.finished(dataset, runs, min(where.jobs or local.cores(), len(runs)))
