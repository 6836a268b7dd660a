"""Shared parts of the commands: options, help in sections, loading the data, printing a result."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harexport.utils import files
from harexport.utils.console import print_output, sanitize, shorten
from harexport.utils.files import DEFAULT_OUTPUT_DIR

if TYPE_CHECKING:
    from harexport.data.dataset import Dataset
    from harexport.model.contract import Contract

_F = TypeVar("_F", bound=Callable[..., Any])


class SectionedOption(click.Option):
    """An option with the heading under which `SectionedCommand` lists it."""

    def __init__(self, *names: Any, section: str = "Options", **attributes: Any) -> None:
        super().__init__(*names, **attributes)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help lists the options section by section, and whose outputs never replace its inputs."""

    def invoke(self, ctx: click.Context) -> Any:
        """Check the outputs, then run the command.

        Paths in the section "Output" are outputs, all other paths are inputs.
        """
        inputs: list[Path] = []
        output_files: list[Path] = []
        output_folders: list[Path] = []
        for parameter in self.params:
            values = ctx.params.get(parameter.name or "")
            for path in values if isinstance(values, tuple) else (values,):
                if not isinstance(path, Path) and parameter.name == "recipe" and str(path).endswith(".toml"):
                    inputs.append(Path(path))
                elif isinstance(path, Path) and getattr(parameter, "section", "") != "Output":
                    inputs.append(path)
                elif isinstance(path, Path):
                    is_folder = isinstance(parameter.type, click.Path) and not parameter.type.file_okay
                    (output_folders if is_folder else output_files).append(path)
        with files.protect_inputs(inputs):
            for path in output_files:
                files.check_output(path)
            if self.name in _COMMANDS_THAT_WRITE_CSV:
                _check_outside(output_folders, ctx.params.get("data"))
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one block for each section, in the order in which the sections first occur."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.params:
            if isinstance(parameter, SectionedOption) and (record := parameter.get_help_record(ctx)):
                sections.setdefault(parameter.section, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


_COMMANDS_THAT_WRITE_CSV = ("train", "crossval", "sweep", "demo")


def _check_outside(outputs: Sequence[Path], data: Path | None) -> None:
    """Raise InputError if an output folder is in a folder of recordings, where its CSV files would be read as data."""
    from harexport.errors import InputError

    if data is None or not (data / "harexport.toml").is_file():
        return
    for path in outputs:
        if path.resolve().is_relative_to(data.resolve()):
            raise InputError(f"the output folder {path} is in the data folder {data}. Choose another one with --out")


option = functools.partial(click.option, cls=SectionedOption)

data_option = option(
    "--data",
    section="Input",
    type=click.Path(path_type=Path),
    help="UCI HAR, or recordings with a harexport.toml, as a folder or zip. Default: "
    "$HAREXPORT_DATA, then the cache, then a download.",
)
recipe_option = option(
    "--recipe",
    section="Input",
    default="edge",
    show_default=True,
    help="Name of a recipe that comes with harexport, or a .toml file.",
)
out_option = option(
    "--out",
    section="Output",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_OUTPUT_DIR,
    show_default=True,
    help="Output folder.",
)
json_option = option(
    "--json", "as_json", section="Output", is_flag=True, help="Print one JSON document to standard output."
)
seed_option = option(
    "--seed",
    section="Training",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of the random number generators.",
)


def trial_options(*, folds: str, seeds: str) -> Callable[[_F], _F]:
    """Return a decorator that adds the options of trials, with these defaults: folds, seeds, and where they run."""
    options = (
        option(
            "--folds",
            section="Trials",
            default=folds,
            show_default=True,
            metavar="K|loso",
            help="K folds, or leave one subject out.",
        ),
        option(
            "--seeds",
            section="Trials",
            default=seeds,
            show_default=True,
            help="Comma-separated seeds; every fold is trained with each.",
        ),
        option(
            "--jobs",
            section="Trials",
            type=click.IntRange(1, 4096),
            help="Number of parallel trainings, one process and one thread each. Default: the number of cores.",
        ),
        option(
            "--cluster",
            section="Trials",
            metavar="ADDRESS",
            help="Address of a running Ray cluster, for example 10.0.0.5:6379, or auto.",
        ),
    )

    def add(command: _F) -> _F:
        for decorate in reversed(options):
            command = decorate(command)
        return command

    return add


def load_data(path: Path | None) -> Dataset:
    """Load the dataset at `path`, or the default one."""
    from harexport.data import load_dataset

    return load_dataset(path)


def load_data_for(path: Path | None, contract: Contract, model: str) -> Dataset:
    """Load the dataset at `path`, or the default one if it fits a model with this contract."""
    from harexport.data import load_dataset_for

    return load_dataset_for(contract, model, path)


def print_result(result: Any, as_json: bool, text: str, *, keep_colors: bool = False) -> None:
    """Print `result` as one JSON document, with null for NaN and infinity, or `text` without control characters."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a console without "µ" in its encoding still prints the table
    print_output(
        json.dumps(files.replace_nonfinite(result), indent=2) if as_json else sanitize(text, keep_colors=keep_colors)
    )


def print_error(message: str) -> None:
    """Print an error message without control characters; the command goes on."""
    click.echo(shorten(sanitize(f"Error: {message}")), err=True)
