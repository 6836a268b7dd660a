"""Run `pip install` with the given arguments and show its progress in one line instead of its log.

    .venv/bin/python tools/install.py -c constraints.txt -e '.[train]'

Needs only the standard library, as it runs before anything is installed. If pip fails, the end of its log is printed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import deque

_LOG_EVERY_SECONDS = 15.0  # without a terminal
_DOWNLOAD = re.compile(r"\s*Downloading (\S+?)(?:-\d\S*)? \(([\d.]+) ([kMG]?B)\)")
_MEGABYTES = {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}


class _Progress:
    """The state of an installation, from the lines of pip's log."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.packages = 0
        self.megabytes = 0.0
        self.step = "resolving the packages"

    def read(self, line: str) -> None:
        """Update the state from one line of the log."""
        if line.startswith("Collecting "):
            self.packages += 1
            self.step = f"resolving {re.split('[=<>!~ ]', line.split()[1])[0]}"
        elif found := _DOWNLOAD.match(line):
            size = float(found[2]) * _MEGABYTES[found[3]]
            self.megabytes += size
            self.step = f"downloading {found[1].rpartition('/')[2]} ({size:.0f} MB)"
        elif line.startswith("Installing collected packages"):
            self.packages = line.count(",") + 1
            self.step = "installing"

    def text(self) -> str:
        """Describe the state in one line."""
        seconds = time.monotonic() - self.began
        return f"  {self.packages} packages, {self.megabytes:.0f} MB to download, {seconds:.0f} s: {self.step}"


def _show(progress: _Progress, finished: threading.Event) -> None:
    terminal = sys.stdout.isatty()
    while not finished.wait(1.0 if terminal else _LOG_EVERY_SECONDS):
        print(
            f"\r\x1b[K{progress.text()[:100]}" if terminal else progress.text(),
            end="" if terminal else "\n",
            flush=True,
        )
    if terminal:
        print("\r\x1b[K", end="", flush=True)


def main() -> int:
    """Install, and return pip's exit code."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        *sys.argv[1:],
    ]
    progress, finished, log = _Progress(), threading.Event(), deque[str](maxlen=40)
    display = threading.Thread(target=_show, args=(progress, finished))
    display.start()
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
            assert pip.stdout is not None
            for line in pip.stdout:
                log.append(line)
                progress.read(line)
    finally:
        finished.set()
        display.join()
    if pip.returncode:
        print("".join(log), file=sys.stderr)
        print(f"pip failed with exit code {pip.returncode}; the end of its log is above.", file=sys.stderr)
    else:
        print(f"  {progress.packages} packages installed in {time.monotonic() - progress.began:.0f} s")
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main())
