"""`harexport predict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harexport.commands.options import json_option, out_option

if TYPE_CHECKING:
    from harexport.data.recordings.sensors import Units
    from harexport.runtimes.model import Model


@click.command()
@click.argument("recording", metavar="[FILE]", type=click.Path(path_type=Path), required=False)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A .tflite, .onnx or .safetensors of harexport. Default: the edge model that comes with it.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="A folder of your recordings: FILE is read as its harexport.toml says (columns and units).",
)
@click.option("--follow", is_flag=True, help="Read CSV lines from standard input; print one JSON line a window.")
@click.option("--acc-unit", type=click.Choice(["g", "m/s2"]), help="Default: as the header says, else by gravity.")
@click.option(
    "--gyro-unit", type=click.Choice(["rad/s", "deg/s"]), help="Default: as the header says, else by magnitude."
)
@click.option(
    "--smoothing",
    type=click.Choice(["exponential", "none"]),
    default="exponential",
    show_default=True,
    help="exponential: a lone contrary window is not shown, a change one hop (1.28 s) late.",
)
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Timeline as PNG. Default: in --out.")
@click.option("--no-picture", is_flag=True, help="Draw none.")
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
    picture: Path | None,
    no_picture: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Tell activities from FILE, a recording by Sensor Logger or phyphox or a plain CSV; also a folder or zip of them.

    Nothing has to be trained before: a model comes with harexport. The phone's samples are converted, resampled and
    filtered as the model's training data was. Columns and units are recognised, or asked for where unsure.

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
    from harexport.runtimes import model as models

    said = Units(acc_unit, gyro_unit)
    if recording is None:
        _follow(models.load(model), said, smoothing)
        return
    from harexport.predict import report
    from harexport.predict.predict import predict as run

    result = run(recording, models.load(model), said, smoothing, data)
    target = None if no_picture else picture or out / f"{recording.stem}.activities.png"
    if target is not None:
        report.draw(result, target)
    if as_json:
        click.echo(json.dumps({**result.to_dict(), "picture": target and str(target)}, indent=2))
        return
    report.show(result)
    if target is not None:
        click.echo(f"Picture: {target}")


def _follow(model: Model, said: Units, smoothing: str) -> None:
    from harexport.errors import InputError
    from harexport.predict.session import Answer
    from harexport.predict.stream import follow
    from harexport.utils.console import say

    if sys.stdin is None:
        raise InputError("standard input is closed; pipe a phone's samples as CSV into it, the header first")
    if sys.stdin.isatty():
        say("Reading samples from the terminal; usually a logger's output is piped in. Ctrl-D ends.")
    for event in follow(sys.stdin.buffer, model, said, smoothing):
        if isinstance(event, Answer):
            click.echo(json.dumps(event.to_dict(model.contract.labels)))
            sys.stdout.flush()
        else:
            say(event)
