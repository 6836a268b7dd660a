"""Command-line entry point and error handling."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
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
from harexport.utils.console import discard_buffer, print_messages, sanitize, shorten
from harexport.version import __version__

_SECTIONS = {
    "Pipeline": (demo, data, train, export, bench),
    "Models and recordings": (inspect, predict, robustness, targets),
    "Model selection": (crossval, sweep),
}


class _Commands(click.Group):
    """List commands in sections; run one with messages on standard error and turn errors into an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        print_messages()
        try:
            with _interrupt_on_sigterm():
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException):
            raise  # click prints these and sets their exit codes
        except KeyboardInterrupt:
            _exit(ctx, "Interrupted.", 130)
        except Exception as error:
            if _is_interrupt(error):
                _exit(ctx, "Interrupted.", 130)
            if isinstance(error, HarExportError):
                _exit(ctx, f"Error: {error}", error.exit_code)
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                # such as a path that is too long, a missing permission, a full disk
                discard_buffer(sys.stdout)
                location = f"{error.filename}: " if error.filename else ""
                reason = error.strerror or error
                _exit(ctx, f"Error: {location}{reason}. Check the path, its permissions and the free space", 2)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line for each command: the first sentence of its help."""
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{command.name:<10}", command.get_short_help_str(100)) for command in commands])


@contextlib.contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM (`kill`, a batch system's time limit) as on Ctrl-C, unless it is ignored."""
    handler = signal.getsignal(signal.SIGTERM)
    # only the main thread can set handlers; None is a handler that was not set by Python and cannot be restored
    if threading.current_thread() is not threading.main_thread() or handler in (signal.SIG_IGN, None):
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether a library turned a KeyboardInterrupt into another error, as half-imported extension modules do."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _exit(ctx: click.Context, message: str, code: int) -> NoReturn:
    try:
        click.echo(shorten(sanitize(message)), err=True)
    except OSError:  # a log on a full disk; the exit code remains
        discard_buffer(sys.stderr)
    ctx.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="harexport")
def main() -> None:
    """Export sensor models from PyTorch to ONNX and TFLite, and check every file.

    \b
    Train, export and check in one run:  harexport demo
    One step at a time:                  harexport train
                                         harexport export --format tflite --quantize
                                         harexport bench
    Examine any model file:              harexport inspect model.tflite
    Classify a phone recording:          harexport predict recording.csv

    Exit codes: 0 success, 1 a check failed, 2 wrong usage or input, 130 interrupted.
    """


for _command in (command for commands in _SECTIONS.values() for command in commands):
    main.add_command(_command)
