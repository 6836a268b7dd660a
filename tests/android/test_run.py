"""`make android` reports every module and never reports a broken build as passed."""

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
    cases = '<testcase classname="A" name="stops"><error type="B" message="timeout"/></testcase>' * (failures + errors)
    (folder / f"TEST-{module}.xml").write_text(f'<testsuite name="{module}" {counts}>{cases}</testsuite>', "utf-8")


def _write_all_reports(checks: Path, run: ModuleType) -> None:
    for module in run.MODULES:
        _report(checks, module, 4)
    (checks / "apk" / "target" / "demo.apk").write_bytes(b"x")


def test_a_successful_run_is_counted(tmp_path: Path, run: ModuleType) -> None:
    _write_all_reports(tmp_path, run)
    lines, succeeded = run.format_summary(tmp_path, True, 60.0)
    assert succeeded
    assert lines[-1] == f"{4 * len(run.MODULES)} passed, 0 failed, 0 skipped"
    assert lines[-2] == "All checks passed in 60 s."


@pytest.mark.parametrize("broken", ["one failure", "one error", "module without report", "maven failed"])
def test_a_failed_run_is_reported(tmp_path: Path, run: ModuleType, broken: str) -> None:
    _write_all_reports(tmp_path, run)
    if broken == "one failure":
        _report(tmp_path, "app", 4, failures=1)
    if broken == "one error":
        _report(tmp_path, "core", 4, errors=1)
    if broken == "module without report":
        (tmp_path / "runtime" / "target" / "surefire-reports" / "TEST-runtime.xml").unlink()
    lines, succeeded = run.format_summary(tmp_path, broken != "maven failed", 60.0)
    assert not succeeded
    assert re.fullmatch(r"\d+ passed, [1-9]\d* failed, 0 skipped", lines[-1])
    assert "CHECKS FAILED" in lines[-2]
    assert ("DID NOT RUN" in "\n".join(lines)) == (broken == "module without report")
    assert ("    FAILED A: stops: timeout" in lines) == broken.startswith("one")


@pytest.mark.parametrize(("options", "code"), [([], 2), (["--where-possible"], 0)])
def test_missing_tools_are_reported_with_the_packages_to_install(tmp_path: Path, options: list[str], code: int) -> None:
    completed = subprocess.run(
        [sys.executable, str(_RUN), *options],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == code
    assert "did NOT run" in completed.stderr
    assert re.search(r"apt-get install .*maven|Linux on x86-64 only", completed.stderr)


def test_ci_installs_every_tool_and_every_module_is_reported(run: ModuleType) -> None:
    script = (_ROOT / ".ci" / "run").read_text("utf-8")
    for tool, package in run.TOOLS.items():
        assert re.search(rf"^need .*\b{package}\b.* {tool}\b", script, re.MULTILINE), tool
    modules = re.findall(r"<module>(\w+)</module>", (_RUN.parent / "pom.xml").read_text("utf-8"))
    assert set(run.MODULES) == set(modules) - {"tflite", "androidx"}, "they only unpack archives and have no tests"
