"""Parity, latency and memory of model files."""
