"""`harexport train`: a pass that holds subjects out, a pass on all of them, the test set once, one checkpoint."""

from __future__ import annotations

import copy
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harexport import __version__, files, metrics, pictures
from harexport.console import say
from harexport.data.windows import Dataset, Windows
from harexport.errors import InputError, MissingExtraError
from harexport.training import checkpoint as checkpoints
from harexport.training.checkpoint import Checkpoint
from harexport.training.recipe import Recipe

if TYPE_CHECKING:
    from harexport.training.loop import Row, State

_SAVE_EVERY_SECONDS = 10.0
_VALIDATION, _FINAL = "held-out pass", "all subjects"


@dataclass(frozen=True)
class Trained:
    """What `train` leaves: the checkpoint and its path, the report in words, and the pictures' paths."""

    path: Path
    checkpoint: Checkpoint
    report: str
    pictures: tuple[Path, ...]
    seconds: float


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
) -> Trained:
    """Train `recipe` on `dataset.train` and write `<recipe>.safetensors`, its history and pictures to `out`.

    If the recipe holds subjects out, a first pass without them gives the validation figures; the model that
    is kept is then trained on all training subjects with the same recipe, so nothing is chosen by looking.
    The test windows are answered once, at the end, by the float64 reference. `watch_test` logs them on the
    way, as the published originals did, and marks the figures. `resume` goes on with an interrupted run.
    Raises InputError for data, recipe or state that do not fit, CheckFailedError when training diverges.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "train", "training") from None
    from harexport.training.loop import fit

    held_subjects = recipe.validation.subjects
    say(
        f"Test set: {tuple(dataset.test.signals.shape)}, mean {dataset.test.signals.mean():.7f}, "
        f"standard deviation {dataset.test.signals.std():.6f}"
    )
    dataset = dataset.narrowed(recipe.data.channels or dataset.contract.channels)
    contract = dataset.contract
    fingerprint = {
        "recipe": recipe.to_dict(),
        "seed": seed,
        "data": dataset.digest,
        "torch": str(torch.__version__),
        "version": __version__,
        "watch_test": watch_test,
    }
    progress = _Progress(resume_path(out, recipe), fingerprint, resume)
    began = time.monotonic()
    phases: list[tuple[str, Windows, Windows | None]] = []
    if held_subjects:
        kept = dataset.train.of_subjects(held_subjects, without=True)
        if not len(kept):
            raise InputError(f"recipe {recipe.name}: validation.subjects holds out every training subject; keep some")
        phases.append((_VALIDATION, kept, dataset.train.of_subjects(held_subjects)))
    phases.append((_FINAL, dataset.train, dataset.test if watch_test else None))
    path = checkpoint_path(out, recipe)
    if path.is_dir():
        raise InputError(f"{path} is a folder, in the checkpoint's place; move it, or choose another folder with --out")
    files.check_writable(out)
    try:
        for name, windows, held in phases:
            if name in progress.finished and name != _FINAL:
                continue
            subjects = len(set(windows.subjects.tolist()))
            say(
                f"{recipe.name}, {name}: {len(windows)} windows of {subjects} subjects"
                + (f"; watching {len(held)} windows" if held is not None else "")
            )
            network, rows = fit(
                windows,
                held,
                recipe,
                len(contract.labels),
                seed,
                resume=progress.state(name),
                on_report=progress.reporter(name),
            )
            progress.finished[name] = rows
        figures = metrics.classify(
            dataset.test.labels, network.logits(dataset.test.signals).argmax(axis=1), len(contract.labels)
        )
        trained = Checkpoint(
            network,
            contract,
            recipe,
            seed,
            data={"source": dataset.source, "digest": dataset.digest, "train_windows": len(dataset.train)},
            figures={
                "test": figures.to_dict(),
                "validation": _validation(progress.finished, held_subjects),
                "test_watched": watch_test,
                "versions": {"torch": str(torch.__version__)},
            },
        )
        seconds = time.monotonic() - began
        history = {name: [dataclasses.asdict(row) for row in rows] for name, rows in progress.finished.items()}
        drawn = _pictures(trained, history, out)
        files.write_json(out / f"{recipe.name}.history.json", {"seconds": round(seconds, 1), "phases": history})
        checkpoints.save(trained, path)
    except KeyboardInterrupt:
        if progress.save():
            say(f"Interrupted; saved to {progress.path}. Go on with the same command and --resume")
        else:
            say("Interrupted before the first line of the log: there was nothing to save yet")
        raise
    progress.path.unlink(missing_ok=True)
    return Trained(path, trained, metrics.report(figures, contract.labels), drawn, seconds)


def _validation(finished: dict[str, list[Row]], subjects: tuple[int, ...]) -> dict[str, Any] | None:
    if not subjects:
        return None
    last = finished[_VALIDATION][-1]
    return {"subjects": list(subjects), "accuracy": last.held_out_accuracy, "loss": last.held_out_loss}


class ResumeError(InputError):
    """There is no interrupted run that this one could go on with."""


class _Progress:
    """The log lines of a run, and the state file from which it can go on."""

    def __init__(self, path: Path, fingerprint: dict[str, Any], resume: bool) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.finished: dict[str, list[Row]] = {}
        self._current: tuple[str, State] | None = None
        self._saved = time.monotonic()
        if resume and path.exists():
            self._load()
        elif resume:
            raise ResumeError(f"nothing to resume: {path} does not exist. Start without --resume")
        elif path.exists():
            say(f"An interrupted run stands in {path}; starting anew (use --resume to go on with it)")

    def state(self, phase: str) -> State | None:
        return self._current[1] if self._current and self._current[0] == phase else None

    def reporter(self, phase: str) -> Any:
        began, first = time.monotonic(), self.state(phase)
        before = first.step if first else 0

        def report(row: Row, state: State, steps: int) -> None:
            left = (time.monotonic() - began) / (state.step - before) * (steps - state.step)
            held = ""
            if row.held_out_accuracy is not None:
                held = f"  held out: loss {row.held_out_loss:.4f}, accuracy {row.held_out_accuracy:.2%}"
            say(
                f"epoch {row.epoch:6.1f}  windows {row.windows:8d}  loss {row.loss:.4f}, "
                f"accuracy {row.accuracy:.2%}{held}  {left:.0f} s left"
            )
            self._current = (phase, copy.deepcopy(state))  # the loop goes on changing what it handed over
            if time.monotonic() - self._saved >= _SAVE_EVERY_SECONDS:
                self.save()

        return report

    def save(self) -> bool:
        """Write the last reported state; False where nothing was reported yet."""
        import torch

        if self._current is None:
            return False
        phase, state = self._current
        plain = dict(vars(state), history=[dataclasses.asdict(row) for row in state.history])
        finished = {name: [dataclasses.asdict(row) for row in rows] for name, rows in self.finished.items()}
        with files.replacing(self.path) as temporary:
            torch.save(
                {"fingerprint": self.fingerprint, "phase": phase, "state": plain, "finished": finished}, temporary
            )
        self._saved = time.monotonic()
        return True

    def _load(self) -> None:
        import torch

        from harexport.training.loop import Row, State

        try:
            saved = torch.load(self.path, weights_only=True)  # plain tensors and numbers only: never runs code
            same = saved["fingerprint"]
            self.finished = {name: [Row(**row) for row in rows] for name, rows in saved["finished"].items()}
            state = State(**saved["state"])
            state.history = [Row(**row) for row in saved["state"]["history"]]
            self._current = (saved["phase"], state)
            different = [key for key, value in self.fingerprint.items() if same.get(key) != value]
        except Exception as error:  # torch reports a broken file in a dozen ways
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise ResumeError(
                f"{self.path} cannot be resumed ({reason}); delete it, or start without --resume"
            ) from None
        if different:
            raise ResumeError(
                f"{self.path} was started with another {' and '.join(different)}; "
                "resume with what it was started with, or start without --resume"
            )


def _pictures(trained: Checkpoint, history: dict[str, list[dict[str, Any]]], out: Path) -> tuple[Path, ...]:
    name, test = trained.recipe.name, trained.figures["test"]
    curve, matrix = out / f"{name}.curves.png", out / f"{name}.confusion.png"
    pictures.save(pictures.curves(history, f"{name}: training"), curve)
    title = f"{name}: {test['accuracy']:.2%} of {test['windows']} test windows right"
    pictures.save(pictures.confusion(test["confusion"], trained.contract.labels, title), matrix)
    return curve, matrix
