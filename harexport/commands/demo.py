"""Command `harexport demo`."""

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
    print_result,
    recipe_option,
    seed_option,
)


@click.command(cls=SectionedCommand)
@recipe_option
@data_option
@seed_option
@out_option
@json_option
def demo(recipe: str, data: Path | None, out: Path, seed: int, as_json: bool) -> None:
    """Train, export and check a model in one run.

    Skips training if the output folder holds a checkpoint of the same recipe, seed and data.

    \b
    Example:  harexport demo
    """
    from harexport.bench.report import text
    from harexport.errors import CheckFailedError
    from harexport.model import recipe as recipes
    from harexport.pipeline import run_pipeline

    result, page, failures = run_pipeline(recipes.load(recipe), load_data(data), out, seed)
    summary = f"\n{text.format_terminal(result)}\n\n{text.summarize(result)}\nReport: {page}"
    print_result(result.to_dict(), as_json, summary)
    if failures:
        raise CheckFailedError("; ".join(failures))
    if result.exit_code:
        sys.exit(result.exit_code)
