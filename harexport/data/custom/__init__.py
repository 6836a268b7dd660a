"""Custom datasets: a folder of labelled recordings."""
