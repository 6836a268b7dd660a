"""Network -> files: one emitter per format, and the gate a file passes before it gets its name."""
