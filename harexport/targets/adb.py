"""Commands on a phone through adb, with a message for each way they fail."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harexport.errors import InputError

_TIMEOUT_S = 60  # per command; 15 MB take less over a slow cable
_READY = "device"
_STATES = {
    "unauthorized": "has not authorized this computer: unlock it, confirm USB debugging, and run the command again",
    "offline": "is connected but offline: reconnect the cable, or run `adb reconnect`",
    "no permissions": "cannot be accessed by this account: see `adb devices` and Android's documentation of udev rules",
    "recovery": "is in recovery mode: start Android on it",
    "sideload": "is in sideload mode: start Android on it",
    "bootloader": "is in its bootloader: start Android on it",
    "authorizing": "is being authorized: run the command again",
    "connecting": "is being connected: run the command again",
}


class PhoneGoneError(InputError):
    """The phone was disconnected."""


@dataclass(frozen=True)
class Phone:
    """A connected phone.

    Attributes:
        adb: Path of the adb program.
        serial: Serial number of the phone.
    """

    adb: str
    serial: str

    @staticmethod
    def find(serial: str | None = None) -> Phone:
        """Return the connected phone, or the one with this serial number. Raises InputError."""
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
            raise InputError("no phone is connected: connect one, enable USB debugging, and check `adb devices`")
        ready = [name for name, state in found.items() if state == _READY]
        if len(ready) > 1 or (not ready and len(found) > 1):
            listed = ", ".join(f"{name} ({state})" for name, state in found.items())
            raise InputError(f"{len(found)} phones are connected: {listed}; choose one by --target adb:SERIAL")
        chosen = ready[0] if ready else next(iter(found))
        return _ready(adb, chosen, found[chosen])

    def shell(self, command: str) -> str:
        """Return the standard output of a command on the phone. Raises InputError; PhoneGoneError if it disconnects."""
        return self._run("shell", command)

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the phone. Raises InputError."""
        self._run("push", str(source), target)

    def pull(self, source: str, target: Path) -> None:
        """Copy a file from the phone. Raises InputError."""
        self._run("pull", source, str(target))

    def has(self, path: str) -> bool:
        """Return whether a file exists on the phone."""
        return self.shell(f"[ -f {path} ] && echo yes || echo no").strip() == "yes"

    def _run(self, *arguments: str) -> str:
        action = {"push": "a file was copied to it", "pull": "a file was copied from it"}.get(
            arguments[0], "a command ran"
        )
        try:
            child = subprocess.run(
                [self.adb, "-s", self.serial, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise PhoneGoneError(
                f"the phone {self.serial} did not respond within {_TIMEOUT_S} s while {action}"
            ) from None
        if child.returncode == 0:
            return child.stdout
        output = (child.stderr.strip() or child.stdout.strip()).splitlines()
        reason = output[-1].removeprefix("adb: ").removeprefix("error: ") if output else f"exit code {child.returncode}"
        if _devices(self.adb).get(self.serial) != _READY:
            raise PhoneGoneError(
                f"the phone {self.serial} was disconnected while {action} ({reason}). Check the cable and "
                "run the command again"
            )
        raise InputError(f"adb {arguments[0]} failed on {self.serial}: {reason}")


def _devices(adb: str) -> dict[str, str]:
    """Return the states of the connected phones by serial number."""
    try:
        child = subprocess.run([adb, "devices"], capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"`adb devices` failed ({error}); try `adb kill-server`") from error
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"`adb devices` failed ({reason}); try `adb kill-server`")
    _, _, table = child.stdout.partition("List of devices attached")
    lines = [line.split(maxsplit=1) for line in table.splitlines() if line.strip()]
    return {serial: state.split(";")[0].split("(")[0].strip() for serial, state in (ln for ln in lines if len(ln) == 2)}


def _ready(adb: str, serial: str, state: str) -> Phone:
    if state != _READY:
        raise InputError(f"the phone {serial} {_STATES.get(state, f'is in the state {state}: start Android on it')}")
    return Phone(adb, serial)
