"""Command `harexport export`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harexport.commands.options import (
    SectionedCommand,
    data_option,
    json_option,
    load_data_for,
    option,
    out_option,
    print_result,
)


@click.command(cls=SectionedCommand)
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@data_option
@option(
    "--format",
    "fmt",
    section="Format",
    type=click.Choice(["onnx", "tflite", "all"]),
    default="all",
    show_default=True,
    help="File format.",
)
@option(
    "--quantize",
    section="Format",
    multiple=True,
    is_flag=False,
    flag_value="int8-weights",
    metavar="[=SCHEME]",
    help="int8-weights (the default), float16, or int8 (full integer). Repeatable. With --format all: in addition to "
    "the float32 files.",
)
@option(
    "--lowering",
    section="Format",
    type=click.Choice(["auto", "fused", "unrolled"]),
    default="auto",
    show_default=True,
    help="TFLite only. fused: one LSTM operator a layer, smallest. unrolled: plain operators for every step, fastest "
    "for few steps.",
)
@option("--batch", section="Format", default="1", show_default=True, help="Batch size: a number, or dynamic.")
@option(
    "--io",
    section="Format",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="Input and output type of full-integer files.",
)
@option(
    "--max-drop",
    section="Checks",
    type=click.FloatRange(0, 100),
    help="Largest accuracy drop on the test set, in percentage points. Default: the tolerance of the scheme.",
)
@option(
    "--android",
    section="Output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Android project that receives the model, labels, contract and golden test vectors (one .tflite file).",
)
@out_option
@json_option
def export(
    checkpoint: Path | None,
    fmt: str,
    quantize: tuple[str, ...],
    lowering: str,
    batch: str,
    io: str,
    max_drop: float | None,
    android: Path | None,
    data: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Export a checkpoint to ONNX and TFLite, and check every file.

    CHECKPOINT defaults to the one in --out. A file is written only after it passed its checks in its runtime. Exit
    code 1: a file failed its checks and was not written.

    \b
    Example:  harexport export
              harexport export harexport-out/edge.safetensors --format tflite --quantize
              harexport export --format tflite --quantize=int8 --lowering fused
              harexport export --data my-recordings --quantize --android android_demo
    """
    from harexport.exporters import android as demo_app
    from harexport.exporters import options
    from harexport.exporters.export import ExportFailure, export_checkpoint, find_checkpoint, format_result
    from harexport.model.checkpoint import load

    trained = load(checkpoint or find_checkpoint(out))
    schemes, windows = options.parse_schemes(fmt, quantize), options.parse_batch(batch)
    if android:
        fmt = "tflite" if fmt == "all" else fmt
        schemes = options.parse_schemes(fmt, quantize)
        demo_app.check_project(trained.contract, options.resolve_all(trained.network, fmt, schemes, lowering, windows, io), android)
    dataset = load_data_for(data, trained.contract, trained.recipe.name)
    results = export_checkpoint(trained, out, dataset, fmt, schemes, lowering, windows, io, max_drop)
    placed: list[Path] = []
    if android and not isinstance(results[0], ExportFailure):
        placed = demo_app.write_assets(results[0].path, android)
    lines = [f"Refused: {result.reason}" if isinstance(result, ExportFailure) else format_result(result) for result in results]
    lines += [f"Android: {path}" for path in placed]
    files = [result.to_dict() for result in results]
    print_result({"files": files, "android": [str(path) for path in placed]}, as_json, "\n".join(lines))
    if any(isinstance(result, ExportFailure) for result in results):
        sys.exit(1)
