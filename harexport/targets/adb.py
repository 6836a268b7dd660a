"""A phone behind `adb`: the few commands that are needed, and a sentence for each way in which they fail."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harexport.errors import InputError

_SECONDS = 60  # for one command; pushing 15 MB takes less over the slowest cable
_READY = "device"
_STATES = {
    "unauthorized": "does not trust this computer: unlock it, confirm the question about USB debugging, run it again",
    "offline": "is connected but does not answer (offline): unplug it, plug it in again, or run `adb reconnect`",
    "no permissions": "may not be used by this account: see `adb devices` and Android's page on udev rules",
    "recovery": "is in recovery mode: start Android on it",
    "sideload": "is in sideload mode: start Android on it",
    "bootloader": "is in its bootloader: start Android on it",
    "authorizing": "is just being asked for permission: run it again",
    "connecting": "is just being connected: run it again",
}


class PhoneGoneError(InputError):
    """The phone was there and is no longer: nothing more can be asked of it."""


@dataclass(frozen=True)
class Phone:
    """A phone that answers. `adb` is the program's path."""

    adb: str
    serial: str

    @staticmethod
    def find(serial: str | None = None) -> Phone:
        """The connected phone, or the one of this serial number. Raises InputError."""
        adb = shutil.which("adb")
        if adb is None:
            raise InputError(
                "--target adb needs adb, which is not on the PATH: install Android's platform-tools "
                "(Debian: apt install adb)"
            )
        found = _devices(adb)
        if serial is not None:
            if serial not in found:
                there = f"connected: {', '.join(found)}" if found else "none is connected"
                raise InputError(f"no phone with the serial number {serial}; {there}")
            return _ready(adb, serial, found[serial])
        if not found:
            raise InputError("no phone is connected: plug one in, switch on USB debugging, and look at `adb devices`")
        ready = [name for name, state in found.items() if state == _READY]
        if len(ready) > 1 or (not ready and len(found) > 1):
            listed = ", ".join(f"{name} ({state})" for name, state in found.items())
            raise InputError(f"{len(found)} phones are connected: {listed}; choose one by --target adb:SERIAL")
        chosen = ready[0] if ready else next(iter(found))
        return _ready(adb, chosen, found[chosen])

    def shell(self, command: str) -> str:
        """Standard output of a command on the phone. Raises InputError, PhoneGoneError without a phone."""
        return self._run("shell", command)

    def push(self, source: Path, target: str) -> None:
        self._run("push", str(source), target)

    def pull(self, source: str, target: Path) -> None:
        self._run("pull", source, str(target))

    def has(self, path: str) -> bool:
        """Whether a file is on the phone."""
        return self.shell(f"[ -f {path} ] && echo yes || echo no").strip() == "yes"

    def _run(self, *arguments: str) -> str:
        doing = {"push": "a file was being copied to it", "pull": "a file was being copied from it"}.get(
            arguments[0], "it was working"
        )
        try:
            child = subprocess.run(
                [self.adb, "-s", self.serial, *arguments], capture_output=True, text=True, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise PhoneGoneError(f"the phone {self.serial} did not answer for {_SECONDS} s while {doing}") from None
        if child.returncode == 0:
            return child.stdout
        said = (child.stderr.strip() or child.stdout.strip()).splitlines()
        reason = said[-1].removeprefix("adb: ").removeprefix("error: ") if said else f"it ended with {child.returncode}"
        if _devices(self.adb).get(self.serial) != _READY:
            raise PhoneGoneError(
                f"the phone {self.serial} went away while {doing} ({reason}): check the cable and run it again"
            )
        raise InputError(f"adb {arguments[0]} failed on {self.serial}: {reason}")


def _devices(adb: str) -> dict[str, str]:
    """Serial numbers and states of what is connected."""
    try:
        child = subprocess.run([adb, "devices"], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"`adb devices` does not work ({error}): try `adb kill-server`") from error
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"`adb devices` does not work ({reason}): try `adb kill-server`")
    _, _, table = child.stdout.partition("List of devices attached")
    lines = [line.split(maxsplit=1) for line in table.splitlines() if line.strip()]
    return {serial: state.split(";")[0].split("(")[0].strip() for serial, state in (ln for ln in lines if len(ln) == 2)}


def _ready(adb: str, serial: str, state: str) -> Phone:
    if state != _READY:
        raise InputError(f"the phone {serial} {_STATES.get(state, f'is in the state {state}: start Android on it')}")
    return Phone(adb, serial)
