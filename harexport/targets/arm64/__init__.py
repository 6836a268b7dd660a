"""Run models on an emulated 64-bit Arm processor."""
