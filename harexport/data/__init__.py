"""The UCI HAR windows, from a path, from the UCI archive, or rebuilt from raw recordings; and one's own recordings."""

from harexport.data.dataset import Dataset, Stretches, Windows, differences, stretches
from harexport.data.load import load, load_for

__all__ = ["Dataset", "Stretches", "Windows", "differences", "load", "load_for", "stretches"]
