"""Command `harexport sweep`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harexport.commands.options import (
    SectionedCommand,
    data_option,
    json_option,
    load_data,
    option,
    out_option,
    print_error,
    print_result,
    recipe_option,
    trial_options,
)


@click.command(cls=SectionedCommand)
@recipe_option
@data_option
@option(
    "--grid",
    section="Search",
    multiple=True,
    required=True,
    metavar="KEY=VALUES",
    help="A recipe key and its values, for example model.hidden=32,48 or, with --random, "
    "optimizer.learning_rate=0.001..0.01:log. Repeatable.",
)
@option(
    "--random", "draws", section="Search", type=int, metavar="N", help="Draw N variants from --grid instead of all."
)
@option(
    "--scheme",
    section="Search",
    type=click.Choice(["float32", "float16", "int8-weights"]),
    default="float32",
    show_default=True,
    help="Quantization scheme of the .tflite files whose latency and size are compared.",
)
@trial_options(folds="3", seeds="0,1")
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
    """Compare variants of a recipe by accuracy, latency and size.

    Cross-validates every variant, as crossval does, and times an untrained .tflite file of its shape. The test set is
    not used. Finished trials are cached: the same command continues after an interrupt, and a command with more values
    adds to the results. Exit code 1: a trial failed; the table contains the others.

    \b
    Example:  harexport sweep --grid model.hidden=32,48,64 --grid optimizer.learning_rate=0.003,0.005
              harexport sweep --random 20 --grid model.hidden=16..64 --grid optimizer.learning_rate=0.001..0.01:log
    """
    from harexport.model import recipe as recipes
    from harexport.model_selection import sweep as search
    from harexport.model_selection.cross_validation import parse_seeds
    from harexport.model_selection.parallel import Execution
    from harexport.model_selection.search_space import make_variants

    execution, base, parsed_seeds = Execution(jobs, cluster), recipes.load(recipe), parse_seeds(seeds)
    variants = make_variants(base, grid, draws)
    result = search.sweep(load_data(data), base, variants, out, folds, parsed_seeds, scheme, execution)
    print_result(result.to_dict(), as_json, f"\n{search.format_sweep(result)}")
    for failure in result.failures:
        print_error(failure)
    if result.failures:
        sys.exit(1)
