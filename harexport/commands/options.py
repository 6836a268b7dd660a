"""What several commands share: their options, the data they name, and how a result is printed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harexport.utils.files import OUT

if TYPE_CHECKING:
    from harexport.data.dataset import Dataset
    from harexport.model.contract import Contract

_F = TypeVar("_F", bound=Callable[..., Any])


def data_option(command: _F) -> _F:
    return click.option(
        "--data",
        type=click.Path(path_type=Path),
        help="UCI HAR folder or zip, or a folder of your recordings with harexport.toml. Default: $HAREXPORT_DATA, "
        "else the cache, else a download.",
    )(command)


def json_option(command: _F) -> _F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")(command)


def out_option(command: _F) -> _F:
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=OUT,
        show_default=True,
        help="Folder to write to.",
    )(command)


def search_options(command: _F) -> _F:
    """Where many trainings are done."""
    jobs = click.option(
        "--jobs",
        type=click.IntRange(1, 4096),
        help="Trainings at once, a process and a thread each. Default: a core each.",
    )
    cluster = click.option("--cluster", metavar="ADDRESS", help="A running Ray cluster, such as 10.0.0.5:6379 or auto.")
    return jobs(cluster(command))


def seed_option(command: _F) -> _F:
    return click.option(
        "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of all random numbers."
    )(command)


def load_data(path: Path | None) -> Dataset:
    """The data that `--data` names, or the default."""
    from harexport.data import load

    return load(path)


def load_data_for(path: Path | None, contract: Contract, model: str) -> Dataset:
    """The data that `--data` names, or the default, for a model of this contract."""
    from harexport.data import load_for

    return load_for(contract, model, path)


def show(result: Any, as_json: bool, text: str) -> None:
    """Print `result` as one JSON document, or `text` for people."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a console that cannot write "µ" still gets its table
    click.echo(json.dumps(result, indent=2) if as_json else text)
