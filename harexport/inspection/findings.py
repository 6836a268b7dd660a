"""What a trap is, and what it is looked for in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from harexport.formats.macs import Macs
from harexport.formats.model_file import ModelFile, Operator
from harexport.runtimes.sandbox import SandboxResult

Severity = Literal["danger", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("danger", "warning", "note")
_NAMED = 4  # of a list; the others are counted


@dataclass(frozen=True)
class Trap:
    """`id` is stable; `meaning` is one sentence on what happens on the phone; `advice` what to do.

    danger: wrong answers, or none. warning: slow, large or easily misused. note: good to know.
    """

    id: str
    severity: Severity
    meaning: str
    advice: str


@dataclass(frozen=True)
class Seen:
    """A file, what it costs, and what running it showed (None: it was not run)."""

    held: ModelFile
    macs: Macs
    verdict: SandboxResult | None

    @property
    def ops(self) -> list[Operator]:
        """The operators of all graphs."""
        return [op for graph in self.held.graphs for op in graph.ops]

    def count(self, *kinds: str) -> int:
        """How many operators are of these kinds."""
        return sum(self.held.ops.get(kind, 0) for kind in kinds)


def listed(names: Iterable[str]) -> str:
    """Names with commas; of a long list the first ones and how many more."""
    known = [name or "(unnamed)" for name in names]
    more = len(known) - _NAMED
    return ", ".join(known[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def sentence(text: str) -> str:
    """With a full stop."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def number(count: int, one: str, many: str = "") -> str:
    """A count with its word."""
    return f"{count} {one if count == 1 else many or one + 's'}"
