"""Run the checks of the Android demo that need no phone: Maven, Robolectric and the APK; then print a summary.

    make android      (python android_demo/checks/run.py [--where-possible], with harexport installed)
    make apk          (python android_demo/checks/run.py --apk: only build the APK and print its path)

Requires Linux x86-64, a JDK (17 or later), Maven and Debian's Android tools. Exit code 1 if a check failed, 2 if a tool
is missing; with --where-possible a missing tool is only reported. MAVEN_ARGS holds additional arguments for Maven.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

CHECKS = Path(__file__).resolve().parent
ROOT = CHECKS.parents[1]
FIDELITY = ROOT / "benchmarks" / "android_fidelity.py"
LIBRARY_MODEL = ROOT / "artifacts" / "edge" / "edge-unrolled-float32.tflite"
APK = CHECKS / "apk" / "target" / "demo.apk"
LINT_WARNINGS = CHECKS / "lint" / "target" / "lint" / "report.txt"
RECORDINGS = CHECKS / "app" / "target" / "kept" / "recordings.zip"
RECIPE = ROOT / "harexport" / "model" / "recipes" / "edge-tiny.toml"
# tool -> Debian package
TOOLS = {
    "javac": "default-jdk",
    "mvn": "maven",
    "aapt2": "aapt",
    "zipalign": "zipalign",
    "apksigner": "apksigner",
    "dexdump": "dexdump",
    "zip": "zip",
}
MAVEN = ("mvn", "-B", "-ntp", "-Dkotlin.compiler.daemon=false")  # a daemon would keep running after the build
# The optimizing compiler of the JVM costs more than it saves in a build of this length.
JVM_OPTIONS = "-XX:TieredStopAtLevel=1"
MODULES = {
    "core": "contract, resampler, filters, windows, smoothing, recordings, self-test; compared with tests/golden",
    "recognition": "the library: sensors, threads and errors under Robolectric",
    "runtime": "the bundled model in TensorFlow Lite's Java interpreter",
    "foreign": "the files of `harexport export --android-library` and the README's example in a project of their own",
    "app": "screens, service, sensors and rotation under Robolectric with the code of Android 15; its recordings train",
    "lint": "Android lint over the app and the library, without the check of API levels (NewApi)",
    "apk": "the content of the signed APK, and its manifest, merged with those of the libraries",
}
NOT_COVERED = (
    "Not covered without a phone and Android Studio: the Gradle build with LiteRT and its 16 KB pages, real sensors, "
    "latency on a phone."
)


def missing_tools() -> str:
    """Return why the checks cannot run here and what to install; an empty string if they can."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "TensorFlow Lite's JVM library exists for Linux on x86-64 only."
    packages = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    return f"Install the missing tools (Debian, Ubuntu): apt-get install {' '.join(packages)}" if packages else ""


def read_reports(module: Path) -> tuple[int, int, int, float, list[str]]:
    """Return passed, failed and skipped tests of a module, their seconds, and each failure, from Surefire's reports."""
    passed = failed = skipped = 0
    seconds = 0.0
    messages = []
    for report in sorted((module / "target" / "surefire-reports").glob("TEST-*.xml")):
        suite = ElementTree.parse(report).getroot()
        failures = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        ignored = int(suite.get("skipped", 0))
        passed += int(suite.get("tests", 0)) - failures - ignored
        failed += failures
        skipped += ignored
        seconds += float(suite.get("time", "0").replace(",", ""))
        for case in suite.iter("testcase"):
            for problem in (*case.iter("failure"), *case.iter("error")):
                reason = problem.get("message") or problem.get("type", "")
                messages.append(f"{case.get('classname')}: {case.get('name')}: {reason}")
    return passed, failed, skipped, seconds, messages


def format_summary(checks: Path, succeeded: bool, seconds: float) -> tuple[list[str], bool]:
    """Return one line per module with the total in the last line, and whether all checks passed."""
    lines, totals = ["", "Checks of the Android demo without a phone:"], [0, 0, 0]
    for name, description in MODULES.items():
        passed, failed, skipped, duration, messages = read_reports(checks / name)
        for k, count in enumerate((passed, failed, skipped)):
            totals[k] += count
        result = (
            f"{passed} passed, {failed} failed, {skipped} skipped in {duration:.0f} s"
            if passed + failed
            else "DID NOT RUN"
        )
        lines.append(f"  {name}: {result}: {description}")
        lines += [f"    FAILED {message}" for message in messages]
        succeeded = succeeded and passed > 0 and failed == 0
    warnings = checks / LINT_WARNINGS.relative_to(CHECKS)
    lines += [f"    {line}" for line in warnings.read_text("utf-8").splitlines()] if warnings.exists() else []
    apk = checks / APK.relative_to(CHECKS)
    if succeeded:
        lines.append(f"  {apk}: {apk.stat().st_size / 1e6:.1f} MB")
    lines += [NOT_COVERED, f"{'All checks passed' if succeeded else 'CHECKS FAILED'} in {seconds:.0f} s."]
    # A build that failed before its tests counts as a failure: never report "0 failed" then.
    lines.append(f"{totals[0]} passed, {max(totals[1], 0 if succeeded else 1)} failed, {totals[2]} skipped")
    return lines, succeeded


def write_foreign_project() -> None:
    """Write the library and the example of its README for checks/foreign."""
    from harexport.exporters.android_library import write_library

    target = CHECKS / "foreign" / "target"
    write_library(LIBRARY_MODEL, target / "library")
    shutil.copytree(CHECKS.parent / "example" / "src" / "main" / "kotlin", target / "example", dirs_exist_ok=True)


def run_maven(command: list[str]) -> int:
    """Run Maven and return its exit code."""
    return subprocess.run(command, env={"MAVEN_OPTS": JVM_OPTIONS, **os.environ}, check=False).returncode


def train_with_recordings() -> bool:
    """Train for one epoch, and predict, with the zip that the app's tests shared; return whether both succeeded."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / RECIPE.name
        recipe.write_text(re.sub(r"(?m)^epochs = .*", "epochs = 1", RECIPE.read_text("utf-8")), "utf-8")
        commands = (
            ["train", "--data", str(RECORDINGS), "--recipe", str(recipe), "--no-temperature"],
            ["predict", str(RECORDINGS)],
        )
        for command in commands:
            command = [sys.executable, "-m", "harexport", *command]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
            if done.returncode:
                print(f"!!! {' '.join(command)}:\n{done.stdout}{done.stderr}", file=sys.stderr)
                return False
    return True


def build_apk(command: list[str]) -> int:
    """Build the debug-signed APK and print its path."""
    APK.unlink(missing_ok=True)
    built = run_maven([*command, "-q", "-pl", "apk", "-am", "-DskipTests", "package"])
    if built or not APK.exists():
        print("!!! The APK was not built (see above).", file=sys.stderr)
        return 1
    print(APK)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where-possible", action="store_true", help="exit with 0 if tools are missing")
    parser.add_argument("--apk", action="store_true", help="only build the debug-signed APK and print its path")
    options = parser.parse_args()
    if problem := missing_tools():
        print(f"!!! The checks of the Android demo did NOT run. {problem}", file=sys.stderr)
        return 0 if options.where_possible else 2
    command = [*MAVEN, *os.environ.get("MAVEN_ARGS", "").split(), "-f", str(CHECKS / "pom.xml")]
    if options.apk:
        return build_apk(command)
    LINT_WARNINGS.unlink(missing_ok=True)
    for name in MODULES:  # of a previous run
        shutil.rmtree(CHECKS / name / "target" / "surefire-reports", ignore_errors=True)
    start = time.monotonic()
    # Test windows and their logits in Python, the reference for the Java interpreter.
    written = subprocess.run([sys.executable, str(FIDELITY), "--write-test-data"], check=False)
    if written.returncode:
        print("!!! The test data could not be written (see above).", file=sys.stderr)
        return 1
    write_foreign_project()
    # Two modules at a time: most of the time, only one of the processors is busy.
    succeeded = not run_maven([*command, "-T", "2", "verify"]) and train_with_recordings()
    lines, succeeded = format_summary(CHECKS, succeeded, time.monotonic() - start)
    print("\n".join(lines), flush=True)
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
