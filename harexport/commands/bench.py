"""Command `harexport bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harexport.commands.options import (
    SectionedCommand,
    data_option,
    json_option,
    load_data,
    option,
    out_option,
    print_result,
)
from harexport.errors import InputError

if TYPE_CHECKING:
    from harexport.bench.result import BenchResult
    from harexport.data.dataset import Dataset

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=SectionedCommand)
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@data_option
@option(
    "--against",
    section="Comparison",
    type=_FILE,
    help="File or checkpoint with which all others are compared; ratios are relative to it.",
)
@option("--baseline", section="Comparison", type=_FILE, help="bench.json of an earlier run, for --fail-if.")
@option(
    "--fail-if",
    section="Comparison",
    multiple=True,
    metavar="RULE",
    help='Failure condition, for example "p50>1.15x" or "accuracy<-0.2" (relative to --baseline or --against) or '
    '"size>100KB". Repeatable.',
)
@option(
    "--explain",
    section="Comparison",
    type=_FILE,
    help="Report where this file's activations diverge from the reference.",
)
@option(
    "--target",
    section="Measurement",
    default="host",
    show_default=True,
    metavar="host|arm64|adb[:SERIAL]",
    help="host: this machine. arm64: emulated, counts instructions instead of time. adb: a connected phone with the "
    "demo app.",
)
@option(
    "--runs",
    section="Measurement",
    type=click.IntRange(1000),
    default=1000,
    show_default=True,
    help="Timed runs per model.",
)
@option(
    "--threads",
    section="Measurement",
    default="1",
    show_default=True,
    help="Numbers of threads, for example 1,2,4. Results are reported for the first.",
)
@option(
    "--windows",
    section="Measurement",
    metavar="N|all",
    help="arm64 only: number of test windows, evenly spaced. Default: 64.",
)
@option("--html", "page", section="Output", type=_FILE, help="HTML report. Default: report.html in --out.")
@option("--markdown", section="Output", type=_FILE, help="Markdown summary for a pull request.")
@out_option
@json_option
def bench(
    models: tuple[Path, ...],
    data: Path | None,
    against: Path | None,
    runs: int,
    threads: str,
    target: str,
    windows: str | None,
    baseline: Path | None,
    fail_if: tuple[str, ...],
    explain: Path | None,
    page: Path | None,
    markdown: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Check and time model files on the test set.

    MODELS are .onnx and .tflite files, checkpoints, or folders of them (default: --out). Files exported by harexport
    must stay within the tolerance of their scheme. Other files with the input shape of the dataset ([n, 128, 9] for
    UCI HAR) are compared without a tolerance. Exit code 1: a tolerance was exceeded or a --fail-if rule was met; 2: a
    file could not be measured.

    \b
    Example:  harexport bench
              harexport bench artifacts/edge artifacts/seed-lstm --threads 1,2
              harexport bench theirs.tflite --against artifacts/edge/edge-unrolled-float32.tflite
              harexport bench --data my-recordings
              harexport bench new.tflite --baseline bench.json --fail-if "p50>1.15x" --fail-if "accuracy<-0.2"
    """
    from harexport.bench import discovery, thresholds
    from harexport.bench.report import save
    from harexport.utils.files import check_writable, read_json, write_text

    paths = models or (out,)
    if data is None:
        discovery.check_default_data(paths)
    dataset = load_data(data)
    # what is wrong with them, before minutes of work
    asked = [thresholds.parse(text, dataset.contract.labels) for text in fail_if]
    thresholds.check_comparable(asked, baseline is not None, against is not None)
    before = None
    if baseline is not None:
        before = read_json(baseline, "baseline")
        thresholds.check_baseline(before, baseline.name)
        if not asked:
            raise InputError('--baseline alone judges nothing: say what is not to be, such as --fail-if "p50>1.15x"')
    if out.exists():  # before minutes of work; a folder is made when there is something to put into it
        check_writable(out)
    result = _measured(paths, dataset, runs, target, windows, _threads(threads), against, explain)
    if asked:
        result = thresholds.apply(result, asked, before, baseline.name if baseline else "")
    written = save.save(result, out, [path if path.is_dir() else path.parent for path in paths], page)
    if markdown is not None:
        write_text(markdown, save.pull_request(result))
    print_result(result.to_dict(), as_json, f"\n{save.terminal(result)}\n\n{save.summary(result)}\nReport: {written}")
    for refused in result.refused:
        click.echo(f"Error: {refused.reason}", err=True)
    if result.exit_code:
        sys.exit(result.exit_code)


def _measured(
    paths: tuple[Path, ...],
    dataset: Dataset,
    runs: int,
    target: str,
    windows: str | None,
    threads: tuple[int, ...],
    against: Path | None,
    explain: Path | None,
) -> BenchResult:
    kind, _, serial = target.partition(":")
    if windows is not None and kind != "arm64":
        raise InputError(f"--windows is for --target arm64: {kind} takes all of them")
    if target == "host":
        from harexport.bench.run import bench as on_host

        return on_host(paths, dataset, runs, against=against, threads=threads, explain=explain)
    if kind not in ("arm64", "adb") or (":" in target and (kind != "adb" or not serial)):
        raise InputError(f"--target {target}: choose host, arm64, adb or adb:SERIAL")
    if threads != (1,) or explain is not None:
        raise InputError(f"--target {target} takes neither --threads nor --explain: those are for host")
    if kind == "adb":
        from harexport.targets.android import bench as on_phone

        return on_phone(paths, dataset, serial or None, against=against)
    from harexport.targets.arm64.bench import bench as on_arm64

    return on_arm64(paths, dataset, against=against, windows=_count(windows))


def _count(text: str | None) -> int | None:
    """`--windows` as a number, None for all of them. Raises InputError."""
    from harexport.targets.arm64.bench import SAMPLE

    if text == "all":
        return None
    if text is not None and not (text.isdecimal() and int(text) >= 1):
        raise InputError(f"--windows {text}: give a number from 1 on, or all")
    return SAMPLE if text is None else int(text)


def _threads(text: str) -> tuple[int, ...]:
    """`--threads` as numbers. Raises InputError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 256 for part in parts):
        raise InputError(f"--threads {text}: give numbers from 1 to 256 with commas, such as 1,2,4")
    return tuple(dict.fromkeys(int(part) for part in parts))
