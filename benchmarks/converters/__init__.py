"""Other converters, each in its own process, and the files that they write."""
