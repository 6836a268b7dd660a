"""Plots of the HTML report as inline SVG, in the light or dark colors of the page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape

from harexport.bench.divergence import Divergence
from harexport.bench.result import ModelResult
from harexport.evaluation.comparison import Comparison
from harexport.evaluation.latency import Latency

_ROW = 30
_MAX_NAME = 42  # characters; of a longer name the end is shown, where file names differ
_MAX_DOTS = 100


class _Axis:
    """Logarithmic axis from `low` to `high`, drawn over `width` units from `left`."""

    def __init__(self, low: float, high: float, left: float, width: float) -> None:
        self.low, self.high, self.left, self.width = low, high, left, width

    def __call__(self, value: float) -> float:
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self.left + self.width * min(1.0, share)

    def ticks(self) -> list[float]:
        """Return 1, 2 and 5 times powers of ten; powers alone on an axis of many decades."""
        decades = math.log10(self.high / self.low)
        marks = (1, 2, 5) if decades < 2.7 else (1,)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = 1 if decades < 8 else 2
        values = [m * 10.0**e for e in range(first, last + 1, every) for m in marks]
        return [value for value in values if self.low <= value <= self.high]


def draw_latency(models: Sequence[ModelResult], overheads: Mapping[str, Latency]) -> str:
    """Draw one row per model, the fastest first.

    A dot at p50, a thick bar over its interval, a thin one from min to p99; beside them p50, ratio, accuracy and size.
    Dashed lines: overhead of the runtimes.

    Args:
        models: Models; those without a latency are left out.
        overheads: Runtime overhead by runtime.
    """
    timed = [(model, model.latency) for model in models if model.latency]
    if not timed:
        return ""
    timed.sort(key=lambda pair: pair[1].p50)
    low = min([latency.min for _, latency in timed] + [overhead.p50 for overhead in overheads.values()]) / 1.25
    slowest = max(latency.p50 for _, latency in timed)
    high = min(max(latency.p99 for _, latency in timed), 5 * slowest) * 1.15  # an outlier must not compress the rest
    axis = _Axis(low, high, 300, 440)
    top = 28 + 13 * len(overheads)
    height = top + 40 + _ROW * len(timed)
    columns = ((800, "p50 µs"), (862, "ratio"), (936, "accuracy"), (1000, "KB"))
    parts = [_open(1010, height, "Latency of every model", "wide")]
    for tick in axis.ticks():
        parts.append(_line(axis(tick), top, axis(tick), height - 28))
        unit = " µs" if tick == axis.ticks()[-1] else ""
        parts.append(_text(axis(tick), height - 10, f"{tick:g}{unit}", "soft", "middle"))
    parts += [_text(x, 16, name, "soft", "end") for x, name in columns]
    for k, (runtime, overhead) in enumerate(overheads.items()):
        x = axis(overhead.p50)
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{20 + 13 * k}" y2="{height - 28}"/>')
        parts.append(_text(x + 4, 29 + 13 * k, f"overhead of {runtime}", "soft small"))
    for k, (model, times) in enumerate(timed):
        y = top + 18 + _ROW * k
        kind = " bad" if model.failures else ""
        name = model.name if len(model.name) <= _MAX_NAME else f"…{model.name[1 - _MAX_NAME :]}"
        parts.append(_text(axis.left - 14, y + 4, name, kind.strip(), "end"))
        parts.append(f'<line class="range" x1="{axis(times.min):.1f}" x2="{axis(times.p99):.1f}" y1="{y}" y2="{y}"/>')
        # at least one unit wide, to be visible
        left, right = axis(times.low), axis(times.high)
        parts.append(f'<line class="interval" x1="{left:.1f}" x2="{max(right, left + 1):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot{kind}" cx="{axis(times.p50):.1f}" cy="{y}" r="4.5"/>')
        cells = (
            f"{times.p50:.1f}" if times.p50 < 1000 else f"{times.p50:.0f}",
            f"{model.ratio.value:.2f}" if model.ratio else "",
            f"{model.figures.accuracy:.2%}" if model.figures else "",
            f"{model.size_bytes / 1000:.0f}" if model.size_bytes else "",
        )
        parts += [_text(x, y + 4, cell, "", "end") for (x, _), cell in zip(columns, cells, strict=True)]
    return "".join([*parts, "</svg>"])


def draw_disagreements(compared: Comparison) -> str:
    """Draw the windows with different predictions by the reference's margin, over the quantiles of all margins.

    Red: only the reference is correct; green: only the model is; gray: neither.
    """
    margins = [max(margin, 1e-3) for margin in compared.margins]
    listed = compared.disagreements[:_MAX_DOTS]
    shown = [max(item.margin, 1e-3) for item in listed]
    axis = _Axis(min(margins[0], *shown) / 1.3, max(margins[-1], *shown) * 1.3, 20, 700)
    parts = [_open(760, 128, f"Margins of the windows that disagree with {compared.reference}")]
    edges = [axis.low, *margins[1:], axis.high]
    names = ("1 %", "5 %", "25 %", "50 %", "75 %", "")
    for k, (start, stop) in enumerate(itertools.pairwise(edges)):
        x, width = axis(start), axis(stop) - axis(start)
        parts.append(
            f'<rect class="band" opacity="{0.08 + 0.07 * k:.2f}" x="{x:.1f}" y="30" width="{width:.1f}" height="44"/>'
        )
        if names[k] and width > 26:
            parts.append(_text(x + width - 4, 24, names[k], "soft small", "end"))
    for tick in axis.ticks():
        parts.append(_line(axis(tick), 74, axis(tick), 80))
        parts.append(_text(axis(tick), 96, f"{tick:g}", "soft", "middle"))
    parts.append(_text(20, 120, "difference of the reference's two largest logits", "soft"))
    for k, item in enumerate(listed):
        kind = "bad" if item.reference == item.truth else "good" if item.prediction == item.truth else "neither"
        y = 36 + 32 * (k * 0.618 % 1)  # scattered, so that equal margins do not overlap
        tip = f"window {item.window}: margin {item.margin:.3g}, logit difference {item.difference:.2g}"
        x = axis(max(item.margin, 1e-3))
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{tip}</title></circle>')
    return "".join([*parts, "</svg>"])


def draw_divergence(found: Divergence) -> str:
    """Draw the error of each layer's state by time step on a logarithmic axis, with the tolerance."""
    least = 1e-9
    highest = max(10 * found.threshold, *(max(errors) for errors in found.layers)) * 2
    steps = len(found.layers[0])
    left, width, top, height = 70, 620, 14, 200
    axis = _Axis(least, highest, 0, height)

    def x(step: int) -> float:
        return left + width * (step / max(1, steps - 1) if steps > 1 else 0.5)

    def y(error: float) -> float:
        return top + height - axis(max(error, least))

    parts = [_open(760, height + 60, f"Error of each layer's state by step, window {found.window}")]
    for tick in axis.ticks():
        parts.append(_line(left, y(tick), left + width, y(tick)))
        parts.append(_text(left - 8, y(tick) + 4, f"{tick:.0e}", "soft small", "end"))
    limit = f"{y(found.threshold):.1f}"
    parts.append(f'<line class="limit" x1="{left}" x2="{left + width}" y1="{limit}" y2="{limit}"/>')
    for k, errors in enumerate(found.layers):
        points = " ".join(f"{x(step):.1f},{y(error):.1f}" for step, error in enumerate(errors))
        parts.append(f'<polyline class="layer layer{k % 3}" points="{points}"/>')
    ends = _spread([y(errors[-1]) + 4 for errors in found.layers], 13, top + height)
    for k, end in enumerate(ends):
        parts.append(_text(left + width + 6, end, f"layer {k}", f"small layer{k % 3}"))
    if found.layer is not None and found.step is not None:
        error = found.layers[found.layer][found.step]
        parts.append(f'<circle class="bad" cx="{x(found.step):.1f}" cy="{y(error):.1f}" r="5"/>')
    for step in sorted({0, steps // 4, steps // 2, 3 * steps // 4, steps - 1}):
        parts.append(_text(x(step), top + height + 20, str(step), "soft", "middle"))
    parts.append(_text(left, top + height + 40, "step", "soft"))
    return "".join([*parts, "</svg>"])


def _spread(positions: list[float], distance: float, bottom: float) -> list[float]:
    """Move positions apart to at least `distance`, in their order, and not below `bottom`."""
    order = sorted(range(len(positions)), key=positions.__getitem__)
    moved = list(positions)
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + distance)
    limit = bottom
    for k in reversed(order):
        moved[k] = min(moved[k], limit)
        limit = moved[k] - distance
    return moved


def _open(width: float, height: float, label: str, kind: str = "narrow") -> str:
    return f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
