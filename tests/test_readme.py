"""What the README says is so: its numbers come from the json, its commands exist, its example runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from harexport.cli import main

_ROOT = Path(__file__).resolve().parents[1]
_TEXT = (_ROOT / "README.md").read_text("utf-8")


# Each block of figures, the script that draws it and the json that it comes from.
_BLOCKS = {
    "chain": ("summary.py", "summary.json"),
    "exports": ("../artifacts/build.py", "exports.json"),
    "fidelity": ("stream_fidelity.py", "stream_fidelity.json"),
    "peers": ("converters/table.py", "compare_converters.json"),
    "latency": ("latency.py", "latency.json"),
    "batch": ("batch.py", "batch.json"),
    "arm": ("arm64.py", "arm64.json"),
    "seeds": ("seeds.py", "seeds.json"),
    "robustness": ("robustness.py", "robustness.json"),
    "android": ("android_fidelity.py", "android_fidelity.json"),
}


def _script(name: str) -> ModuleType:
    path = _ROOT / "benchmarks" / name
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec
    assert spec.loader
    module = sys.modules[f"benchmark_{path.stem}"] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("block", _BLOCKS)
def test_the_figures_are_drawn_from_the_json(block: str) -> None:
    script, source = _BLOCKS[block]
    measured = json.loads((_ROOT / "benchmarks" / source).read_text("utf-8"))
    drawn = _script(script).render(measured)
    assert _script("readme.py").replaced(_TEXT, block, drawn) == _TEXT, f"python benchmarks/{script} --render"
    assert len(drawn) > 200


def test_every_block_of_figures_is_checked() -> None:
    assert set(re.findall(r"<!-- (\w+) -->", _TEXT)) == set(_BLOCKS)


def test_every_command_exists() -> None:
    commands = re.findall(r"^    (harexport [^#\n]*)", _TEXT, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        words = shlex.split(command)[1:]
        depth = 2 if words[0] in ("data", "targets") else 1
        result = CliRunner().invoke(main, [*words[:depth], "--help"])
        assert result.exit_code == 0, command
        for option in re.findall(r"--[a-z-]+", command):
            assert option in result.output, command
    targets = re.findall(r"^([a-z]+):", (_ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for target in re.findall(r"make ([a-z]+)", _TEXT):
        assert target in targets


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", _TEXT):
        if link.startswith("#"):
            headings = re.findall(r"^#+ (.*)$", _TEXT, re.MULTILINE)
            assert link[1:] in {heading.lower().replace(" ", "-") for heading in headings}, link
        else:
            assert link.startswith("https://") or (_ROOT / link).exists(), link


def test_the_python_example_runs(official_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", _TEXT, re.DOTALL)
    child = subprocess.run(
        [sys.executable, "-c", example],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "HAREXPORT_DATA": str(official_path)},
    )
    assert child.returncode == 0, child.stderr
    assert float(child.stdout.split()[-1]) > 0.975
