"""`harexport sweep`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harexport.commands.options import data_option, json_option, load_data, out_option, search_options, show


@click.command()
@click.option(
    "--recipe", default="edge", show_default=True, help="What to begin with: a shipped name, or a .toml file."
)
@click.option(
    "--grid",
    multiple=True,
    required=True,
    metavar="KEY=VALUES",
    help="A recipe key and its values, such as model.hidden=32,48 or, with --random, 0.001..0.01:log. May be repeated.",
)
@click.option("--random", "draws", type=int, metavar="N", help="Draw N recipes from --grid instead of taking them all.")
@click.option("--folds", default="3", show_default=True, metavar="K|loso", help="K folds, or leave one subject out.")
@click.option("--seeds", default="0,1", show_default=True, help="With commas; each fold is trained with each of them.")
@click.option(
    "--scheme",
    type=click.Choice(["float32", "float16", "int8-weights"]),
    default="float32",
    show_default=True,
    help="Of the .tflite files whose time and size are compared.",
)
@search_options
@data_option
@out_option
@json_option
def sweep(
    recipe: str,
    grid: tuple[str, ...],
    draws: int | None,
    folds: str,
    seeds: str,
    scheme: str,
    jobs: int | None,
    cluster: str | None,
    data: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Cross-validate variants of a recipe; a table and a picture of accuracy against time and size.

    The test set stays closed. Finished runs are kept: the same command, or one with more values, goes on from there.
    Exit code 1: a run failed; the others stand in the table.

    \b
    Example:  harexport sweep --grid model.hidden=32,48,64 --grid optimiser.learning_rate=0.003,0.005
              harexport sweep --random 20 --grid model.hidden=16..64 --grid optimiser.learning_rate=0.001..0.01:log
    """
    from harexport.model import recipe as recipes
    from harexport.model_selection import sweep as search
    from harexport.model_selection.cross_validation import seeds as parsed
    from harexport.model_selection.parallel import Where
    from harexport.model_selection.search_space import variants

    where, base, numbers = Where(jobs, cluster), recipes.load(recipe), parsed(seeds)
    found = variants(base, grid, draws)
    result = search.sweep(load_data(data), base, found, out, folds, numbers, scheme, where)
    show(result.to_dict(), as_json, f"\n{search.text(result)}")
    for failure in result.failures:
        click.echo(f"Error: {failure}", err=True)
    if result.failures:
        sys.exit(1)
