"""An Anatomy for people: compact, at most 100 columns, coloured on a terminal and plain elsewhere."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harexport.formats.model_file import Size, Tensor
from harexport.inspection.findings import Severity
from harexport.inspection.inspector import Anatomy

_WIDTH = 100
_BAR = 24
_FORMATS = {"tflite": "TFLite", "onnx": "ONNX"}
_SIGNS: dict[Severity, tuple[str, str]] = {
    "danger": ("✗", "bold red"),
    "warning": ("!", "yellow"),
    "note": ("·", "dim"),
}
_MOST_ROWS = 12
_MOST_LETTERS = 60  # of a metadata value: a contract's worth of JSON is in --json


def render(anatomy: Anatomy, *, colour: bool = False, all_tensors: bool = False) -> str:
    """The text, `colour` with a terminal's escape sequences; `all_tensors` lists every tensor of every graph."""
    console = Console(
        file=io.StringIO(), width=_WIDTH, force_terminal=colour, highlight=False, emoji=False, markup=False,
        color_system="standard" if colour else None,
    )  # fmt: skip
    for part in _parts(anatomy, all_tensors):
        console.print(part)
    written: io.StringIO = console.file  # type: ignore[assignment]
    return "\n".join(line.rstrip() for line in written.getvalue().rstrip().splitlines())


def _parts(anatomy: Anatomy, all_tensors: bool) -> Iterable[RenderableType]:
    held = anatomy.contents
    yield from _header(anatomy)
    if held.description:
        yield Text(held.description, "dim")
    yield ""
    yield _interface(anatomy)
    yield ""
    yield _operators(anatomy)
    yield ""
    yield _sizes(anatomy)
    if held.weights and not all_tensors:
        yield ""
        yield _tensors("weights", held.weights, _MOST_ROWS)
    if all_tensors:
        for graph in held.graphs:
            yield ""
            yield _tensors(f"tensors of {graph.name or 'the graph'}", graph.tensors, len(graph.tensors))
    if told := _told(anatomy):
        yield ""
        yield told
    yield ""
    yield from _traps(anatomy)


def _header(anatomy: Anatomy) -> Iterable[RenderableType]:
    held, macs = anatomy.contents, anatomy.macs
    operators = sum(held.ops.values())
    facts = [
        _FORMATS[held.format],
        f"{held.size_bytes / 1000:.1f} KB",
        f"{operators:,} operator{'s' * (operators != 1)}",
        f"{'' if macs.complete else '>= '}{_short(macs.total)} MACs",
        f"runs from {' '.join(held.min_runtime)} on",
    ]
    yield Text(held.name, "bold")
    yield Text(" · ".join(facts))


def _interface(anatomy: Anatomy) -> Table:
    held = anatomy.contents
    grid = _grid("", "", "", "")
    for label, tensors in (("reads", held.inputs), ("answers", held.outputs), ("remembers", held.variables)):
        shown = tensors[: _MOST_ROWS // 2]
        for k, tensor in enumerate(shown):
            grid.add_row(Text("" if k else label, "dim"), _name(tensor), tensor.dtype, _shape_and_scale(tensor))
        if len(tensors) > len(shown):
            grid.add_row("", f"and {len(tensors) - len(shown)} more", "", "")
    for signature in held.signatures:
        arrow = f"{', '.join(signature.inputs)} -> {', '.join(signature.outputs)}"
        grid.add_row(Text("signature", "dim"), Text(signature.key), "", Text(arrow))
    return grid


def _operators(anatomy: Anatomy) -> RenderableType:
    """A row for each kind that multiplies, the others in a line below."""
    held, macs = anatomy.contents, anatomy.macs
    versions: dict[str, set[int]] = {}
    for graph in held.graphs:
        for op in graph.ops:
            versions.setdefault(op.kind, set()).add(op.version)
    grid = _grid("operators", "<count", "<MACs", "<share", "")
    for kind, multiplied in macs.kinds.items():
        numbers = ",".join(str(version) for version in sorted(versions[kind]) if version)
        name = Text.assemble(kind, (f" {numbers}" if numbers else "", "dim"))
        share = multiplied / macs.total
        grid.add_row(name, f"{held.ops[kind]:,}", f"{multiplied:,}", f"{share:.0%}", _bar(share))
    others = [f"{kind} {count:,}" for kind, count in held.ops.items() if kind not in macs.kinds]
    rest = Text.assemble(("and " if macs.kinds else "operators ", "dim"), ", ".join(others))
    return Group(*([grid] if macs.kinds else []), *([rest] if others else []))


def _sizes(anatomy: Anatomy) -> Table:
    held = anatomy.contents
    grid = _grid("bytes", "<KB", "<share", "")
    for part in held.size_breakdown:
        name = part.name
        if name == "weights":
            name += f" ({', '.join(sorted({weight.dtype for weight in held.weights}))})"
        share = part.size_bytes / max(1, held.size_bytes)
        grid.add_row(Text(name), f"{part.size_bytes / 1000:.1f}", f"{share:.0%}", _bar(share))
    for name, size in held.external.items():
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


def _told(anatomy: Anatomy) -> RenderableType | None:
    """What the file says of itself."""
    held = anatomy.contents
    grid = _grid("", "")
    versions = ", ".join(f"{name} {version}" for name, version in held.versions.items())
    facts: dict[str, str] = {"declares": versions, **_contract(held.contract), **held.about, **held.metadata}
    if held.attached:
        facts["attached"] = ", ".join(held.attached)
    for key, value in facts.items():
        if value:
            grid.add_row(Text(key, "dim", overflow="ellipsis"), Text(_cut(value, _MOST_LETTERS)))
    return grid if grid.row_count else None


def _contract(contract: Any) -> dict[str, str]:
    if not isinstance(contract, dict):
        return {}
    try:
        channels, labels = contract["channels"], contract["labels"]
        units = ", ".join(dict.fromkeys(contract["units"]))
        rate = f"{contract['window']} samples of {len(channels)} channels ({units}) at {contract['rate_hz']:g} Hz"
        return {"contract": f"{rate}, every {contract['hop']}", "labels": ", ".join(labels)}
    except (KeyError, TypeError, ValueError):
        return {"contract": "not one of this version"}


def _traps(anatomy: Anatomy) -> Iterable[RenderableType]:
    verdict = anatomy.verdict
    if verdict and verdict.error is None and verdict.change is not None and not (verdict.is_stateful or verdict.is_random):
        after = ", also after one of NaN" if verdict.nan_persists is not None else ""
        yield _line(
            "✓", "green", f"It ran in {verdict.runtime}: its answer does not depend on the windows before{after}."
        )
    for trap in anatomy.traps:
        sign, style = _SIGNS[trap.severity]
        yield _line(sign, style, trap.meaning, Text.assemble((trap.advice, "dim"), (f"  [{trap.id}]", "dim")))
    if not anatomy.alarming:
        yield _line("✓", "green", "No trap recognised." if not anatomy.traps else "Nothing above a note.")


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
    return Text(_cut(tensor.name or "(unnamed)", 44))


def _shape_and_scale(tensor: Tensor) -> Text:
    shape = _shape(tensor.shape)
    found = tensor.quantization
    if not found:
        return Text(shape)
    scale = f"x {found.scales[0]:.3g}" if len(found.scales) == 1 else f"x {len(found.scales)} scales, axis {found.axis}"
    zero = f", zero {found.zero_points[0]}" if found.zero_points and any(found.zero_points) else ""
    return Text.assemble(shape, (f" {scale}{zero}", "dim"))


def _shape(shape: tuple[Size, ...]) -> str:
    return f"[{', '.join(str(size) for size in shape)}]"


def _bar(share: float) -> Text:
    filled = round(_BAR * min(1.0, share))
    return Text("█" * max(1, filled) if share > 0.005 else "▏", "cyan")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _short(count: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return str(count)
