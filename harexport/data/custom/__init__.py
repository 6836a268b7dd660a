"""Custom datasets: a folder of labeled recordings with harexport.toml."""
