"""Train a recipe: a pass without the held-out subjects, a pass on all subjects, one evaluation on the test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harexport.data.dataset import Dataset, Windows
from harexport.data.mounting import select_held_out
from harexport.data.splits import describe_split
from harexport.errors import InputError, MissingExtraError
from harexport.evaluation import metrics
from harexport.model import checkpoint as checkpoints
from harexport.model.checkpoint import Checkpoint
from harexport.model.network import Network, softmax
from harexport.model.recipe import Recipe
from harexport.training import coarse_labels, report, validation
from harexport.training.history import TensorBoardLog
from harexport.training.report import Evaluation, evaluate_logits
from harexport.training.resume import ResumableRun, check_state_file, lock_run
from harexport.training.temperature import Temperature, apply_temperature, fit_temperature
from harexport.utils import files
from harexport.utils.console import info
from harexport.version import __version__

if TYPE_CHECKING:
    from harexport.training.history import EvalSet, LogEntry, TrainerState
    from harexport.training.resume import Report

HELD_OUT_PASS, FINAL_PASS = "held-out pass", "all subjects"
_MIN_CALIBRATION_SUBJECTS = 3  # a temperature fitted on fewer may not fit other people


@dataclass(frozen=True)
class TrainingResult:
    """Result of `train`.

    Attributes:
        path: File of the checkpoint.
        checkpoint: The trained network with its metrics.
        report: Metrics as text.
        pictures: Files of the figures.
        phase_seconds: Computing time of each pass; the passes may overlap in time.
        seconds: Wall-clock time, of all sessions of a resumed run.
    """

    path: Path
    checkpoint: Checkpoint
    report: str
    pictures: tuple[Path, ...]
    phase_seconds: dict[str, float]
    seconds: float


def checkpoint_path(out: Path, recipe: Recipe) -> Path:
    """Return the path of a recipe's checkpoint."""
    return out / f"{recipe.name}.safetensors"


def resume_path(out: Path, recipe: Recipe) -> Path:
    """Return the path of the state file of an interrupted run."""
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
    temperature: bool = True,
    tensorboard: bool = False,
    resume_command: str = "the same command with --resume",
) -> TrainingResult:
    """Train a recipe and write `<recipe>.safetensors`, its log and its figures.

    A first pass without the held-out subjects gives the validation metrics and the temperature. The network that is
    saved is trained on all training subjects with the same recipe and evaluated on the test windows once, by the
    float64 reference. Ctrl-C saves the run.

    Args:
        dataset: Training and test windows.
        recipe: Hyperparameters.
        out: Output folder.
        seed: Seed of the random number generators.
        resume: Continue an interrupted run.
        watch_test: Log the test metrics during training, as the published baselines did. The checkpoint is marked.
        device: "cpu" (reproducible byte for byte), "cuda", "mps", or "auto" for a GPU if there is one.
        temperature: Calibrate the probabilities on the held-out subjects, if there are any.
        tensorboard: Also write TensorBoard logs to `<recipe>.tensorboard/`.
        resume_command: Command for the message about an interrupted run.

    Raises:
        InputError: Dataset, recipe or saved state do not fit together, or a file cannot be written.
        CheckFailedError: Training diverged.
        MissingExtraError: PyTorch or TensorBoard is not installed.
        KeyboardInterrupt: The run was interrupted and saved.
    """
    try:
        import torch

        from harexport.training.trainer import resolve_device
    except ImportError:
        raise MissingExtraError("torch", "train", "training") from None
    dataset = validation.apply_recipe_to_dataset(dataset, recipe)
    _log_test_set(dataset.test)
    validation.check_recipe(dataset, recipe)
    held_out = validation.held_out_subjects(dataset, recipe)
    resolved = resolve_device(device)
    fingerprint = {
        "recipe": recipe.to_dict(),
        "held_out": list(held_out),
        "seed": seed,
        "data": dataset.digest,
        "device": resolved,
        "torch": str(torch.__version__),
        "version": __version__,
        "watch_test": watch_test,
        "temperature": temperature,
    }
    path = checkpoint_path(out, recipe)
    if path.is_dir():
        raise InputError(f"{path} is a folder; move it, or choose another folder with --out")
    if resume:
        check_state_file(resume_path(out, recipe))
    files.check_writable(out)
    with lock_run(out / f".{recipe.name}.lock"):
        saved = ResumableRun(resume_path(out, recipe), fingerprint, resume)
        log = TensorBoardLog(out / f"{recipe.name}.tensorboard") if tensorboard else None
        run = _Run(dataset, recipe, seed, held_out, resolved, watch_test, temperature, saved, log)
        try:
            evaluated = run.evaluate(run.train())
            try:
                return run.write(path, evaluated)
            except InputError as error:
                raise InputError(f"{error}. {saved.save_and_describe(resume_command)}") from error
        except KeyboardInterrupt:
            info(f"Interrupted. {saved.save_and_describe(resume_command)}")
            raise
        finally:
            if log is not None:
                log.close()


def _log_test_set(test: Windows) -> None:
    if len(test):
        mean, std = test.signals.mean(), test.signals.std()
        info(f"Test set: {tuple(test.signals.shape)}, mean {mean:.7f}, standard deviation {std:.6f}")
    else:
        info("There are no test windows: metrics are reported for the held-out subjects")


@dataclass(frozen=True)
class _Evaluated:
    """The checkpoint, its evaluations by set ("held out", "test"), and the reliability before calibration."""

    checkpoint: Checkpoint
    evaluations: dict[str, Evaluation]
    uncalibrated: dict[str, metrics.Reliability]


@dataclass(frozen=True)
class _Run:
    """One run of `train`."""

    dataset: Dataset
    recipe: Recipe
    seed: int
    held_out_subjects: tuple[int, ...]
    device: str
    watch_test: bool
    calibrate: bool
    saved: ResumableRun
    log: TensorBoardLog | None

    @property
    def held_out(self) -> Windows | None:
        return select_held_out(self.dataset, self.held_out_subjects) if self.held_out_subjects else None

    def train(self) -> Network:
        """Run the passes that are not finished yet. Return the network of the final pass."""
        from harexport.training.passes import Pass, PassResult, Settings, run_passes

        train, test, held_out = self.dataset.train, self.dataset.test, self.held_out
        passes: list[Pass] = []
        if held_out is not None and HELD_OUT_PASS not in self.saved.finished:
            others = train.select_subjects(self.held_out_subjects, exclude=True)
            passes.append(Pass(HELD_OUT_PASS, others, ("held_out", held_out), held_out))
        watched: tuple[EvalSet, Windows] | None = ("test", test) if self.watch_test and len(test) else None
        passes.append(Pass(FINAL_PASS, train, watched, None))
        for training in passes:
            subjects = len(set(training.train.subjects.tolist()))
            message = f"{self.recipe.name}, {training.name}, on {self.device}: {len(training.train)} windows"
            message += f" of {subjects} subjects"
            if training.evaluated is not None:
                name, windows = training.evaluated
                message += f", evaluated on {len(windows)} {name.replace('_', '-')} windows"
            info(message)

        def finish(name: str, result: PassResult) -> None:
            self.saved.finish(name, result.history, result.logits)

        settings = Settings(self.recipe, len(self.dataset.contract.labels), self.seed, self.device)
        states = {training.name: self.saved.state(training.name) for training in passes}
        reports = {training.name: self._reporter(training.name) for training in passes}
        return run_passes(passes, settings, states, reports, finish)

    def _reporter(self, name: str) -> Report:
        """Return a callback that passes log entries to the terminal, the state file and TensorBoard."""
        report, log = self.saved.reporter(name), self.log
        if log is None:
            return report
        state = self.saved.state(name)
        log.begin(name, state.history[-1].windows + 1 if state is not None and state.history else 0)

        def report_and_log(entry: LogEntry, state: TrainerState, steps: int) -> None:
            report(entry, state, steps)
            log.add(name, entry)

        return report_and_log

    def evaluate(self, network: Network) -> _Evaluated:
        """Calibrate the network, then evaluate it on the test set."""
        subject_name, test, held_out = self.dataset.subject_name, self.dataset.test, self.held_out
        evaluations: dict[str, Evaluation] = {}
        before: dict[str, metrics.Reliability] = {}
        temperature: Temperature | None = None
        if held_out is not None:
            logits = self.saved.finished[HELD_OUT_PASS].held_out_logits
            if logits is None or logits.shape != (len(held_out), len(self.dataset.contract.labels)):
                raise InputError(f"{self.saved.path} is damaged; start without --resume, which replaces it")
            temperature = self._fit_temperature(logits, held_out, network.coarse_head is not None)
            value = temperature.value if temperature else 1.0
            evaluations[report.HELD_OUT] = evaluate_logits(
                logits / value, held_out, temperature is not None, subject_name
            )
            before[report.HELD_OUT] = metrics.reliability(softmax(logits), held_out.labels)
        elif self.calibrate:
            info("No subjects are held out, so the probabilities are not calibrated")
        if temperature is not None:
            network = apply_temperature(network, temperature.value)
        if len(test):
            logits = network.logits(test.signals)
            evaluations[report.TEST] = evaluate_logits(logits, test, temperature is not None, subject_name)
            uncalibrated = logits * (temperature.value if temperature else 1.0)
            before[report.TEST] = metrics.reliability(softmax(uncalibrated), test.labels)
            if temperature is not None:
                _log_test_calibration(before[report.TEST].error, evaluations[report.TEST].reliability.error)
        checkpoint = self._checkpoint(network, evaluations, temperature)
        return _Evaluated(checkpoint, evaluations, before if temperature else {})

    def _fit_temperature(self, logits: NDArray[np.float64], held_out: Windows, has_coarse: bool) -> Temperature | None:
        """Fit the temperature if calibration is on, and log its effect."""
        if not self.calibrate:
            return None
        temperature = fit_temperature(logits, held_out.labels)
        if temperature is None:
            info("The probabilities are not calibrated: no temperature minimizes the loss on the held-out subjects")
            return None
        info(
            f"Temperature {temperature.value:.3f}. On the held-out subjects: cross-entropy "
            f"{temperature.loss_before:.4f} -> {temperature.loss_after:.4f}, "
            f"ECE {temperature.ece_before:.4f} -> {temperature.ece_after:.4f}"
            + ("; the coarse head is not calibrated" if has_coarse else "")
        )
        if len(self.held_out_subjects) < _MIN_CALIBRATION_SUBJECTS:
            info(
                f"Warning: the temperature was fitted on {len(self.held_out_subjects)} held-out subject(s) and may not "
                "fit other people. Hold out more subjects, or use --no-temperature"
            )
        return temperature

    def _checkpoint(
        self, network: Network, evaluations: dict[str, Evaluation], temperature: Temperature | None
    ) -> Checkpoint:
        import torch

        test, held_out = evaluations.get(report.TEST), evaluations.get(report.HELD_OUT)
        data = self.dataset
        return Checkpoint(
            network,
            data.contract,
            self.recipe,
            self.seed,
            data={
                "source": data.source,
                "digest": data.digest,
                "train_windows": len(data.train),
                "split": describe_split(data),
            },
            figures={
                "test": test and test.to_dict(),
                "validation": held_out and {"subjects": list(self.held_out_subjects), **held_out.to_dict()},
                "temperature": temperature and temperature.to_dict(),
                "coarse": self._coarse_metrics(network),
                "test_watched": self.watch_test,
                "device": self.device,
                "versions": {"torch": str(torch.__version__)},
            },
        )

    def _coarse_metrics(self, network: Network) -> dict[str, Any] | None:
        """Return the metrics of the coarse head, None without one or without a test set."""
        if network.coarse_head is None or not len(self.dataset.test):
            return None
        history = self.saved.finished[HELD_OUT_PASS].history if self.held_out_subjects else []
        return coarse_labels.coarse_metrics(network, self.recipe.model.coarse, self.dataset.test, history)

    def write(self, path: Path, evaluated: _Evaluated) -> TrainingResult:
        """Write the checkpoint first, then log and figures."""
        checkpoints.save(evaluated.checkpoint, path)
        names = [name for name in (HELD_OUT_PASS, FINAL_PASS) if name in self.saved.finished]
        histories = {name: self.saved.finished[name].history for name in names}
        seconds = {name: self.saved.seconds[name] for name in names}
        stem, contract, elapsed = path.with_suffix(""), self.dataset.contract, self.saved.elapsed
        report.write_history(stem, histories, seconds, elapsed)
        pictures = report.plot_results(stem, histories, contract, evaluated.evaluations, evaluated.uncalibrated)
        self.saved.delete()
        text = report.format_results(
            contract, evaluated.evaluations, evaluated.uncalibrated, evaluated.checkpoint.figures["coarse"]
        )
        return TrainingResult(path, evaluated.checkpoint, text, pictures, seconds, elapsed)


def _log_test_calibration(before: float, after: float) -> None:
    info(f"On the test set: ECE {before:.4f} -> {after:.4f}")
    if after > before:
        info(
            "Warning: calibration increased the ECE on the test set, so the held-out subjects are not representative. "
            "Hold out other or more subjects, or use --no-temperature"
        )
