"""A C kernel as a lower bound of the latency on this machine."""
