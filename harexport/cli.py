"""The command line: the group, and what becomes of errors whichever command raised them."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from harexport.commands.bench import bench
from harexport.commands.crossval import crossval
from harexport.commands.data import data
from harexport.commands.demo import demo
from harexport.commands.export import export
from harexport.commands.inspect import inspect
from harexport.commands.predict import predict
from harexport.commands.robustness import robustness
from harexport.commands.sweep import sweep
from harexport.commands.targets import targets
from harexport.commands.train import train
from harexport.errors import HarExportError
from harexport.utils.interrupts import interruptible
from harexport.version import __version__


class _Commands(click.Group):
    """Turns errors into one sentence and their exit code, whichever command raised them."""

    def invoke(self, ctx: click.Context) -> Any:
        with interruptible() as interrupts:
            try:
                return super().invoke(ctx)
            except (click.exceptions.Exit, click.ClickException):
                raise  # click's own, with their exit codes
            except KeyboardInterrupt:
                _end(ctx, "Interrupted.", 130)
            except Exception as error:
                if interrupts.asked:
                    _end(ctx, "Interrupted.", 130)
                if isinstance(error, HarExportError):
                    _end(ctx, f"Error: {error}", error.exit_code)
                if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                    # a path too long, a folder one may not enter, a standard output that is full
                    where = f"{error.filename}: " if error.filename else ""
                    words = f"Error: {where}{error.strerror or error}. Check the path, its permissions, the space"
                    _end(ctx, words, 2)
                raise


def _end(ctx: click.Context, words: str, code: int) -> NoReturn:
    click.echo(words, err=True)
    ctx.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """A human-activity model from PyTorch to a phone, with proof that what runs there is what was trained.

    \b
    Everything at once:   harexport demo
    Step by step:         harexport train
                          harexport export --format tflite --quantize
                          harexport bench
    Any model file:       harexport inspect model.tflite
    A phone's recording:  harexport predict recording.csv

    Exit codes: 0 fine, 1 a check failed, 2 wrong usage or input, 130 interrupted.
    """


for command in (data, train, crossval, sweep, export, inspect, bench, robustness, predict, targets, demo):
    main.add_command(command)
