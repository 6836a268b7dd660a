"""Command `harexport predict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harexport.commands.options import SectionedCommand, json_option, option, out_option

if TYPE_CHECKING:
    from harexport.data.recordings.sensors import Units
    from harexport.predict.mounting import MountOption
    from harexport.runtimes.model import Model


@click.command(cls=SectionedCommand)
@click.argument("recording", metavar="[FILE]", type=click.Path(path_type=Path), required=False)
@option(
    "--model",
    section="Input",
    type=click.Path(path_type=Path),
    help="A .tflite, .onnx or .safetensors file of harexport. Default: the edge model that comes with harexport.",
)
@option(
    "--data",
    section="Input",
    type=click.Path(path_type=Path),
    help="Folder of recordings with a harexport.toml, which states the columns and units of FILE.",
)
@option(
    "--follow",
    section="Input",
    is_flag=True,
    help="Read CSV lines from standard input and print one JSON line per window.",
)
@option(
    "--acc-unit",
    section="Input",
    type=click.Choice(["g", "m/s2"]),
    help="Unit of acceleration. Default: from the header, else from the magnitude of gravity.",
)
@option(
    "--gyro-unit",
    section="Input",
    type=click.Choice(["rad/s", "deg/s"]),
    help="Unit of rotation. Default: from the header, else from the magnitude.",
)
@option(
    "--smoothing",
    section="Prediction",
    type=click.Choice(["exponential", "none"]),
    default="exponential",
    show_default=True,
    help="exponential: average probabilities over windows. A single deviating window is not shown, and a change is "
    "shown one hop (1.28 s) late.",
)
@option(
    "--mount",
    section="Prediction",
    help="How the phone was worn. auto: estimated from walking. standing:START-END: from a time of standing still, in "
    "seconds. as-is: as in the model's training data. Default: auto if the model allows any orientation, else as-is.",
)
@option(
    "--picture",
    section="Output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PNG file of the timeline. Default: <name>.activities.png in --out.",
)
@option("--no-picture", section="Output", is_flag=True, help="Do not draw the timeline.")
@out_option
@json_option
def predict(
    recording: Path | None,
    model: Path | None,
    data: Path | None,
    follow: bool,
    acc_unit: str | None,
    gyro_unit: str | None,
    smoothing: str,
    mount: str | None,
    picture: Path | None,
    no_picture: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Classify the activities in a phone recording.

    FILE is a recording by Sensor Logger or phyphox, a plain CSV file, or a folder or zip of one of these. No training
    is needed: a model comes with harexport. Samples are converted, resampled and filtered as the model's training data
    was.

    \b
    Example:  harexport predict recording.zip
              harexport predict walk.csv --acc-unit m/s2 --json
              harexport predict my-recordings/anna.csv --data my-recordings --model harexport-out/edge.safetensors
              phone-logger | harexport predict --follow
    """
    if follow == (recording is not None):
        raise click.UsageError(
            "give a FILE, or --follow to read from standard input" + (", not both" if follow else "")
        )
    if follow and picture:
        raise click.UsageError("--follow draws no picture: leave out --picture")
    if follow and data:
        raise click.UsageError("--follow reads columns and units from the header: leave out --data")
    from harexport.data.recordings.sensors import Units
    from harexport.predict.mounting import MountOption
    from harexport.runtimes import model as models

    said = Units(acc_unit, gyro_unit)
    mounting = None if mount is None else MountOption.parse(mount)
    if recording is None:
        _follow(models.load_model(model), said, smoothing, mounting)
        return
    from harexport.predict import report
    from harexport.predict.predict import predict as run

    result = run(recording, models.load_model(model), said, smoothing, data, mounting)
    target = None if no_picture else picture or out / f"{recording.stem}.activities.png"
    if target is not None:
        report.plot_timeline(result, target)
    if as_json:
        click.echo(json.dumps({**result.to_dict(), "picture": target and str(target)}, indent=2))
        return
    report.print_prediction(result)
    if target is not None:
        click.echo(f"Picture: {target}")


def _follow(model: Model, said: Units, smoothing: str, mount: MountOption | None) -> None:
    from harexport.errors import InputError
    from harexport.predict.session import WindowPrediction
    from harexport.predict.stream import predict_stream
    from harexport.utils.console import info

    if sys.stdin is None:
        raise InputError("standard input is closed; pipe a phone's samples as CSV into it, the header first")
    if sys.stdin.isatty():
        info("Reading samples from the terminal; usually a logger's output is piped in. Ctrl-D ends.")
    for event in predict_stream(sys.stdin.buffer, model, said, smoothing, mount):
        if isinstance(event, WindowPrediction):
            click.echo(json.dumps(event.to_dict(model.contract.labels)))
            sys.stdout.flush()
        else:
            info(event)
