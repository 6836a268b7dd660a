"""Command `harexport inspect`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harexport.commands.options import json_option, print_result


@click.command()
@click.argument("model", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--run/--no-run", default=True, show_default=True, help="Also run the file, in a subprocess.")
@click.option("--tensors", is_flag=True, help="List every tensor instead of the weights only.")
@click.option("--strict", is_flag=True, help="Exit with 1 if there is a finding above the level of a note.")
@json_option
def inspect(model: Path, run: bool, tensors: bool, strict: bool, as_json: bool) -> None:
    """Report the contents and problems of any .tflite or .onnx file.

    Reports operators, multiply-accumulates, size by part, weights and their types, metadata and findings. Unless
    --no-run is given, the file is also run in a subprocess, to detect crashes and state kept between calls.

    \b
    Example:  harexport inspect model.tflite
              harexport inspect model.onnx --strict --json
    """
    from harexport import inspection
    from harexport.inspection.report import render

    result = inspection.inspect(model, run=run)
    color = sys.stdout.isatty()
    text = "" if as_json else render(result, color=color, all_tensors=tensors)
    print_result(result.to_dict(), as_json, text, keep_colors=color)
    if strict and result.problems:
        sys.exit(1)
