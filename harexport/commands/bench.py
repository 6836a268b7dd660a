"""`harexport bench`, and the whole chain in one: `harexport demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harexport.commands.options import data_option, json_option, load_data, out_option, seed_option, show

if TYPE_CHECKING:
    from harexport.verify.bench import BenchResult


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@data_option
@click.option("--runs", type=click.IntRange(1000), default=1000, show_default=True, help="Timed runs of each model.")
@out_option
@json_option
def bench(models: tuple[Path, ...], data: Path | None, runs: int, out: Path, as_json: bool) -> None:
    """Prove MODELS (files or folders; default: --out) on the whole test set and measure their latency.

    \b
    Example:  harexport bench
              harexport bench artifacts/edge artifacts/seed-lstm --runs 2000
    """
    from harexport.verify import report
    from harexport.verify.bench import bench as run

    paths = models or (out,)
    result = run(paths, load_data(data), runs)
    page = report.save(result, out, [path if path.is_dir() else path.parent for path in paths])
    conclude(result, page, as_json)


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
    from harexport.demo import run
    from harexport.training import recipe as recipes

    conclude(*run(recipes.load(recipe), load_data(data), out, seed), as_json)


def conclude(result: BenchResult, page: Path, as_json: bool) -> None:
    from harexport.verify import report

    show(result.to_dict(), as_json, f"\n{report.terminal(result)}\n\n{report.summary(result)}\nReport: {page}")
    if not result.passed:
        sys.exit(1)
