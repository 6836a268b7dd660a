"""`make android` says what ran and what did not, and never calls a broken build fine."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_RUN = _ROOT / "android_demo" / "checks" / "run.py"


@pytest.fixture(scope="module")
def run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("android_checks", _RUN)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _report(checks: Path, module: str, tests: int, failures: int = 0, errors: int = 0, skipped: int = 0) -> None:
    folder = checks / module / "target" / "surefire-reports"
    folder.mkdir(parents=True, exist_ok=True)
    counts = f'tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}" time="1.5"'
    (folder / f"TEST-{module}.xml").write_text(f'<testsuite name="{module}" {counts}/>', "utf-8")


def _whole(checks: Path, run: ModuleType) -> None:
    for module in run.MODULES:
        _report(checks, module, 4)
    (checks / "apk" / "target" / "demo.apk").write_bytes(b"x")


def test_a_run_that_held_is_counted(tmp_path: Path, run: ModuleType) -> None:
    _whole(tmp_path, run)
    lines, worked = run.summary(tmp_path, True, 60.0)
    assert worked
    assert lines[-1] == f"{4 * len(run.MODULES)} passed, 0 failed, 0 skipped"
    assert lines[-2] == "All held, in 60 s."


@pytest.mark.parametrize("broken", ["one failure", "one error", "one module silent", "maven failed"])
def test_a_run_that_did_not_hold_says_so(tmp_path: Path, run: ModuleType, broken: str) -> None:
    _whole(tmp_path, run)
    if broken == "one failure":
        _report(tmp_path, "app", 4, failures=1)
    if broken == "one error":
        _report(tmp_path, "core", 4, errors=1)
    if broken == "one module silent":
        (tmp_path / "runtime" / "target" / "surefire-reports" / "TEST-runtime.xml").unlink()
    lines, worked = run.summary(tmp_path, broken != "maven failed", 60.0)
    assert not worked
    assert re.fullmatch(r"\d+ passed, [1-9]\d* failed, 0 skipped", lines[-1])
    assert "SOMETHING FAILED" in lines[-2]
    assert ("DID NOT RUN" in "\n".join(lines)) == (broken == "one module silent")


@pytest.mark.parametrize(("options", "code"), [([], 2), (["--where-possible"], 0)])
def test_without_the_tools_it_says_what_to_install(tmp_path: Path, options: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, str(_RUN), *options],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert "did NOT run" in done.stderr
    assert re.search(r"apt-get install .*maven|Linux on x86-64 only", done.stderr)


def test_ci_installs_every_tool_and_every_module_is_counted(run: ModuleType) -> None:
    script = (_ROOT / ".ci" / "run").read_text("utf-8")
    for tool, package in run.TOOLS.items():
        assert f"need {tool} {package}" in script
    assert str(run.FRAMEWORK) in script
    modules = re.findall(r"<module>(\w+)</module>", (_RUN.parent / "pom.xml").read_text("utf-8"))
    assert set(run.MODULES) == set(modules) - {"tflite"}, "tflite only unpacks"
