"""Findings, and the context in which rules look for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from harexport.formats.macs import Macs
from harexport.formats.model_file import ModelFile, Operator
from harexport.runtimes.sandbox import SandboxResult

Severity = Literal["danger", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("danger", "warning", "note")
_MAX_NAMES = 4  # of a list; the others are counted


@dataclass(frozen=True)
class Finding:
    """One problem of a file."""

    id: str  # stable, for scripts
    severity: Severity  # danger: wrong or no outputs; warning: slow, large or easily misused; note: good to know
    meaning: str  # one sentence: what happens on the phone
    advice: str  # what to do


@dataclass(frozen=True)
class RuleContext:
    """A file, its cost, and the result of running it."""

    model: ModelFile
    macs: Macs
    run: SandboxResult | None  # None: the file was not run

    @property
    def ops(self) -> list[Operator]:
        """The operators of all graphs."""
        return [op for graph in self.model.graphs for op in graph.ops]

    def count(self, *kinds: str) -> int:
        """Count the operators of these kinds."""
        return sum(self.model.ops.get(kind, 0) for kind in kinds)


class Rule(Protocol):
    """A function that yields the findings of one kind of problem."""

    def __call__(self, context: RuleContext, /) -> Iterator[Finding]: ...


def join_names(names: Iterable[str]) -> str:
    """Join names with commas; of a long list the first ones and the number of the others."""
    known = [name or "(unnamed)" for name in names]
    more = len(known) - _MAX_NAMES
    return ", ".join(known[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def end_sentence(text: str) -> str:
    """Add a full stop unless there is one."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
