"""`harexport train`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from harexport.commands.options import data_option, json_option, load_data, out_option, seed_option, show


@click.command()
@click.option("--recipe", default="edge", show_default=True, help="A shipped recipe's name, or a .toml file.")
@data_option
@out_option
@seed_option
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="auto: a GPU where there is one. Only on the CPU is a run repeatable to the byte.",
)
@click.option("--temperature", is_flag=True, help="Calibrate the probabilities on the held-out subjects.")
@click.option("--tensorboard", is_flag=True, help="Log to <recipe>.tensorboard/ in --out too.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
@click.option(
    "--watch-test", is_flag=True, help="Log the test set on the way, as the published originals did; marks the run."
)
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
    """Train a recipe: once with subjects held out, once on all; then open the test set, once.

    Ctrl-C and SIGTERM save the run and say how to go on. Starting anew keeps an interrupted run aside, as
    <recipe>.resume.old.pt.

    \b
    Example:  harexport train
              harexport train --recipe seed-lstm --seed 1
              harexport train --data my-recordings
              harexport train --temperature --tensorboard
    """
    from harexport.model import recipe as recipes
    from harexport.training.train import train as run

    cooked = recipes.load(recipe)
    trained = run(
        load_data(data),
        cooked,
        out,
        seed=seed,
        resume=resume,
        watch_test=watch_test,
        device=device,
        temperature=temperature,
        tensorboard=tensorboard,
        again=_again(),
    )
    result = {
        "checkpoint": str(trained.path),
        "recipe": cooked.name,
        "seed": seed,
        "network_sha256": trained.checkpoint.digest,
        "figures": trained.checkpoint.figures,
        "pictures": [str(path) for path in trained.pictures],
        "seconds": round(trained.seconds, 1),
        "phase_seconds": {phase: round(seconds, 1) for phase, seconds in trained.phase_seconds.items()},
    }
    spent = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in trained.phase_seconds.items())
    pictures = "\n".join(f"Picture:    {path}" for path in trained.pictures)
    show(result, as_json, f"\n{trained.report}\n\nTime:       {spent}\nCheckpoint: {trained.path}\n{pictures}")


def _again() -> str:
    """The command line as it was given, and --resume: what goes on with this run."""
    context = click.get_current_context()
    words = context.command_path.split()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name == "resume" or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        flag = isinstance(parameter, click.Option) and parameter.is_flag
        words += [parameter.opts[0]] if flag else [parameter.opts[0], str(context.params[name])]
    return shlex.join([*words, "--resume"])
