"""Command `harexport crossval`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harexport.commands.options import (
    SectionedCommand,
    data_option,
    json_option,
    load_data,
    out_option,
    print_error,
    print_result,
    recipe_option,
    trial_options,
)


@click.command(cls=SectionedCommand)
@recipe_option
@data_option
@trial_options(folds="loso", seeds="0")
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
    """Cross-validate a recipe over the training subjects.

    Trains the recipe without some of the training subjects and evaluates it on them, until each was held out once. The
    test set is not used. Finished trials are cached: the same command continues after an interrupt. Exit code 1: a
    trial failed; the tables contain the others.

    \b
    Example:  harexport crossval
              harexport crossval --recipe baseline-lstm --folds 7 --seeds 0,1,2 --jobs 2
              harexport crossval --cluster 10.0.0.5:6379
    """
    from harexport.model import recipe as recipes
    from harexport.model_selection.cross_validation import cross_validate, format_cross_validation, parse_seeds
    from harexport.model_selection.parallel import Execution

    execution, loaded, parsed_seeds = Execution(jobs, cluster), recipes.load(recipe), parse_seeds(seeds)
    result = cross_validate(load_data(data), loaded, out, folds, parsed_seeds, execution)
    print_result(result.to_dict(), as_json, f"\n{format_cross_validation(result)}")
    for failure in result.failures:
        print_error(failure)
    if result.failures:
        sys.exit(1)
