"""`harexport train`."""

from __future__ import annotations

from pathlib import Path

import click

from harexport.commands.options import data_option, json_option, load_data, out_option, seed_option, show


@click.command()
@click.option("--recipe", default="edge", show_default=True, help="A shipped recipe's name, or a .toml file.")
@data_option
@out_option
@seed_option
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
@click.option(
    "--watch-test", is_flag=True, help="Log the test set on the way, as the published originals did; marks the run."
)
@json_option
def train(recipe: str, data: Path | None, out: Path, seed: int, resume: bool, watch_test: bool, as_json: bool) -> None:
    """Train a recipe: once with subjects held out, once on all; then open the test set, once.

    \b
    Example:  harexport train
              harexport train --recipe seed-lstm --seed 1
    """
    from harexport.training import recipe as recipes
    from harexport.training.train import train as run

    cooked = recipes.load(recipe)
    trained = run(load_data(data), cooked, out, seed=seed, resume=resume, watch_test=watch_test)
    result = {
        "checkpoint": str(trained.path),
        "recipe": cooked.name,
        "seed": seed,
        "network_sha256": trained.checkpoint.digest,
        "figures": trained.checkpoint.figures,
        "pictures": [str(path) for path in trained.pictures],
        "seconds": round(trained.seconds, 1),
    }
    pictures = "\n".join(f"Picture:    {path}" for path in trained.pictures)
    show(result, as_json, f"\n{trained.report}\n\nCheckpoint: {trained.path}\n{pictures}")
