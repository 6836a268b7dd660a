"""The version of the package, explained in CHANGELOG.md."""

__version__ = "0.2.0"
