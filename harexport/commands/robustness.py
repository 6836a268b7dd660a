"""Command `harexport robustness`."""

from __future__ import annotations

from pathlib import Path

import click

from harexport.commands.options import SectionedCommand, data_option, json_option, load_data, out_option, print_result


@click.command(cls=SectionedCommand)
@click.argument("models", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@data_option
@out_option
@json_option
def robustness(models: tuple[Path, ...], data: Path | None, out: Path, as_json: bool) -> None:
    """Measure accuracy under tilt, noise and lost samples.

    PATH is a checkpoint, a model file exported by harexport, or a folder of checkpoints (default: --out). Every model
    is run on the unchanged test windows and with each of these perturbations. A model with a mount stage estimates the
    mounting of each perturbed recording from its level walking. Writes a table and a plot.

    \b
    tilted   10, 20, 30 degrees against gravity, in 8 directions: mean and, in brackets, worst
    turned   90, 180, 270 degrees about each axis
    any      20 random orientations
    noise    5, 10, 20 mg rms of the accelerometer, 0.05 degrees per second per mg of the gyroscope
    lost     2 and 5 % of the samples, replaced by a straight line
    clock    2 % too slow and too fast
    gain     3 % off on every axis, with 8 sets of signs

    \b
    Example:  harexport robustness
              harexport robustness artifacts/edge artifacts/edge-any-mount
              harexport robustness edge.safetensors edge-unrolled-int8.tflite --json
    """
    from harexport.data.load import check_default_dataset
    from harexport.evaluation import plots
    from harexport.robustness import report
    from harexport.robustness.evaluate import evaluate_robustness, load_models
    from harexport.utils import files

    picture, table = out / "robustness.png", out / "robustness.md"
    for output in (picture, table):
        files.check_output(output)
    models_by_name = load_models(models or (out,))
    if data is None:
        for model in models_by_name.values():
            check_default_dataset(model.contract, model.name)
    if out.exists():  # a new folder is created only when there is a file to write
        files.check_writable(out)
    result = evaluate_robustness(models_by_name, load_data(data))
    found = {**result.to_dict(), "picture": str(picture), "table": str(table)}
    text = f"\n{report.format_robustness(result)}\n\nPicture: {picture}\nTable:   {table}"
    try:
        plots.save_figure(report.plot_robustness(result), picture)
        files.write_text(table, report.format_markdown(result))
    finally:  # what was measured is printed, also if the picture cannot be written
        print_result(found, as_json, text)
