"""Generated blocks of Markdown: text between `<!-- name -->` and `<!-- /name -->`, rendered from a JSON file.

    python benchmarks/readme.py        # render every block from its JSON

Each block has one file, one script with a function `render(measured)`, and one JSON file that the script writes.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from harexport.utils import files


@dataclass(frozen=True)
class Block:
    """Where a block is, what renders it, and from which measurement; paths are relative to the repository."""

    file: str
    script: str
    source: str

    def render(self) -> str:
        """Render the block from its JSON."""
        path = ROOT / self.script
        spec = importlib.util.spec_from_file_location(f"readme_{path.stem}", path)
        assert spec
        assert spec.loader
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look it up there
        spec.loader.exec_module(module)
        measured: dict[str, Any] = json.loads((ROOT / self.source).read_text("utf-8"))
        block: str = module.render(measured)
        return block


BLOCKS = {
    "results": Block("README.md", "benchmarks/results.py", "benchmarks/compare_converters.json"),
    "summary": Block("artifacts/README.md", "benchmarks/summary.py", "benchmarks/summary.json"),
    "exports": Block("artifacts/README.md", "artifacts/build.py", "benchmarks/exports.json"),
    "seeds": Block("artifacts/README.md", "benchmarks/seeds.py", "benchmarks/seeds.json"),
    "converters": Block("benchmarks/README.md", "benchmarks/converters/table.py", "benchmarks/compare_converters.json"),
    "own-networks": Block("docs/own-networks.md", "benchmarks/converters/own_table.py", "benchmarks/own_networks.json"),
    "latency": Block("benchmarks/README.md", "benchmarks/latency.py", "benchmarks/latency.json"),
    "lowerings": Block("benchmarks/README.md", "benchmarks/lowerings.py", "benchmarks/lowerings.json"),
    "batch": Block("benchmarks/README.md", "benchmarks/batch.py", "benchmarks/batch.json"),
    "arm64": Block("benchmarks/README.md", "benchmarks/arm64.py", "benchmarks/arm64.json"),
    "robustness": Block("benchmarks/README.md", "benchmarks/robustness.py", "benchmarks/robustness.json"),
    "stream": Block("benchmarks/README.md", "benchmarks/stream_fidelity.py", "benchmarks/stream_fidelity.json"),
    "mounting": Block("docs/mounting.md", "benchmarks/mounting.py", "benchmarks/mounting.json"),
    "android": Block("android_demo/README.md", "benchmarks/android_fidelity.py", "benchmarks/android_fidelity.json"),
}


# A block whose measurement has not run yet is left out.
BLOCKS = {name: block for name, block in BLOCKS.items() if (ROOT / block.source).exists()}


def replace_block(text: str, name: str, block: str) -> str:
    """Return `text` with the content of the block `name` replaced. Raises ValueError if it has no such block."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no block <!-- {name} --> ... <!-- /{name} -->")
    return pattern.sub(lambda found: f"{found[1]}{block.rstrip()}\n{found[2]}", text)


def refresh(name: str, block: str) -> None:
    """Write the block `name` into its file."""
    path = ROOT / BLOCKS[name].file
    files.write_text(path, replace_block(path.read_text("utf-8"), name, block))


def main() -> None:
    for name, block in BLOCKS.items():
        refresh(name, block.render())


if __name__ == "__main__":
    main()
