"""Recordings of phones: CSV files of sensor loggers, and folders and zips of them."""
