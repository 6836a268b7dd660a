"""The README's figures: blocks between `<!-- name -->` and `<!-- /name -->`, each drawn from a json of this folder."""

from __future__ import annotations

import re
from pathlib import Path

from harexport.utils import files

README = Path(__file__).resolve().parents[1] / "README.md"


def replaced(text: str, name: str, block: str) -> str:
    """`text` with what stands between the markers of `name` drawn anew. Raises ValueError where they are not there."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"README.md has no <!-- {name} --> ... <!-- /{name} -->")
    return pattern.sub(lambda found: f"{found[1]}{block.rstrip()}\n{found[2]}", text)


def refresh(name: str, block: str) -> None:
    """Draw the block `name` of README.md anew."""
    files.write_text(README, replaced(README.read_text("utf-8"), name, block))
