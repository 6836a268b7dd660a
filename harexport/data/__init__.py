"""Datasets of labeled sensor windows: UCI HAR and custom recordings."""

from harexport.data.dataset import Dataset, Segments, Windows, contract_mismatches, find_segments
from harexport.data.load import load_dataset, load_dataset_for

__all__ = [
    "Dataset",
    "Segments",
    "Windows",
    "contract_mismatches",
    "find_segments",
    "load_dataset",
    "load_dataset_for",
]
