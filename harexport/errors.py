"""Errors that the command line reports to the user, with their exit codes."""

from __future__ import annotations


class HarExportError(Exception):
    """Base class. The message states what is wrong, where, and what to do."""

    exit_code = 2


class InputError(HarExportError):
    """A file, folder, option or recipe cannot be used (exit code 2)."""


class MissingExtraError(HarExportError):
    """A command needs an optional dependency that is not installed (exit code 2)."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed. In a checkout of harexport: "
            f"pip install -c constraints.txt '.[{extra}]'"
        )


class CheckFailedError(HarExportError):
    """A check of parity, accuracy or structure failed (exit code 1)."""

    exit_code = 1
