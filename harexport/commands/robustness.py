"""`harexport robustness`."""

from __future__ import annotations

from pathlib import Path

import click

from harexport.commands.options import data_option, json_option, load_data, out_option, show


@click.command()
@click.argument("models", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@data_option
@out_option
@json_option
def robustness(models: tuple[Path, ...], data: Path | None, out: Path, as_json: bool) -> None:
    """What is left of the accuracy of PATHs when a phone is worn, or samples, otherwise than the data set's did.

    PATHs are checkpoints, .onnx or .tflite files of harexport, or folders of checkpoints (default: --out). All answer
    the test windows as they are, by class and by subject, and under each of these; a table and a picture come out.

    \b
    tilted   10, 20, 30 degrees against gravity, in 8 directions: the mean and, in brackets, the worst
    turned   90, 180, 270 degrees about each axis: another side up
    noise    5, 10, 20 mg rms of the accelerometer, 0.05 degrees per second for each mg of the gyroscope
    lost     2 and 5 % of the samples, bridged by a straight line
    clock    2 % too slow and too fast
    gain     3 % off on every axis, with 8 sets of signs

    \b
    Example:  harexport robustness
              harexport robustness artifacts
              harexport robustness edge.safetensors edge-unrolled-int8.tflite --json
    """
    from harexport.data.load import check_default
    from harexport.evaluation import plots
    from harexport.robustness import evaluate as robust
    from harexport.robustness import plot
    from harexport.utils.files import check_writable, write_text

    asked = robust.entered(models or (out,))
    if data is None:
        for model in asked.values():
            check_default(model.contract, model.name)
    if out.exists():  # before minutes of work; a folder is made when there is something to put into it
        check_writable(out)
    result = robust.robustness(asked, load_data(data))
    picture, table = out / "robustness.png", out / "robustness.md"
    plots.save(plot.draw(result), picture)
    write_text(table, robust.markdown(result))
    found = {**result.to_dict(), "picture": str(picture), "table": str(table)}
    show(found, as_json, f"\n{robust.text(result)}\n\nPicture: {picture}\nTable:   {table}")
