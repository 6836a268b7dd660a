"""Exporters: one per format, and the checks that every file must pass."""
