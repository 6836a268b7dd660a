"""Command `harexport predict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harexport.commands.options import SectionedCommand, json_option, option, out_option
from harexport.utils.console import print_output, sanitize
from harexport.utils.files import replace_nonfinite

_LONGEST_STEM = 120  # bytes of a recording's name in the name of its picture; file systems allow 255

if TYPE_CHECKING:
    from harexport.data.recordings.csv_format import Units
    from harexport.predict.mounting import MountOption
    from harexport.runtimes.model import Model


@click.command(cls=SectionedCommand)
@click.argument("recordings", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@option(
    "--model",
    section="Input",
    type=click.Path(path_type=Path),
    help="A .tflite, .onnx or .safetensors file of harexport. Default: edge-any-mount, which comes with "
    "harexport; edge-any-mount-acc for recordings without a gyroscope.",
)
@option(
    "--data",
    section="Input",
    type=click.Path(path_type=Path),
    help="Folder of recordings with a harexport.toml, which states the columns and units of PATH.",
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
    metavar="UNIT",
    help="Unit of acceleration: g, m/s2, mg, or the counts per g of raw values, such as 16384/g. Default: from the "
    "header, else from the magnitude of gravity.",
)
@option(
    "--gyro-unit",
    section="Input",
    metavar="UNIT",
    help="Unit of rotation: rad/s, deg/s, mdps, or the counts of raw values, such as 131/dps. Default: from the "
    "header, else from the magnitude.",
)
@option(
    "--time-unit",
    section="Input",
    type=click.Choice(["s", "ms", "us", "ns"]),
    help="Unit of the times. Default: from the header, else from the number of rows per second.",
)
@option(
    "--signs",
    section="Input",
    type=click.Choice(["android", "apple"]),
    help="Signs of the acceleration at rest. apple: the axis that points up is negative. Default: from the files of "
    "Sensor Logger, else android.",
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
    recordings: tuple[Path, ...],
    model: Path | None,
    data: Path | None,
    follow: bool,
    acc_unit: str | None,
    gyro_unit: str | None,
    time_unit: str | None,
    signs: str | None,
    smoothing: str,
    mount: str | None,
    picture: Path | None,
    no_picture: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Classify the activities in phone recordings.

    PATH is a recording by Sensor Logger or phyphox, a plain CSV file, or a folder or zip of one or several of these. No
    training is needed: a model comes with harexport. Samples are converted, resampled and filtered as the model's
    training data was. With several recordings, --json prints one line per recording.

    \b
    Example:  harexport predict recording.zip
              harexport predict walk.csv --acc-unit m/s2 --json
              harexport predict monday.zip tuesday/
              harexport predict my-recordings/anna.csv --data my-recordings --model harexport-out/edge.safetensors
              phone-logger | harexport predict --follow
    """
    if follow == bool(recordings):
        raise click.UsageError(
            "give a PATH, or --follow to read from standard input" + (", not both" if follow else "")
        )
    if follow and picture:
        raise click.UsageError("--follow draws no picture: leave out --picture")
    if follow and data:
        raise click.UsageError("--follow reads columns and units from the header: leave out --data")
    from harexport.data.recordings.csv_format import Units
    from harexport.predict.mounting import MountOption
    from harexport.preprocessing.stream import ACC, GYRO, unit_divisor
    from harexport.runtimes.model import load_model

    for sensor, unit, name in ((ACC, acc_unit, "acc"), (GYRO, gyro_unit, "gyro")):
        if unit is not None:
            unit_divisor(sensor, unit, hint=f"pass --{name}-unit {{}}".format)
    units = Units(acc_unit, gyro_unit, time=time_unit, signs=signs)
    mounting = None if mount is None else MountOption.parse(mount)
    loaded = None if model is None else load_model(model)
    if follow:
        _follow(loaded, units, smoothing, mounting)
        return
    _predict(recordings, loaded, units, smoothing, data, mounting, (picture, no_picture, out), as_json)


def _predict(
    paths: tuple[Path, ...],
    model: Model | None,
    units: Units,
    smoothing: str,
    data: Path | None,
    mount: MountOption | None,
    drawing: tuple[Path | None, bool, Path],
    as_json: bool,
) -> None:
    """Predict all recordings; one that cannot be predicted does not stop the others."""
    from harexport.errors import InputError
    from harexport.predict import report
    from harexport.predict.predict import predict_recording, read_for_prediction

    picture, no_picture, out = drawing
    found = [(path, *read_for_prediction(path, units, data)) for path in paths]
    every = [(path, recording, merged) for path, recordings, merged in found for recording in recordings]
    if picture is not None and len(every) > 1:
        raise InputError(f"--picture draws one recording, and there are {len(every)}; use --out for all of them")
    predictions, failures, undrawn = [], [], []
    stems: set[str] = set()  # recordings of several paths can have one name
    for path, recording, merged in every:
        try:
            prediction = predict_recording(recording, model, merged, smoothing, mount)
        except InputError as error:
            if len(every) == 1:
                raise
            failures.append(str(error))
            continue
        predictions.append(prediction)
        stem = _file_name(path.stem, " ._-()[]+,=@#~") if len(every) == 1 else _file_name(recording.name)
        stem = next(name for name in (stem, *(f"{stem}-{k}" for k in range(2, len(every) + 1))) if name not in stems)
        stems.add(stem)
        target = None if no_picture else picture or out / f"{stem}.activities.png"
        if target is not None:
            try:
                report.plot_timeline(prediction, target)
            except InputError as error:  # such as a full disk; the prediction is printed
                undrawn.append(str(error))
                target = None
        if as_json:
            content = {**prediction.to_dict(), "picture": target and str(target)}
            print_output(json.dumps(replace_nonfinite(content), indent=2 if len(every) == 1 else None))
            continue
        report.print_prediction(prediction)
        if target is not None:
            print_output(sanitize(f"Picture: {target}"))
        if len(every) > 1:
            print_output("")
    if len(every) > 1 and predictions and not as_json:
        report.print_summary(predictions)
    if failures:
        several = f"{len(failures)} of {len(every)} recordings cannot be predicted. " if len(every) > 1 else ""
        raise InputError(several + " ".join(f"{text}." for text in failures + undrawn[:1]).removesuffix("."))
    if undrawn:
        raise InputError(undrawn[0])


def _file_name(recording: str, allowed: str = "-_. ") -> str:
    """Return the name of a recording as part of a file name; besides letters and digits, characters in `allowed`."""
    name = "".join(c if c.isalnum() or c in allowed else "_" for c in recording)
    name = name.removesuffix(".csv").removesuffix(".zip").strip(". ")
    return name.encode()[:_LONGEST_STEM].decode("utf-8", "ignore") or "recording"


def _follow(model: Model | None, units: Units, smoothing: str, mount: MountOption | None) -> None:
    from harexport.errors import InputError
    from harexport.model.contract import LABELS
    from harexport.predict.session import WindowPrediction
    from harexport.predict.stream import predict_stream, read_lines
    from harexport.utils.console import info

    if sys.stdin is None:
        raise InputError("standard input is closed; pipe a phone's samples as CSV into it, the header first")
    if sys.stdin.isatty():
        info("Reading samples from the terminal; usually a logger's output is piped in. Ctrl-D ends.")
    labels = LABELS if model is None else model.contract.labels
    try:
        for event in predict_stream(read_lines(sys.stdin.buffer), model, units, smoothing, mount):
            if isinstance(event, WindowPrediction):
                print_output(json.dumps(event.to_dict(labels)))
            else:
                info(event)
    except BrokenPipeError:
        pass  # the reader has what it needs, as head -1
