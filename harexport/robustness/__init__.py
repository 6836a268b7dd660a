"""Accuracy under rotations, noise, lost samples, clock drift and gain errors."""
