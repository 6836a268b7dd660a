"""`harexport demo`: the whole chain in one."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harexport.commands.options import data_option, json_option, load_data, out_option, seed_option, show


@click.command()
@click.option("--recipe", default="edge", show_default=True, help="A shipped recipe's name, or a .toml file.")
@data_option
@out_option
@seed_option
@json_option
def demo(recipe: str, data: Path | None, out: Path, seed: int, as_json: bool) -> None:
    """The whole chain: data, training, export, proof and latency. Uses what an earlier run left.

    \b
    Example:  harexport demo
    """
    from harexport.bench.report import save
    from harexport.model import recipe as recipes
    from harexport.pipeline import run

    result, page = run(recipes.load(recipe), load_data(data), out, seed)
    show(result.to_dict(), as_json, f"\n{save.terminal(result)}\n\n{save.summary(result)}\nReport: {page}")
    if result.exit_code:
        sys.exit(result.exit_code)
