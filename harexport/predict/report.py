"""What people see of a prediction: a coloured strip and a table in the terminal, and a timeline as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harexport.predict.session import SETTLING, SPARSE, WindowPrediction

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harexport.predict.predict import Prediction

# Told apart by colour-blind eyes too (Okabe and Ito), moving ones warm and resting ones cool.
_COLOURS = ("#e69f00", "#d55e00", "#cc79a7", "#009e73", "#56b4e9", "#0072b2", "#f0e442", "#999999")
_NONE = "#d9dee4"
_ROWS = 30  # of the table; more are in --json


def label_color(labels: Sequence[str], activity: str | None) -> str:
    """The colour of an activity; light grey for none."""
    return _NONE if activity is None else _COLOURS[labels.index(activity) % len(_COLOURS)]


def format_duration(seconds: float) -> str:
    """83.4 -> 1:23; 3723 -> 1:02:03."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def time_per_activity(prediction: Prediction) -> list[tuple[str, float]]:
    """Activities by the time spent in them, in seconds, the longest first."""
    seconds = {
        name: sum(s.end_s - s.start_s for s in prediction.stretches if s.activity == name) for name in prediction.labels
    }
    return sorted(((name, spent) for name, spent in seconds.items() if spent), key=lambda item: -item[1])


def print_prediction(prediction: Prediction) -> None:
    """Print strip, legend, stretches and notes to standard output: coloured on a terminal, plain text elsewhere."""
    from rich.console import Console

    console = Console(highlight=False)
    for part in renderables(prediction, min(console.width, 110)):
        console.print(part)


def renderables(prediction: Prediction, width: int) -> list[RenderableType]:
    """The parts of `show`, for a console of `width` columns."""
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
                (f" {marks[name]} ", f"black on {label_color(labels, name)}"), f" {_readable(name)} {format_duration(seconds)}"
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
    for stretch in prediction.stretches[:_ROWS]:
        mark = Text(f" {marks[stretch.activity]} ", style=f"black on {label_color(labels, stretch.activity)}")
        span = (stretch.start_s, stretch.end_s, stretch.end_s - stretch.start_s)
        table.add_row(*(format_duration(seconds) for seconds in span), mark, _readable(stretch.activity))
    parts: list[RenderableType] = [head, Text(), strip, scale, legend, Text(), table]
    if (more := len(prediction.stretches) - _ROWS) > 0:
        parts.append(Text(f"... and {more} more stretches: --json has all of them", style="dim"))
    parts += [Text(line) for line in ["", *format_notes(prediction)]]
    return parts


def format_notes(prediction: Prediction) -> list[str]:
    """The sentences under the table: speed, agreement with labels, doubtful windows, restarts, notes."""
    latency = float(np.median([answer.latency_ms for answer in prediction.answers]))
    out = [f"{len(prediction.answers)} windows; an answer took {latency:.2f} ms."]
    if (agreed := prediction.agreement) is not None:
        out.append(
            f"With the labels in the file agree {agreed.smoothed:.1%} of {agreed.windows} windows "
            f"({agreed.single:.1%} without smoothing)."
        )
    doubts = [answer.doubt for answer in prediction.answers]
    if settling := doubts.count(SETTLING):
        out.append(f"{settling} windows are left blank: the filters had just started, and answers mean little then.")
    if sparse := doubts.count(SPARSE):
        out.append(f"{sparse} windows are left blank: a sensor gave less than nine tenths of the samples there.")
    out += [f"At {format_duration(at)} the chain started anew: {reason}." for at, reason in prediction.restarts[:10]]
    if (more := len(prediction.restarts) - 10) > 0:
        out.append(f"... and {more} times more.")
    return out + [note[0].upper() + note[1:] + "." for note in prediction.notes]


def plot_timeline(prediction: Prediction, path: Path) -> None:
    """Write the timeline as PNG: activities as a strip (the labels' under it, if any), and the probabilities."""
    from matplotlib.patches import Patch

    from harexport.evaluation import plots

    labels = prediction.labels
    labelled = any(answer.label is not None for answer in prediction.answers)
    unit, name = (60.0, "minutes") if prediction.seconds >= 180 else (1.0, "seconds")
    drawn = plots.new_figure(11.0, 4.6 if labelled else 4.3)
    heights = [1.0, 0.5, 2.6] if labelled else [1.0, 2.6]
    rows = drawn.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    strip, chances = rows[0], rows[-1]
    for stretch in prediction.stretches:
        span = (stretch.start_s / unit, (stretch.end_s - stretch.start_s) / unit)
        strip.broken_barh([span], (0, 1), facecolors=label_color(labels, stretch.activity), linewidth=0)
    if labelled:
        for start, end, label in _label_spans(prediction.answers):
            rows[1].broken_barh([(start / unit, (end - start) / unit)], (0, 1), facecolors=label_color(labels, label))
    for axes, title in zip(rows[:-1], ("answered", "labelled"), strict=False):
        axes.set_ylim(0, 1)
        axes.set_yticks([0.5], [title])
        axes.tick_params(length=0, colors=plots.INK, labelsize=9)
        axes.spines[:].set_visible(False)
        axes.set_facecolor("#f3f5f7")
    for run in _runs(prediction):
        times = np.array([(answer.start_s + answer.end_s) / 2 for answer in run]) / unit
        below = np.zeros(len(run))
        # one window alone is drawn one hop wide
        edges = np.array([run[0].start_s, run[-1].end_s]) / unit if len(run) == 1 else times
        for k, label in enumerate(labels):
            share = np.array([answer.probabilities[k] for answer in run])
            low, high = (np.resize(values, len(edges)) for values in (below, below + share))
            chances.fill_between(edges, low, high, color=label_color(labels, label), linewidth=0)
            below = below + share
    for at, _ in prediction.restarts:
        chances.axvline(at / unit, color=plots.INK, linewidth=0.8, linestyle=(0, (2, 2)))
    for answer in prediction.answers:
        if answer.doubt is not None:  # shown, but pale: these answers are not to be trusted
            middle = (answer.start_s + answer.end_s) / 2
            half = (answer.end_s - answer.start_s) / 4
            chances.axvspan((middle - half) / unit, (middle + half) / unit, color="white", alpha=0.7, linewidth=0)
    plots.style_axes(chances)
    chances.grid(visible=False)
    chances.set_ylim(0, 1)
    chances.set_xlim(0, max(prediction.seconds, 1e-3) / unit)
    chances.set_yticks([0, 0.5, 1], ["0", "50%", "100%"])
    chances.set_xlabel(name, color=plots.INK)
    chances.set_ylabel("probability", color=plots.INK, fontsize=9)
    handles = [Patch(color=label_color(labels, label), label=plots.format_label(label)) for label in labels]
    drawn.legend(handles=handles, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    title = f"{prediction.recording}: " + ", ".join(
        f"{plots.format_label(label)} {format_duration(seconds)}" for label, seconds in time_per_activity(prediction)[:3]
    )
    drawn.suptitle(title, color=plots.INK, x=0.01, ha="left", fontsize=12)
    plots.save_figure(drawn, path)


def _columns(prediction: Prediction, width: int) -> list[str | None]:
    """For each of `width` columns the activity that fills most of it; None where nothing was answered."""
    edges = np.linspace(0.0, prediction.seconds, width + 1)
    out: list[str | None] = []
    for left, right in pairwise(edges):
        filled: dict[str, float] = {}
        for stretch in prediction.stretches:
            if (overlap := min(right, stretch.end_s) - max(left, stretch.start_s)) > 0:
                filled[stretch.activity] = filled.get(stretch.activity, 0.0) + overlap
        out.append(max(filled, key=lambda name: filled[name]) if filled else None)
    return out


def _runs(prediction: Prediction) -> list[list[WindowPrediction]]:
    """The answers between restarts."""
    breaks = [at for at, _ in prediction.restarts]
    runs: list[list[WindowPrediction]] = [[]]
    for answer in prediction.answers:
        while breaks and answer.start_s >= breaks[0]:
            breaks.pop(0)
            runs.append([])
        runs[-1].append(answer)
    return [run for run in runs if run]


def _label_spans(answers: Sequence[WindowPrediction]) -> list[tuple[float, float, str]]:
    spans: list[tuple[float, float, str]] = []
    for answer in answers:
        if answer.label is None:
            continue
        if spans and spans[-1][2] == answer.label and answer.start_s <= spans[-1][1]:
            spans[-1] = (spans[-1][0], answer.end_s, answer.label)
        else:
            spans.append((answer.start_s, answer.end_s, answer.label))
    return spans


def _letters(labels: Sequence[str]) -> list[str]:
    """A letter a label, so that the strip can be read without colour: W, U, D, S, T, L; else the first one unused."""
    taken: list[str] = []
    for label in labels:
        words = label.upper().split("_")
        candidates = [*(words[-1]), *"".join(words), *"0123456789"]
        taken.append(next((letter for letter in candidates if letter not in taken), "?"))
    return taken


def _readable(label: str) -> str:
    return label.replace("_", " ").capitalize()
