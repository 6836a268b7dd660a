"""Recordings of phone sensor loggers."""
