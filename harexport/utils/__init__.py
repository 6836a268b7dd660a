"""Console output, files and tables."""
