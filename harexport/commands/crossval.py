"""`harexport crossval`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harexport.commands.options import data_option, json_option, load_data, out_option, search_options, show


@click.command()
@click.option("--recipe", default="edge", show_default=True, help="A shipped recipe's name, or a .toml file.")
@click.option("--folds", default="loso", show_default=True, metavar="loso|K", help="Leave one subject out, or K folds.")
@click.option("--seeds", default="0", show_default=True, help="With commas; each fold is trained with each of them.")
@search_options
@data_option
@out_option
@json_option
def crossval(
    recipe: str,
    folds: str,
    seeds: str,
    jobs: int | None,
    cluster: str | None,
    data: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Train a recipe without some training subjects, score it on them, until each was held out once.

    The test set stays closed. Finished runs are kept: the same command goes on where it was interrupted. Exit code 1:
    a run failed; the others stand in the tables.

    \b
    Example:  harexport crossval
              harexport crossval --recipe seed-lstm --folds 7 --seeds 0,1,2 --jobs 2
              harexport crossval --cluster 10.0.0.5:6379
    """
    from harexport.model import recipe as recipes
    from harexport.model_selection import cross_validation as validation
    from harexport.model_selection.cross_validation import seeds as parsed
    from harexport.model_selection.parallel import Where

    where, cooked, numbers = Where(jobs, cluster), recipes.load(recipe), parsed(seeds)
    result = validation.crossval(load_data(data), cooked, out, folds, numbers, where)
    show(result.to_dict(), as_json, f"\n{validation.text(result)}")
    for failure in result.failures:
        click.echo(f"Error: {failure}", err=True)
    if result.failures:
        sys.exit(1)
