"""Command `harexport train`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from harexport.commands.options import (
    SectionedCommand,
    data_option,
    json_option,
    load_data,
    option,
    out_option,
    print_result,
    recipe_option,
    seed_option,
)


@click.command(cls=SectionedCommand)
@recipe_option
@data_option
@seed_option
@option(
    "--device",
    section="Training",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="auto: a GPU if there is one. Only training on the CPU is reproducible byte for byte.",
)
@option(
    "--temperature/--no-temperature",
    section="Training",
    default=True,
    show_default=True,
    help="Calibrate the probabilities on the held-out subjects.",
)
@option("--resume", section="Training", is_flag=True, help="Continue the interrupted run in --out.")
@option(
    "--watch-test",
    section="Training",
    is_flag=True,
    help="Log test accuracy during training, as the published baselines did. The checkpoint is marked.",
)
@option("--tensorboard", section="Output", is_flag=True, help="Write TensorBoard logs to <recipe>.tensorboard/.")
@out_option
@json_option
def train(
    recipe: str,
    data: Path | None,
    out: Path,
    seed: int,
    device: str,
    temperature: bool,
    tensorboard: bool,
    resume: bool,
    watch_test: bool,
    as_json: bool,
) -> None:
    """Train a recipe and save a checkpoint.

    Trains twice: once without the recipe's held-out subjects, for validation, and once on all training subjects. The
    second model is saved and evaluated on the test set once.

    Ctrl-C and SIGTERM save the run and print the command that continues it. A new run in the same folder replaces an
    interrupted one.

    \b
    Example:  harexport train
              harexport train --recipe baseline-lstm --seed 1
              harexport train --data my-recordings
              harexport train --no-temperature --tensorboard
    """
    from harexport.model import recipe as recipes
    from harexport.training.train import train as run

    loaded = recipes.load(recipe)
    trained = run(
        load_data(data),
        loaded,
        out,
        seed=seed,
        resume=resume,
        watch_test=watch_test,
        device=device,
        temperature=temperature,
        tensorboard=tensorboard,
        resume_command=_resume_command(),
    )
    result = {
        "checkpoint": str(trained.path),
        "recipe": loaded.name,
        "seed": seed,
        "network_sha256": trained.checkpoint.digest,
        "figures": trained.checkpoint.figures,
        "pictures": [str(path) for path in trained.pictures],
        "seconds": round(trained.seconds, 1),
        "phase_seconds": {phase: round(seconds, 1) for phase, seconds in trained.phase_seconds.items()},
    }
    spent = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in trained.phase_seconds.items())
    pictures = "\n".join(f"Picture:    {path}" for path in trained.pictures)
    print_result(result, as_json, f"\n{trained.report}\n\nTime:       {spent}\nCheckpoint: {trained.path}\n{pictures}")


def _resume_command() -> str:
    """Return the current command line with --resume."""
    context = click.get_current_context()
    words = context.command_path.split()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name == "resume" or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        if isinstance(parameter, click.Option) and parameter.is_flag:
            words.append(parameter.opts[0] if value else parameter.secondary_opts[0])
        else:
            words += [parameter.opts[0], str(value)]
    return shlex.join([*words, "--resume"])
