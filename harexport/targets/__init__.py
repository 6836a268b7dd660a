"""Other machines to try files on: 64-bit Arm under emulation, prepared once in the user's cache folder."""
