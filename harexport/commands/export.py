"""`harexport export`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harexport.commands.options import data_option, json_option, load_data_for, out_option, show


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option("--format", "fmt", type=click.Choice(["onnx", "tflite", "all"]), default="all", show_default=True)
@click.option(
    "--quantize",
    multiple=True,
    is_flag=False,
    flag_value="int8-weights",
    metavar="[=SCHEME]",
    help="int8-weights (the default), float16, or int8 (full integer); may be given several times. "
    "With --format all: besides the float32 files.",
)
@click.option(
    "--lowering",
    type=click.Choice(["auto", "fused", "unrolled"]),
    default="auto",
    show_default=True,
    help="TFLite: the fused LSTM op (smallest), or one op a step (fastest at few steps).",
)
@click.option("--batch", default="1", show_default=True, help="Windows at once: 1, a number, or dynamic.")
@click.option(
    "--io",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="Input and outputs of full integer.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    help="Points of accuracy a file may lose on the test set, instead of what its scheme promises.",
)
@click.option(
    "--android",
    type=click.Path(path_type=Path, file_okay=False),
    help="Android project to put the model, its labels, its contract and golden windows into (one .tflite).",
)
@data_option
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
    """Write CHECKPOINT (default: the one in --out) as ONNX and TFLite, each file gated before it gets its name.

    \b
    Example:  harexport export
              harexport export harexport-out/edge.safetensors --format tflite --quantize
              harexport export --format tflite --quantize=int8 --lowering fused
              harexport export --data my-recordings --quantize --android android_demo
    """
    from harexport.exporters import android as demo_app
    from harexport.exporters import options
    from harexport.exporters.export import Refused, export_checkpoint, only_checkpoint, text
    from harexport.model.checkpoint import load

    trained = load(checkpoint or only_checkpoint(out))
    schemes, windows = options.schemes(fmt, quantize), options.windows(batch)
    if android:
        fmt = "tflite" if fmt == "all" else fmt
        schemes = options.schemes(fmt, quantize)
        demo_app.check(trained.contract, options.all_of(trained.network, fmt, schemes, lowering, windows, io), android)
    dataset = load_data_for(data, trained.contract, trained.recipe.name)
    results = export_checkpoint(trained, out, dataset, fmt, schemes, lowering, windows, io, max_drop)
    placed: list[Path] = []
    if android and not isinstance(results[0], Refused):
        placed = demo_app.place(results[0].path, android)
    lines = [f"Refused: {result.reason}" if isinstance(result, Refused) else text(result) for result in results]
    lines += [f"Android: {path}" for path in placed]
    files = [result.to_dict() for result in results]
    show({"files": files, "android": [str(path) for path in placed]}, as_json, "\n".join(lines))
    if any(isinstance(result, Refused) for result in results):
        sys.exit(1)
