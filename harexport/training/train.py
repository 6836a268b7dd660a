"""`harexport train`: a pass that holds subjects out, a pass on all of them, the test set once, one checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Dataset, Windows
from harexport.errors import InputError, MissingExtraError
from harexport.evaluation import metrics
from harexport.model import checkpoint as checkpoints
from harexport.model.checkpoint import Checkpoint
from harexport.model.network import Network, softmax
from harexport.model.recipe import Recipe
from harexport.training import calibration as temperatures
from harexport.training import coarse_labels, validation
from harexport.training import report as results
from harexport.training.calibration import Temperature
from harexport.training.history import EventLog
from harexport.training.report import Outcome, outcome
from harexport.training.resume import Progress
from harexport.utils import files
from harexport.utils.console import info
from harexport.version import __version__

if TYPE_CHECKING:
    from harexport.training.history import Row, State

_VALIDATION, _FINAL = "held-out pass", "all subjects"


@dataclass(frozen=True)
class Trained:
    """What `train` leaves: the checkpoint and its path, the report in words, the pictures' paths, seconds by pass."""

    path: Path
    checkpoint: Checkpoint
    report: str
    pictures: tuple[Path, ...]
    phase_seconds: dict[str, float]

    @property
    def seconds(self) -> float:
        return sum(self.phase_seconds.values())


def checkpoint_path(out: Path, recipe: Recipe) -> Path:
    return out / f"{recipe.name}.safetensors"


def resume_path(out: Path, recipe: Recipe) -> Path:
    """Where an interrupted run is kept until it is done."""
    return out / f"{recipe.name}.resume.pt"


def train(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    seed: int = 0,
    resume: bool = False,
    watch_test: bool = False,
    *,
    device: str = "cpu",
    temperature: bool = False,
    tensorboard: bool = False,
    again: str = "the same command, and --resume where it is harexport train",
) -> Trained:
    """Train `recipe` on `dataset.train` and write `<recipe>.safetensors`, its history and pictures to `out`.

    If subjects are held out, a first pass without them gives the validation figures; the model that is kept is then
    trained on all training subjects with the same recipe, so nothing is chosen by looking. The test windows are
    answered once, at the end, by the float64 reference. `watch_test` logs them on the way, as the published originals
    did, and marks the figures. `device`: "cpu", repeatable to the byte; "cuda", "mps", or "auto" for a GPU where there
    is one. `temperature` calibrates the network on the held-out subjects (temperature.py). `tensorboard` logs to
    `<recipe>.tensorboard/` too.

    Ctrl-C and SIGTERM save the run, say `again`, the command that goes on with it, and raise KeyboardInterrupt;
    `resume` goes on with it. Raises InputError for data, recipe or state that do not fit and where files cannot be
    written (the run is kept then), CheckFailedError when training diverges, MissingExtraError for packages.
    """
    try:
        import torch

        from harexport.training.trainer import pick_device
    except ImportError:
        raise MissingExtraError("torch", "train", "training") from None
    dataset = validation.as_seen(dataset, recipe)
    _say_test_set(dataset.test)
    validation.check(dataset, recipe)
    held_subjects = validation.held_out(dataset, recipe)
    if temperature and not held_subjects:
        raise InputError(
            f"--temperature is fitted on held-out subjects, and recipe {recipe.name} holds nobody out; "
            "name some in validation.subjects, or leave --temperature out"
        )
    chosen = pick_device(device)
    fingerprint = {
        "recipe": recipe.to_dict(),
        "held_out": list(held_subjects),
        "seed": seed,
        "data": dataset.digest,
        "device": chosen,
        "torch": str(torch.__version__),
        "version": __version__,
        "watch_test": watch_test,
        "temperature": temperature,
    }
    progress = Progress(resume_path(out, recipe), fingerprint, resume)
    path = checkpoint_path(out, recipe)
    if path.is_dir():
        raise InputError(f"{path} is a folder, in the checkpoint's place; move it, or choose another folder with --out")
    files.check_writable(out)
    log = EventLog(out / f"{recipe.name}.tensorboard") if tensorboard else None
    run = _Run(dataset, recipe, seed, held_subjects, chosen, watch_test, temperature, progress, log)
    progress.begin()
    try:
        judged = run.judge(run.passes())
        try:
            return run.write(path, judged)
        except InputError as error:
            raise InputError(f"{error}. {progress.kept(again)}") from error
    except KeyboardInterrupt:
        info(f"Interrupted. {progress.kept(again)}")
        raise
    finally:
        if log is not None:
            log.close()


def _say_test_set(test: Windows) -> None:
    if len(test):
        info(
            f"Test set: {tuple(test.signals.shape)}, mean {test.signals.mean():.7f}, "
            f"standard deviation {test.signals.std():.6f}"
        )
    else:
        info("There are no test windows: the figures will be those of the held-out subjects")


@dataclass(frozen=True)
class _Judged:
    """The network as it is kept, its outcomes ("held out", "test"), and what they were before calibration."""

    checkpoint: Checkpoint
    outcomes: dict[str, Outcome]
    uncalibrated: dict[str, metrics.Reliability]


@dataclass(frozen=True)
class _Run:
    """One run of `train`: its passes, what they are worth, what they leave."""

    dataset: Dataset
    recipe: Recipe
    seed: int
    held_subjects: tuple[int, ...]
    device: str
    watch_test: bool
    calibrate: bool
    progress: Progress
    log: EventLog | None

    @property
    def held(self) -> Windows | None:
        return self.dataset.train.select_subjects(self.held_subjects) if self.held_subjects else None

    def passes(self) -> Network:
        """Both passes, or what an interrupted run has left of them; the network of the second, which is kept."""
        from harexport.training.trainer import fit

        train, test, held = self.dataset.train, self.dataset.test, self.held
        phases: list[tuple[str, Windows, Windows | None]] = []
        if held is not None and _VALIDATION not in self.progress.finished:
            phases.append((_VALIDATION, train.select_subjects(self.held_subjects, exclude=True), held))
        phases.append((_FINAL, train, test if self.watch_test and len(test) else None))
        for name, windows, watched in phases:
            subjects = len(set(windows.subjects.tolist()))
            info(
                f"{self.recipe.name}, {name}, on the {self.device}: {len(windows)} windows of {subjects} subjects"
                + (f"; watching {len(watched)} windows" if watched is not None else "")
            )
            network, rows = fit(
                windows,
                watched,
                self.recipe,
                len(self.dataset.contract.labels),
                self.seed,
                resume=self.progress.state(name),
                on_report=self._reporter(name),
                device=self.device,
            )
            answers = network.logits(held.signals) if name == _VALIDATION and held is not None else None
            self.progress.finish(name, rows, answers)
        return network

    def _reporter(self, phase: str) -> Callable[[Row, State, int], None]:
        """Where a row of the log goes: to the terminal and the state file, and to TensorBoard."""
        report, log = self.progress.reporter(phase), self.log
        if log is None:
            return report
        state = self.progress.state(phase)
        log.begin(phase, state.history[-1].windows + 1 if state is not None and state.history else 0)

        def both(row: Row, state: State, steps: int) -> None:
            report(row, state, steps)
            log.add(row)

        return both

    def judge(self, network: Network) -> _Judged:
        """Calibrate if asked to, then open the test set."""
        name, test = self.dataset.subject_name, self.dataset.test
        outcomes: dict[str, Outcome] = {}
        before: dict[str, metrics.Reliability] = {}
        found: Temperature | None = None
        held, logits = self.held, self.progress.finished[_VALIDATION].held_out_logits if self.held_subjects else None
        if held is not None and logits is not None:
            found = _temperature(logits, held, network.coarse_head is not None) if self.calibrate else None
            value = found.value if found else 1.0
            outcomes[results.HELD_OUT] = outcome(logits / value, held, found is not None, name)
            before[results.HELD_OUT] = metrics.reliability(softmax(logits), held.labels)
        if found is not None:
            network = temperatures.scaled(network, found.value)
        if len(test):
            logits = network.logits(test.signals)
            outcomes[results.TEST] = outcome(logits, test, found is not None, name)
            before[results.TEST] = metrics.reliability(softmax(logits * (found.value if found else 1.0)), test.labels)
        return _Judged(self._checkpoint(network, outcomes, found), outcomes, before if found else {})

    def _checkpoint(self, network: Network, outcomes: dict[str, Outcome], found: Temperature | None) -> Checkpoint:
        import torch

        test, held = outcomes.get(results.TEST), outcomes.get(results.HELD_OUT)
        data = self.dataset
        return Checkpoint(
            network,
            data.contract,
            self.recipe,
            self.seed,
            data={"source": data.source, "digest": data.digest, "train_windows": len(data.train)},
            figures={
                "test": test and test.to_dict(),
                "validation": held and {"subjects": list(self.held_subjects), **held.to_dict()},
                "temperature": found and found.to_dict(),
                "coarse": self._coarse(network),
                "test_watched": self.watch_test,
                "device": self.device,
                "versions": {"torch": str(torch.__version__)},
            },
        )

    def _coarse(self, network: Network) -> dict[str, Any] | None:
        """What the second head is worth, where there is one and a test set to ask."""
        if network.coarse_head is None or not len(self.dataset.test):
            return None
        held_out_pass = self.progress.finished[_VALIDATION].rows if self.held_subjects else []
        return coarse_labels.figures(network, self.recipe.model.coarse, self.dataset.test, held_out_pass)

    def write(self, path: Path, judged: _Judged) -> Trained:
        """The checkpoint first, for it is what matters; then history and pictures. Raises InputError."""
        checkpoints.save(judged.checkpoint, path)
        phases = {name: one.rows for name, one in self.progress.finished.items()}
        stem, contract = path.with_suffix(""), self.dataset.contract
        results.write_history(stem, phases, self.progress.seconds)
        drawn = results.draw(stem, phases, contract, judged.outcomes, judged.uncalibrated)
        self.progress.done()
        report = results.report(contract, judged.outcomes, judged.checkpoint.figures["coarse"])
        return Trained(path, judged.checkpoint, report, drawn, dict(self.progress.seconds))


def _temperature(logits: NDArray[np.float64], held: Windows, coarse: bool) -> Temperature | None:
    """Fit the temperature, and say what it does."""
    found = temperatures.fitted(logits, held.labels)
    if found is None:
        info("No temperature fits the held-out subjects (are all of them answered right?): nothing was calibrated")
        return None
    info(
        f"Temperature {found.value:.3f}; on the held-out subjects cross-entropy {found.loss_before:.4f} -> "
        f"{found.loss_after:.4f}, ECE {found.ece_before:.4f} -> {found.ece_after:.4f}"
        + ("; the coarse head stays as it is" if coarse else "")
    )
    return found
