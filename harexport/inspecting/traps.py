"""Every trap that can be seen in a file, each of them seen in practice."""

from __future__ import annotations

from harexport.inspecting import costly, wrong
from harexport.inspecting.contents import Contents
from harexport.inspecting.macs import Macs
from harexport.inspecting.probe import Verdict
from harexport.inspecting.trap import SEVERITIES, Seen, Trap


def find(contents: Contents, counted: Macs, verdict: Verdict | None) -> tuple[Trap, ...]:
    """The traps of a file, the dangers first. `verdict` None: it was not run."""
    seen = Seen(contents, counted, verdict)
    found = [trap for look in (*wrong.LOOKS, *costly.LOOKS) for trap in look(seen)]
    return tuple(sorted(found, key=lambda trap: SEVERITIES.index(trap.severity)))
