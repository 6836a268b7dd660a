"""Format an Inspection as text: at most 100 columns, in color on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harexport.formats.model_file import Tensor, format_shape, to_printable
from harexport.formats.op_versions import UNKNOWN
from harexport.inspection.inspector import Inspection
from harexport.inspection.rules import Severity

_WIDTH = 100
_BAR_WIDTH = 24
_FORMATS = {"tflite": "TFLite", "onnx": "ONNX"}
_SIGNS: dict[Severity, tuple[str, str]] = {
    "danger": ("✗", "bold red"),
    "warning": ("!", "yellow"),
    "note": ("·", "dim"),
}
_MAX_ROWS = 12
_MAX_VALUE_LENGTH = 60  # of a metadata value; --json has all of it


def render(inspection: Inspection, *, color: bool = False, all_tensors: bool = False) -> str:
    """Format an inspection.

    Args:
        inspection: The result of `inspect`.
        color: Whether to use a terminal's escape sequences.
        all_tensors: Whether to list all tensors of all graphs instead of the weights.
    """
    console = Console(
        file=io.StringIO(), width=_WIDTH, force_terminal=color, highlight=False, emoji=False, markup=False,
        color_system="standard" if color else None,
    )  # fmt: skip
    for part in _parts(inspection, all_tensors):
        console.print(part)
    written: io.StringIO = console.file  # type: ignore[assignment]
    return "\n".join(line.rstrip() for line in written.getvalue().rstrip().splitlines())


def _parts(inspection: Inspection, all_tensors: bool) -> Iterable[RenderableType]:
    model = inspection.model
    yield from _header(inspection)
    if model.description:
        yield Text(model.description, "dim")
    yield ""
    yield _interface(inspection)
    yield ""
    yield _operators(inspection)
    yield ""
    yield _sizes(inspection)
    if model.weights and not all_tensors:
        yield ""
        yield _tensors("weights", model.weights, _MAX_ROWS)
    if all_tensors:
        for graph in model.graphs:
            yield ""
            yield _tensors(f"tensors of {graph.name or 'the graph'}", graph.tensors, len(graph.tensors))
    if declarations := _declarations(inspection):
        yield ""
        yield declarations
    yield ""
    yield from _findings(inspection)


def _header(inspection: Inspection) -> Iterable[RenderableType]:
    model, macs = inspection.model, inspection.macs
    operators = sum(model.ops.values())
    facts = [
        _FORMATS[model.format],
        f"{model.size_bytes / 1000:.1f} KB",
        f"{operators:,} operator{'s' * (operators != 1)}",
        f"{'' if macs.complete else '>= '}{_format_count(macs.total)} MACs",
        _format_runtime(*model.min_runtime),
    ]
    yield Text(model.name, "bold")
    yield Text(" · ".join(facts))


def _interface(inspection: Inspection) -> Table:
    model = inspection.model
    grid = _grid("", "", "", "")
    for label, tensors in (("inputs", model.inputs), ("outputs", model.outputs), ("state", model.variables)):
        shown = tensors[: _MAX_ROWS // 2]
        for k, tensor in enumerate(shown):
            grid.add_row(Text("" if k else label, "dim"), _name(tensor), tensor.dtype, _shape_and_scale(tensor))
        if len(tensors) > len(shown):
            grid.add_row("", f"and {len(tensors) - len(shown)} more", "", "")
    for signature in model.signatures:
        arrow = f"{', '.join(signature.inputs)} -> {', '.join(signature.outputs)}"
        grid.add_row(Text("signature", "dim"), Text(signature.key), "", Text(arrow))
    return grid


def _operators(inspection: Inspection) -> RenderableType:
    """A row for each kind that multiplies, the others in a line below."""
    model, macs = inspection.model, inspection.macs
    versions = model.op_versions
    grid = _grid("operators", "<count", "<MACs", "<share", "")
    for kind, multiplied in macs.kinds.items():
        numbers = ",".join(str(version) for version in versions.get(kind, ()))
        name = Text.assemble(kind, (f" {numbers}" if numbers else "", "dim"))
        share = multiplied / macs.total
        grid.add_row(name, f"{model.ops[kind]:,}", f"{multiplied:,}", f"{share:.0%}", _bar(share))
    others = [f"{kind} {count:,}" for kind, count in model.ops.items() if kind not in macs.kinds]
    rest = Text.assemble(("and " if macs.kinds else "operators ", "dim"), ", ".join(others))
    return Group(*([grid] if macs.kinds else []), *([rest] if others else []))


def _sizes(inspection: Inspection) -> Table:
    model = inspection.model
    grid = _grid("bytes", "<KB", "<share", "")
    for part in model.size_breakdown:
        name = part.name
        if name == "weights":
            name += f" ({', '.join(sorted({weight.dtype for weight in model.weights}))})"
        share = part.size_bytes / max(1, model.size_bytes)
        grid.add_row(Text(name), f"{part.size_bytes / 1000:.1f}", f"{share:.0%}", _bar(share))
    for name, size in model.external.items():
        grid.add_row(Text(f"beside it: {name}"), "missing" if size is None else f"{size / 1000:.1f}", "", "")
    return grid


def _tensors(title: str, tensors: tuple[Tensor, ...], most: int) -> Table:
    grid = _grid(title, "", "", "<KB")
    for tensor in tensors[:most]:
        size = f"{tensor.size_bytes / 1000:.1f}" if tensor.size_bytes else ""
        grid.add_row(_name(tensor), tensor.dtype, _shape_and_scale(tensor), size)
    if rest := tensors[most:]:
        size = f"{sum(tensor.size_bytes for tensor in rest) / 1000:.1f}"
        grid.add_row(Text(f"{len(rest)} more (--tensors lists all)", "dim"), "", "", size)
    return grid


def _declarations(inspection: Inspection) -> RenderableType | None:
    """What the file declares about itself."""
    model = inspection.model
    grid = _grid("", "")
    versions = ", ".join(f"{name} {version}" for name, version in model.versions.items())
    facts: dict[str, str] = {"declares": versions, **_contract(model.contract), **model.about, **model.metadata}
    if model.attached:
        facts["attached"] = ", ".join(model.attached)
    for key, value in facts.items():
        if value:
            grid.add_row(Text(key, "dim", overflow="ellipsis"), Text(_shorten(value, _MAX_VALUE_LENGTH)))
    return grid if grid.row_count else None


def _contract(contract: Any) -> dict[str, str]:
    if not isinstance(contract, dict):
        return {}
    try:
        channels, labels = contract["channels"], contract["labels"]
        units = ", ".join(dict.fromkeys(contract["units"]))
        rate = f"{contract['window']} samples of {len(channels)} channels ({units}) at {contract['rate_hz']:g} Hz"
        return {"contract": to_printable(f"{rate}, every {contract['hop']}"), "labels": to_printable(", ".join(labels))}
    except (KeyError, TypeError, ValueError, OverflowError):
        return {"contract": "of another version"}


def _findings(inspection: Inspection) -> Iterable[RenderableType]:
    run = inspection.run
    if run and run.error is None and run.change is not None and not (run.is_stateful or run.is_random):
        after = ", not even one of NaN" if run.nan_persists is not None else ""
        yield _line("✓", "green", f"It ran in {run.runtime}: its output does not depend on earlier windows{after}.")
    if run and run.unexamined is not None:
        yield _line("·", "dim", f"{run.runtime} loads it. Its outputs were not examined: {run.unexamined}.")
    for finding in inspection.findings:
        sign, style = _SIGNS[finding.severity]
        yield _line(sign, style, finding.meaning, Text.assemble((finding.advice, "dim"), (f"  [{finding.id}]", "dim")))
    if not inspection.problems:
        yield _line("✓", "green", "Nothing above a note." if inspection.findings else "No findings.")


def _line(sign: str, style: str, sentence: str, below: Text | None = None) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column()
    body: RenderableType = Text(sentence)
    grid.add_row(Text(sign, style), body if below is None else Group(body, below))
    return grid


def _grid(*titles: str) -> Table:
    """A table without lines; titles that begin with "<" are of columns of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(titles), header_style="dim")
    for k, title in enumerate(titles):
        justify: Any = "right" if title.startswith("<") else "left"
        table.add_column(title.removeprefix("<"), justify=justify, no_wrap=k == 0, overflow="ellipsis")
    return table


def _name(tensor: Tensor) -> Text:
    return Text(_shorten(tensor.name or "(unnamed)", 44))


def _shape_and_scale(tensor: Tensor) -> Text:
    shape = format_shape(tensor.shape)
    found = tensor.quantization
    if not found:
        return Text(shape)
    scale = f"x {found.scales[0]:.3g}" if len(found.scales) == 1 else f"x {len(found.scales)} scales, axis {found.axis}"
    zero = f", zero {found.zero_points[0]}" if found.zero_points and any(found.zero_points) else ""
    return Text.assemble(shape, (f" {scale}{zero}", "dim"))


def _bar(share: float) -> Text:
    filled = round(_BAR_WIDTH * min(1.0, share))
    return Text("█" * max(1, filled) if share > 0.005 else "▏", "cyan")


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _format_runtime(name: str, version: str) -> str:
    return (
        f"needs a version of {name} that is newer than harexport knows"
        if version == UNKNOWN
        else f"needs {name} {version}"
    )


def _format_count(count: int) -> str:
    if count >= 10**15:
        return "over 10^15"
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return str(count)
