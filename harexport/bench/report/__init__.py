"""Reports of a benchmark: text, JSON, CSV and HTML."""
