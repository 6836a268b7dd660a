"""The pages of the documentation and their code blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "artifacts/README.md", "benchmarks/README.md",
    "benchmarks/protocol.md", "android_demo/README.md", "tests/golden/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
)  # fmt: skip
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block: its page, its number on the page from 1 on, its language and its text."""

    page: str
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.number}"


def read(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text("utf-8")


def code_blocks(*languages: str) -> list[CodeBlock]:
    """Return all blocks in `languages`, or all blocks."""
    found = [
        CodeBlock(page, number, *match.groups())
        for page in PAGES
        for number, match in enumerate(_BLOCK.finditer(read(page)), 1)
    ]
    return [block for block in found if not languages or block.language in languages]


def commands(block: CodeBlock) -> list[str]:
    """Return the commands of a shell block without comments, or those after "$ " of a console block."""
    lines = block.text.splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in lines if line.strip() and not line.startswith("#")]
