"""Benchmarks on other machines: a phone through adb, and 64-bit Arm under emulation."""
