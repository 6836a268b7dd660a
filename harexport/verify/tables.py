"""A bench result as tables of text, for the terminal, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Sequence

from harexport.verify.result import BenchResult, ModelResult
from harexport.verify.statistics import Interval

Table = list[tuple[str, ...]]  # the head, then a row a model

_NONE = "-"
_HEAD = ("model", "runtime", "KB", "accuracy", "drop", "agree", "logit diff.",
         "min µs", "p50 µs", "p90 µs", "p99 µs", "cold ms", "proof")  # fmt: skip
_ANSWERS = ("model", "accuracy", "macro F1", "drop", "lost/won", "p", "agree", "logit diff.", "ECE", "proof")
_COSTS = ("model", "p50 µs", "95 %", "times", "95 %", "min", "p90", "p99", "cold ms", "MB", "KB")
_WORK = ("model", "runtime", "scheme", "MACs", "GMAC/s", "arena KB", "windows/s", "load ms", "first ms", "model MB")


def rows(result: BenchResult) -> Table:
    """The figures that matter most in one table."""
    return [_HEAD, *(_row(model) for model in result.models)]


def answers(result: BenchResult) -> Table:
    """What each model answers."""
    return [_ANSWERS, *(_answers_row(model) for model in result.models)]


def costs(result: BenchResult) -> Table:
    """How long each model takes: the median with its interval, and in times of the baseline."""
    return [_COSTS, *(_costs_row(model) for model in result.models)]


def work(result: BenchResult) -> Table:
    """What each model computes, and what it holds in memory; without what no model of this target has."""
    table = [(*_WORK, "instructions"), *(_work_row(model) for model in result.models)]
    known = [k for k in range(len(table[0])) if any(row[k] != _NONE for row in table[1:])]
    return [tuple(row[k] for k in known) for row in table]


def threads(result: BenchResult) -> Table:
    """p50 by number of threads; the head alone where there was only one."""
    counts = list(dict.fromkeys(count for model in result.models for count in model.threads))
    head = ("model", f"{result.machine['threads']} threads: p50 µs", *(f"{count} threads" for count in counts))
    if not counts:
        return [head]
    shown = [model for model in result.models if model.latency]
    return [head, *((m.name, _p50(m), *(_time(m.threads[count].p50) for count in counts)) for m in shown)]


def recalls(result: BenchResult) -> Table:
    """Recall by label."""
    from harexport.pictures import readable

    head = ("model", *(readable(label) for label in result.labels))
    shown = [(model.name, model.figures) for model in result.models if model.figures]
    return [head, *((name, *(f"{share:.1%}" for share in figures.label_recall)) for name, figures in shown)]


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A GitHub Markdown table."""
    head, *body = table
    left = 2 if len(head) > 1 and head[1] == "runtime" else 1
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * left + "---:|" * (len(head) - left)]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body)])


def plain(table: Sequence[Sequence[str]]) -> str:
    """Aligned text."""
    first, *others = (max(map(len, column)) for column in zip(*table, strict=True))
    lines = [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))])
        for name, *cells in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def _row(model: ModelResult) -> tuple[str, ...]:
    latency, compared = model.latency, model.comparison
    times = (latency.min, latency.p50, latency.p90, latency.p99) if latency else (None,) * 4
    return (
        model.name,
        model.runtime,
        _thousands(model.size_bytes),
        f"{model.figures.accuracy:.2%}" if model.figures else _NONE,
        _drop(model),
        f"{compared.agreement:.2%}" if compared else _NONE,
        _difference(model),
        *(_time(time) for time in times),
        _cold(model),
        _proof(model),
    )


def _answers_row(model: ModelResult) -> tuple[str, ...]:
    compared = model.comparison
    return (
        model.name,
        f"{model.figures.accuracy:.2%}" if model.figures else _NONE,
        f"{model.figures.macro_f1:.2%}" if model.figures else _NONE,
        _drop(model),
        f"{compared.lost}/{compared.won}" if compared else _NONE,
        f"{compared.p_value:.2g}" if compared else _NONE,
        f"{compared.agreement:.2%}" if compared else _NONE,
        _difference(model),
        _NONE if model.calibration_error is None else f"{model.calibration_error:.3f}",
        _proof(model),
    )


def _costs_row(model: ModelResult) -> tuple[str, ...]:
    latency, cold = model.latency, model.cold_start
    return (
        model.name,
        _p50(model),
        f"{_time(latency.low)}-{_time(latency.high)}" if latency else _NONE,
        *ratio(model.ratio),
        *(_time(value) for value in ((latency.min, latency.p90, latency.p99) if latency else (None,) * 3)),
        _cold(model),
        f"{cold.peak_bytes / 1e6:.0f}" if cold and cold.peak_bytes else _NONE,
        _thousands(model.size_bytes),
    )


def _work_row(model: ModelResult) -> tuple[str, ...]:
    cold, speed = model.cold_start, model.macs_per_second
    fastest = max(model.throughput, key=lambda entry: entry.windows_per_second, default=None)
    at_once = f" by {fastest.batch}" if fastest and fastest.batch > 1 else ""
    return (
        model.name,
        model.runtime,
        model.scheme + (f", {model.lowering}" if model.lowering else ""),
        _NONE if not model.macs else f"{'' if model.macs_complete else '>= '}{model.macs:,}",
        f"{speed / 1e9:.1f}" if speed else _NONE,
        _thousands(model.arena_bytes),
        f"{fastest.windows_per_second:,.0f}{at_once}" if fastest else _NONE,
        f"{cold.load_ms:.1f}" if cold else _NONE,
        f"{cold.first_answer_ms:.1f}" if cold else _NONE,
        f"{cold.model_bytes / 1e6:.1f}" if cold and cold.model_bytes is not None else _NONE,
        f"{model.instructions:,}" if model.instructions else _NONE,
    )


def ratio(interval: Interval | None) -> tuple[str, str]:
    """The ratio and its interval; of the baseline itself there is nothing to say."""
    if interval is None:
        return _NONE, _NONE
    if interval.low == interval.high:
        return f"{interval.value:.2f}", _NONE
    return f"{interval.value:.2f}", f"{interval.low:.2f}-{interval.high:.2f}"


def _drop(model: ModelResult) -> str:
    if model.comparison is None:
        return _NONE
    return f"{model.comparison.drop:+.2f}" if model.comparison.drop else "0"


def _difference(model: ModelResult) -> str:
    if model.comparison is None:
        return _NONE
    largest = model.comparison.max_logit_difference
    return "NaN" if largest is None else f"{largest:.1e}"


def _proof(model: ModelResult) -> str:
    if not model.promised:
        return "no promise"
    return "FAILED" if model.failures else "passed"


def _p50(model: ModelResult) -> str:
    return _time(model.latency.p50 if model.latency else None)


def _time(microseconds: float | None) -> str:
    if microseconds is None:
        return _NONE
    return f"{microseconds:.1f}" if microseconds < 1000 else f"{microseconds:.0f}"


def _cold(model: ModelResult) -> str:
    cold = model.cold_start
    return f"{cold.load_ms + cold.first_answer_ms:.1f}" if cold else _NONE


def _thousands(size: int | None) -> str:
    return _NONE if size is None else f"{size / 1000:.1f}"
