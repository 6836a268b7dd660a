"""Report of a prediction: a strip and a table in the terminal, and a timeline as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harexport.evaluation import plots
from harexport.evaluation.plots import format_label
from harexport.predict.session import SETTLING, SPARSE, WindowPrediction
from harexport.utils.console import print_output, sanitize
from harexport.utils.tables import pluralize

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from harexport.predict.predict import Prediction

# Okabe and Ito's palette for color-blind readers; moving activities are warm, resting ones cool.
_COLORS = ("#e69f00", "#d55e00", "#cc79a7", "#009e73", "#56b4e9", "#0072b2", "#f0e442", "#999999")
_NONE = "#d9dee4"
_ROWS = 30  # of the table; more are in --json


def label_color(labels: Sequence[str], activity: str | None) -> str:
    """Return the color of an activity; light gray for none."""
    return _NONE if activity is None else _COLORS[labels.index(activity) % len(_COLORS)]


def format_duration(seconds: float) -> str:
    """Format seconds: 83.4 -> 1:23; 3723 -> 1:02:03."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def time_per_activity(prediction: Prediction) -> list[tuple[str, float]]:
    """Return the seconds of each activity, the longest first."""
    seconds = {
        name: sum(s.end_s - s.start_s for s in prediction.segments if s.activity == name) for name in prediction.labels
    }
    return sorted(((name, spent) for name, spent in seconds.items() if spent), key=lambda item: -item[1])


def print_prediction(prediction: Prediction) -> None:
    """Print strip, legend, segments and notes to standard output, with colors on a terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    _print(console, _format_prediction(prediction, min(console.width, 110)))


def _print(console: Console, parts: Sequence[RenderableType]) -> None:
    """Print `parts` without control characters."""
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    print_output(sanitize(capture.get(), keep_colors=console.is_terminal), newline=False)


def _format_prediction(prediction: Prediction, width: int) -> list[RenderableType]:
    """Return the parts of a report for a console of `width` columns."""
    from rich.columns import Columns
    from rich.table import Table
    from rich.text import Text

    labels = prediction.labels
    head = Text.assemble(
        (prediction.recording, "bold"),
        f"  {format_duration(prediction.seconds)} of {prediction.family}, ",
        ", ".join(f"{sensor} {rate:.1f} Hz" for sensor, rate in prediction.source.rates.items()),
        f"; {prediction.model}",
    )
    marks = dict(zip(labels, _letters(labels), strict=True))
    strip = Text()
    for activity in _columns(prediction, width):
        letter = "·" if activity is None else marks[activity]
        strip.append(letter, style="" if activity is None else f"black on {label_color(labels, activity)}")
    scale = Text(f"0:00{format_duration(prediction.seconds):>{max(1, width - 4)}}", style="dim")
    legend = Columns(
        [
            Text.assemble(
                (f" {marks[name]} ", f"black on {label_color(labels, name)}"),
                f" {format_label(name)} {format_duration(seconds)}",
            )
            for name, seconds in time_per_activity(prediction)
        ],
        padding=(0, 3),
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("from", "to", "lasted"):
        table.add_column(name, justify="right")
    table.add_column()
    table.add_column("activity")
    for segment in prediction.segments[:_ROWS]:
        mark = Text(f" {marks[segment.activity]} ", style=f"black on {label_color(labels, segment.activity)}")
        span = (segment.start_s, segment.end_s, segment.end_s - segment.start_s)
        table.add_row(*(format_duration(seconds) for seconds in span), mark, format_label(segment.activity))
    parts: list[RenderableType] = [head, Text(), strip, scale]
    if prediction.segments:
        parts += [legend, Text(), table]
    if (more := len(prediction.segments) - _ROWS) > 0:
        parts.append(Text(f"... and {more} more segments: --json has all of them", style="dim"))
    parts += [Text(line) for line in ["", *format_notes(prediction)]]
    return parts


def format_notes(prediction: Prediction) -> list[str]:
    """Return the notes under the table: latency, agreement with labels, unreliable windows, restarts."""
    latency = float(np.median([window.latency_ms for window in prediction.windows]))
    out = [f"{len(prediction.windows)} windows; {latency:.2f} ms per window."]
    if (agreed := prediction.agreement) is not None:
        out.append(
            f"{agreed.smoothed:.1%} of {agreed.windows} labeled windows are predicted as labeled "
            f"({agreed.single:.1%} without smoothing)."
        )
    doubts = [window.doubt for window in prediction.windows]
    if settling := doubts.count(SETTLING):
        count = pluralize(settling, "window")
        out.append(f"Left blank because the filters had just started, so that predictions are unreliable: {count}.")
    if sparse := doubts.count(SPARSE):
        count = pluralize(sparse, "window")
        out.append(f"Left blank because a sensor gave less than nine tenths of its usual samples: {count}.")
    out += [f"At {format_duration(at)} the filters restart: {reason}." for at, reason in prediction.restarts[:10]]
    if (more := len(prediction.restarts) - 10) > 0:
        out.append(f"... and {more} more restarts.")
    return out + [note[0].upper() + note[1:] + "." for note in prediction.notes]


def plot_timeline(prediction: Prediction, path: Path) -> None:
    """Plot the activities as a strip, the labels under it, if any, and the probabilities; write it as PNG."""
    from matplotlib.patches import Patch

    labels = prediction.labels
    is_labeled = any(window.label is not None for window in prediction.windows)
    unit, name = (60.0, "minutes") if prediction.seconds >= 180 else (1.0, "seconds")
    figure = plots.new_figure(11.0, 4.6 if is_labeled else 4.3)
    heights = [1.0, 0.5, 2.6] if is_labeled else [1.0, 2.6]
    rows = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    strip, probabilities = rows[0], rows[-1]
    # One collection for all spans: an artist for each takes seconds for an hour of recording.
    for axes, spans in ((strip, _segment_spans(prediction)), (rows[1], _label_spans(prediction.windows))):
        colors = [label_color(labels, label) for _, _, label in spans]
        bars = [(start / unit, (end - start) / unit) for start, end, _ in spans]
        axes.broken_barh(bars, (0, 1), facecolors=colors, linewidth=0)
    for axes, title in zip(rows[:-1], ("predicted", "labeled"), strict=False):
        axes.set_ylim(0, 1)
        axes.set_yticks([0.5], [title])
        axes.tick_params(length=0, colors=plots.INK, labelsize=9)
        axes.spines[:].set_visible(False)
        axes.set_facecolor("#f3f5f7")
    for run in _runs(prediction):
        times = np.array([(window.start_s + window.end_s) / 2 for window in run]) / unit
        below = np.zeros(len(run))
        # a single window is as wide as a hop
        edges = np.array([run[0].start_s, run[-1].end_s]) / unit if len(run) == 1 else times
        for k, label in enumerate(labels):
            share = np.array([window.probabilities[k] for window in run])
            low, high = (np.resize(values, len(edges)) for values in (below, below + share))
            probabilities.fill_between(edges, low, high, color=label_color(labels, label), linewidth=0)
            below = below + share
    for at, _ in prediction.restarts:
        probabilities.axvline(at / unit, color=plots.INK, linewidth=0.8, linestyle=(0, (2, 2)))
    pale = [(start / unit, (end - start) / unit) for start, end in _doubtful_spans(prediction.windows)]
    probabilities.broken_barh(pale, (0, 1), facecolors="white", alpha=0.7, linewidth=0)
    plots.style_axes(probabilities)
    probabilities.grid(visible=False)
    probabilities.set_ylim(0, 1)
    probabilities.set_xlim(0, max(prediction.seconds, 1e-3) / unit)
    probabilities.set_yticks([0, 0.5, 1], ["0", "50%", "100%"])
    probabilities.set_xlabel(name, color=plots.INK)
    probabilities.set_ylabel("probability", color=plots.INK, fontsize=9)
    handles = [Patch(color=label_color(labels, label), label=format_label(label)) for label in labels]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    title = f"{prediction.recording}: " + ", ".join(
        f"{format_label(label)} {format_duration(seconds)}" for label, seconds in time_per_activity(prediction)[:3]
    )
    figure.suptitle(title, color=plots.INK, x=0.01, ha="left", fontsize=12)
    plots.save_figure(figure, path)


def _columns(prediction: Prediction, width: int) -> list[str | None]:
    """Return the activity that fills most of each of `width` columns; None without a prediction."""
    edges = np.linspace(0.0, prediction.seconds, width + 1)
    out: list[str | None] = []
    for left, right in pairwise(edges):
        filled: dict[str, float] = {}
        for segment in prediction.segments:
            if (overlap := min(right, segment.end_s) - max(left, segment.start_s)) > 0:
                filled[segment.activity] = filled.get(segment.activity, 0.0) + overlap
        out.append(max(filled, key=lambda name: filled[name]) if filled else None)
    return out


def _runs(prediction: Prediction) -> list[list[WindowPrediction]]:
    """Return the windows between restarts."""
    breaks = [at for at, _ in prediction.restarts]
    runs: list[list[WindowPrediction]] = [[]]
    for window in prediction.windows:
        while breaks and window.start_s >= breaks[0]:
            breaks.pop(0)
            runs.append([])
        runs[-1].append(window)
    return [run for run in runs if run]


def _segment_spans(prediction: Prediction) -> list[tuple[float, float, str]]:
    return [(segment.start_s, segment.end_s, segment.activity) for segment in prediction.segments]


def _doubtful_spans(windows: Sequence[WindowPrediction]) -> list[tuple[float, float]]:
    """Return the times of unreliable windows, each the middle half of its window, joined where they touch."""
    spans: list[tuple[float, float]] = []
    for window in windows:
        if window.doubt is None:
            continue
        quarter = (window.end_s - window.start_s) / 4
        start, end = window.start_s + quarter, window.end_s - quarter
        if spans and start <= spans[-1][1] + 0.1 * quarter:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _label_spans(windows: Sequence[WindowPrediction]) -> list[tuple[float, float, str]]:
    spans: list[tuple[float, float, str]] = []
    for window in windows:
        if window.label is None:
            continue
        if spans and spans[-1][2] == window.label and window.start_s <= spans[-1][1]:
            spans[-1] = (spans[-1][0], window.end_s, window.label)
        else:
            spans.append((window.start_s, window.end_s, window.label))
    return spans


def _letters(labels: Sequence[str]) -> list[str]:
    """Return a letter per label, so that the strip can be read without color: the first unused one of its words."""
    taken: list[str] = []
    for label in labels:
        words = label.upper().split("_")
        candidates = [*(words[-1]), *"".join(words), *"0123456789"]
        taken.append(next((letter for letter in candidates if letter not in taken), "?"))
    return taken


def print_summary(predictions: Sequence[Prediction]) -> None:
    """Print one row per recording: name, duration and time per activity."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("recording", "lasted", "activities", "notes"):
        table.add_column(name, overflow="fold")
    for prediction in predictions:
        spent = ", ".join(f"{format_label(name)} {format_duration(s)}" for name, s in time_per_activity(prediction)[:4])
        table.add_row(
            prediction.recording, format_duration(prediction.seconds), spent or "-", str(len(prediction.notes))
        )
    _print(Console(highlight=False), [table])
