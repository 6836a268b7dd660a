"""What is known of the published files: sizes, checksums, and where each window was cut. Shipped with the code."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from harexport.model.contract import CHANNELS

FOLDER = "UCI HAR Dataset"  # the name of the official folder
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Published:
    """Size in bytes and SHA-256 of one official file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Run:
    """`rows` consecutive official windows of `split` from `first_row` (0-based), all labelled `activity` (1..6).

    They start at `first_sample`, `first_sample` + 64, ... of `subject`'s recording number `recording` (from 1).
    """

    split: str
    first_row: int
    rows: int
    activity: int
    subject: int
    recording: int
    first_sample: int


def labels_file(split: str) -> str:
    return f"{split}/y_{split}.txt"


def subjects_file(split: str) -> str:
    return f"{split}/subject_{split}.txt"


def signal_file(split: str, channel: str) -> str:
    return f"{split}/Inertial Signals/{channel}_{split}.txt"


# The files that are read; the official folder also holds descriptions and 561 hand-made features, which are not.
NEEDED = tuple(
    name
    for split in SPLITS
    for name in (labels_file(split), subjects_file(split), *(signal_file(split, channel) for channel in CHANNELS))
)


@cache
def manifest() -> dict[str, Published]:
    """The official files without the hand-made features, by name inside the official folder."""
    text = resources.files("harexport.data.uci_har").joinpath("manifest.json").read_text(encoding="utf-8")
    return {name: Published(entry["bytes"], entry["sha256"]) for name, entry in json.loads(text).items()}


@cache
def window_index() -> tuple[Run, ...]:
    """Where every official window lies in the raw recordings."""
    text = resources.files("harexport.data.uci_har").joinpath("window_index.csv").read_text(encoding="utf-8")
    return tuple(
        Run(row["split"], *(int(row[key]) for key in list(row)[1:])) for row in csv.DictReader(text.splitlines())
    )
