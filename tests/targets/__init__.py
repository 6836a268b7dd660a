"""Other machines to try files on. What needs the emulated one itself is `harexport targets check arm64`."""
