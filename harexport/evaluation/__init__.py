"""Metrics, comparison with tolerances, latency and statistics."""
