"""`harexport inspect`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harexport.commands.options import json_option, show


@click.command()
@click.argument("model", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--run/--no-run", default=True, show_default=True, help="Try the file too, in a process of its own.")
@click.option("--tensors", is_flag=True, help="List every tensor, not the weights alone.")
@click.option("--strict", is_flag=True, help="End with 1 where there is a danger or a warning.")
@json_option
def inspect(model: Path, run: bool, tensors: bool, strict: bool, as_json: bool) -> None:
    """What FILE, a .onnx or .tflite from anywhere, holds, and which traps are in it.

    Operators, multiply-accumulates, bytes by part, weights and their types, metadata. Unless --no-run, the file is
    loaded and run in a process of its own, to see whether its answers depend on what came before.

    \b
    Example:  harexport inspect model.tflite
              harexport inspect model.onnx --strict --json
    """
    from harexport import inspection
    from harexport.inspection.report import render

    anatomy = inspection.inspect(model, run=run)
    words = "" if as_json else render(anatomy, colour=sys.stdout.isatty(), all_tensors=tensors)
    show(anatomy.to_dict(), as_json, words)
    if strict and anatomy.alarming:
        sys.exit(1)
