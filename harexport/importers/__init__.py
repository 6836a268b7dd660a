"""Importers: models of other tools as networks."""
