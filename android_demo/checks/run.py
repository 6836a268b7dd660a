"""Every check of the Android demo that needs no Android (make android): Maven, Robolectric, the APK; then what ran.

    make android      (python android_demo/checks/run.py [--where-possible], where harexport is installed)

Needs Linux x86-64, a JDK from 17 on, Maven and Debian's Android tools. Exits with 1 where a check failed, with 2 where
a tool is missing; with --where-possible that is only said, loudly. Anything in MAVEN_ARGS goes to Maven.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

CHECKS = Path(__file__).resolve().parent
HAND = CHECKS.parents[1] / "benchmarks" / "android_fidelity.py"
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
# tool -> the Debian package it comes in
TOOLS = {
    "javac": "default-jdk",
    "mvn": "maven",
    "aapt2": "aapt",
    "zipalign": "zipalign",
    "apksigner": "apksigner",
    "dexdump": "dexdump",
    "zip": "zip",
}
MODULES = {
    "core": "contract, resampler, filters, windows, smoothing, recordings, self-test on the JVM, against tests/golden",
    "runtime": "the shipped model through TensorFlow Lite's own Java interpreter",
    "app": "the screens, the sensors' path and rotation under Robolectric, on Android 15's own code",
    "apk": "the signed APK: what is in it, and what is not; the README's example compiles",
}
NOT_SHOWN = (
    "Only a phone or Android Studio can show: the Gradle build with LiteRT and its 16 KB pages, real sensors, "
    "how long the model takes there."
)


def missing() -> str:
    """What keeps the checks from running here, and the cure; "" where nothing does."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "TensorFlow Lite's library for the JVM is for Linux on x86-64 only: run them there"
    packages = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    packages += [] if FRAMEWORK.exists() else ["android-framework-res"]
    return f"Debian and Ubuntu have what is missing: apt-get install {' '.join(packages)}" if packages else ""


def counted(module: Path) -> tuple[int, int, int, float]:
    """Tests that passed, failed and were skipped in a module, and their seconds, from Surefire's reports."""
    passed = failed = skipped = 0
    seconds = 0.0
    for report in sorted((module / "target" / "surefire-reports").glob("TEST-*.xml")):
        suite = ElementTree.parse(report).getroot()
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        left_out = int(suite.get("skipped", 0))
        passed += int(suite.get("tests", 0)) - bad - left_out
        failed += bad
        skipped += left_out
        seconds += float(suite.get("time", "0").replace(",", ""))
    return passed, failed, skipped, seconds


def summary(checks: Path, worked: bool, seconds: float) -> tuple[list[str], bool]:
    """What ran, module by module, with a last line that counts it; and whether all held."""
    lines, totals = ["", "The Android demo, checked without Android:"], [0, 0, 0]
    for name, what in MODULES.items():
        passed, failed, skipped, took = counted(checks / name)
        for k, count in enumerate((passed, failed, skipped)):
            totals[k] += count
        ran = (
            f"{passed} passed, {failed} failed, {skipped} skipped in {took:.0f} s" if passed + failed else "DID NOT RUN"
        )
        lines.append(f"  {name}: {ran}: {what}")
        worked = worked and passed > 0 and failed == 0
    apk = checks / "apk" / "target" / "demo.apk"
    if worked:
        lines.append(f"  {apk}: {apk.stat().st_size / 1e6:.1f} MB")
    lines += [NOT_SHOWN, f"{'All held' if worked else 'SOMETHING FAILED'}, in {seconds:.0f} s."]
    # A build that broke before its tests has failed too: never "0 failed" then.
    lines.append(f"{totals[0]} passed, {max(totals[1], 0 if worked else 1)} failed, {totals[2]} skipped")
    return lines, worked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where-possible", action="store_true", help="without the tools: say so, and exit with 0")
    where_possible = parser.parse_args().where_possible
    if cure := missing():
        print(f"!!! The checks of the Android demo did NOT run. {cure}", file=sys.stderr)
        return 0 if where_possible else 2
    for name in MODULES:  # of an earlier run
        shutil.rmtree(CHECKS / name / "target" / "surefire-reports", ignore_errors=True)
    began = time.monotonic()
    # The test windows, and Python's answers to them, which those of the Java interpreter are held to.
    handed = subprocess.run([sys.executable, str(HAND), "--hand"], check=False)
    if handed.returncode:
        print("!!! The test windows could not be handed over (see above): run this by make android", file=sys.stderr)
        return 1
    # A Kotlin daemon would stay behind.
    command = ["mvn", "-B", "-ntp", "-Dkotlin.compiler.daemon=false", *os.environ.get("MAVEN_ARGS", "").split()]
    done = subprocess.run([*command, "-f", str(CHECKS / "pom.xml"), "verify"], check=False)
    lines, worked = summary(CHECKS, done.returncode == 0, time.monotonic() - began)
    print("\n".join(lines), flush=True)
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main())
