"""The model file that is part of the package."""
