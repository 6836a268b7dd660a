"""The UCI HAR windows: from a path, from the UCI archive, or rebuilt from raw recordings."""

from harexport.data.load import load
from harexport.data.windows import Dataset, Stretches, Windows, stretches

__all__ = ["Dataset", "Stretches", "Windows", "load", "stretches"]
