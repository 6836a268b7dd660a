"""Command `harexport bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from harexport.commands.options import (
    SectionedCommand,
    data_option,
    json_option,
    load_data,
    option,
    out_option,
    print_error,
    print_result,
)
from harexport.errors import InputError

if TYPE_CHECKING:
    from harexport.bench.discovery import FoundModels
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
def bench(models: tuple[Path, ...], data: Path | None, out: Path, as_json: bool, **options: Any) -> None:
    """Check and time model files on the test set.

    MODELS are .onnx and .tflite files, checkpoints, or folders of them (default: --out). Files exported by harexport
    must stay within the tolerance of their scheme. Other files with the input shape of the dataset ([n, 128, 9] for
    UCI HAR) are compared without a tolerance. Exit code 1: a tolerance was exceeded or a --fail-if rule was met; 2: a
    file could not be measured.

    \b
    Example:  harexport bench
              harexport bench artifacts/edge artifacts/baseline-lstm --threads 1,2
              harexport bench theirs.tflite --against artifacts/edge/edge-unrolled-float32.tflite
              harexport bench --data my-recordings
              harexport bench new.tflite --baseline bench.json --fail-if "p50>1.15x" --fail-if "accuracy<-0.2"
    """
    from harexport.bench import thresholds
    from harexport.bench.discovery import find_models
    from harexport.bench.report import text
    from harexport.bench.report.html import save_report
    from harexport.bench.result import group_reasons
    from harexport.utils import files

    chosen = BenchOptions(**options)
    found = find_models(models or (out,), chosen.against)
    files.add_inputs([*found.files, *(reference.path for reference in found.checkpoints.values())])
    for output in (out / "bench.json", chosen.page or out / "report.html", chosen.markdown):
        if output is not None:
            files.check_output(output)
    if data is None:
        found.check_default_dataset()
    dataset = load_data(data)
    # errors in the options are reported before the benchmark, which takes minutes
    rules = [thresholds.parse(rule, dataset.contract.labels) for rule in chosen.fail_if]
    baseline, baseline_name = None, chosen.baseline.name if chosen.baseline else ""
    if chosen.baseline is not None:
        if not rules:
            raise InputError('--baseline has no effect without --fail-if, for example --fail-if "p50>1.15x"')
        baseline = thresholds.load_baseline(chosen.baseline, dataset.contract.labels)
    thresholds.check_comparable(rules, baseline, baseline_name, chosen.against, files.unique_names(found.files))
    if out.exists():  # a new folder is created only when there is a file to write
        files.check_writable(out)
    result = _run_on_target(found, dataset, chosen)
    if rules:
        result = thresholds.apply(result, rules, baseline, baseline_name)
    summary = f"\n{text.format_terminal(result)}\n\n{text.summarize(result)}"
    try:
        page = save_report(result, out, found.folders, chosen.page)
        summary += f"\nReport: {page}"
        if chosen.markdown is not None:
            files.write_text(chosen.markdown, text.format_pull_request(result))
    finally:  # what was measured is printed, also if a report cannot be written
        print_result(result.to_dict(), as_json, summary)
    for reason in group_reasons(result.refused):
        print_error(reason)
    if result.exit_code:
        sys.exit(result.exit_code)


class BenchOptions(NamedTuple):
    """Options of the command as click passes them."""

    against: Path | None
    baseline: Path | None
    fail_if: tuple[str, ...]
    explain: Path | None
    target: str
    runs: int
    threads: str
    windows: str | None
    page: Path | None
    markdown: Path | None

    @property
    def thread_counts(self) -> tuple[int, ...]:
        """Value of --threads. Raises InputError."""
        parts = [part.strip() for part in self.threads.split(",")]
        if not all(part.isdecimal() and 1 <= int(part) <= 256 for part in parts):
            raise InputError(f"--threads {self.threads}: give numbers from 1 to 256, such as 1,2,4")
        return tuple(dict.fromkeys(int(part) for part in parts))

    def window_count(self, default: int) -> int | None:
        """Value of --windows; None for all windows. Raises InputError."""
        if self.windows is None:
            return default
        if self.windows == "all":
            return None
        if not (self.windows.isdecimal() and int(self.windows) >= 1):
            raise InputError(f"--windows {self.windows}: give a number of at least 1, or all")
        return int(self.windows)


def _run_on_target(found: FoundModels, dataset: Dataset, options: BenchOptions) -> BenchResult:
    target, threads = options.target, options.thread_counts
    kind, _, serial = target.partition(":")
    if options.windows is not None and kind != "arm64":
        raise InputError(f"--windows is for --target arm64 only; {kind} runs all windows")
    if target == "host":
        from harexport.bench import run

        return run.bench(found, dataset, options.runs, threads=threads, explain=options.explain)
    if kind not in ("arm64", "adb") or (":" in target and (kind != "adb" or not serial)):
        raise InputError(f"--target {target}: choose host, arm64, adb or adb:SERIAL")
    if threads != (1,) or options.explain is not None:
        raise InputError(f"--target {target}: --threads and --explain are for --target host only")
    if kind == "adb":
        from harexport.targets import android

        return android.bench(found, dataset, serial or None)
    from harexport.targets.arm64 import bench as arm64

    return arm64.bench(found, dataset, windows=options.window_count(arm64.DEFAULT_WINDOWS))
