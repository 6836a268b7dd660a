"""Names, sizes and checksums of the official UCI HAR files, and the position of each window in the raw recordings."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from harexport.model.contract import CHANNELS

FOLDER = "UCI HAR Dataset"  # name of the official folder
SPLITS = ("train", "test")


@dataclass(frozen=True)
class PublishedFile:
    """Size in bytes and SHA-256 of an official file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class WindowRun:
    """Consecutive official windows that were cut from one raw recording.

    The `rows` windows of `split` from `first_row` (0-based) carry the label `activity` (1..6). They start at samples
    `first_sample`, `first_sample` + 64, ... of recording number `recording` (from 1) of `subject`.
    """

    split: str
    first_row: int
    rows: int
    activity: int
    subject: int
    recording: int
    first_sample: int


def labels_file(split: str) -> str:
    """Return the name of the labels file of a split."""
    return f"{split}/y_{split}.txt"


def subjects_file(split: str) -> str:
    """Return the name of the subjects file of a split."""
    return f"{split}/subject_{split}.txt"


def signal_file(split: str, channel: str) -> str:
    """Return the name of the signal file of a channel."""
    return f"{split}/Inertial Signals/{channel}_{split}.txt"


# The files that are read. The official folder also holds descriptions and 561 hand-made features.
REQUIRED_FILES = tuple(
    name
    for split in SPLITS
    for name in (labels_file(split), subjects_file(split), *(signal_file(split, channel) for channel in CHANNELS))
)


@cache
def load_manifest() -> dict[str, PublishedFile]:
    """Load size and checksum of the official files, without the hand-made features, by name in the official folder."""
    text = resources.files("harexport.data.uci_har").joinpath("manifest.json").read_text(encoding="utf-8")
    return {name: PublishedFile(entry["bytes"], entry["sha256"]) for name, entry in json.loads(text).items()}


@cache
def load_window_index() -> tuple[WindowRun, ...]:
    """Load the position of every official window in the raw recordings."""
    text = resources.files("harexport.data.uci_har").joinpath("window_index.csv").read_text(encoding="utf-8")
    return tuple(
        WindowRun(row["split"], *(int(row[key]) for key in list(row)[1:])) for row in csv.DictReader(text.splitlines())
    )
