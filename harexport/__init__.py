"""harexport: a human-activity model from PyTorch to a phone, with proof that what runs there is what was trained."""

__version__ = "0.1.0"
