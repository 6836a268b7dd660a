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
    from harexport.exporters.android import check_project, write_assets
    from harexport.exporters.export import ExportFailure, export_checkpoint, find_checkpoint, format_result
    from harexport.exporters.locations import record_checkpoint
    from harexport.exporters.options import parse_batch, parse_schemes, resolve_all
    from harexport.model.checkpoint import load

    path = checkpoint or find_checkpoint(out)
    trained = load(path)
    if android and fmt == "all":
        fmt = "tflite"
    schemes, batch_size = parse_schemes(fmt, quantize), parse_batch(batch)
    if android:
        files = resolve_all(trained.network, fmt, schemes, lowering, batch_size, io)
        check_project(trained.contract, files, android)
    dataset = load_data_for(data, trained.contract, trained.recipe.name)
    results = export_checkpoint(trained, out, dataset, fmt, schemes, lowering, batch_size, io, max_drop)
    record_checkpoint(trained.digest, path)
    failures = [result for result in results if isinstance(result, ExportFailure)]
    assets = write_assets(results[0].path, android) if android and not failures else []
    lines = [
        f"Failed: {result.reason}" if isinstance(result, ExportFailure) else format_result(result) for result in results
    ]
    lines += [f"Android: {path}" for path in assets]
    document = {"files": [result.to_dict() for result in results], "android": [str(path) for path in assets]}
    print_result(document, as_json, "\n".join(lines))
    if failures:
        sys.exit(1)
