"""The near limit of this machine, as a C kernel."""
