"""Proof that a file answers what its reference answers, and how long it takes."""
