"""Accuracy on test windows with rotations, noise, lost samples, clock drift and gain errors."""
