"""The few kinds of error a user can meet. Each knows the exit code the command line ends with."""

from __future__ import annotations


class HarExportError(Exception):
    """Something the user can act on. The message says what was wrong, where, and what to do."""

    exit_code = 2


class InputError(HarExportError):
    """A file, folder, option or recipe that cannot be used (exit code 2)."""


class MissingExtraError(HarExportError):
    """A command needs an optional dependency that is not installed (exit code 2)."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install 'harexport[{extra}]' "
            f"(from a checkout: pip install -c constraints.txt '.[{extra}]')"
        )


class CheckFailedError(HarExportError):
    """The input was fine, but a proof did not hold: parity, accuracy or structure (exit code 1)."""

    exit_code = 1
