"""A small set of the official shape, as a folder and as zips, for tests that damage it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from harexport.data import Dataset
from harexport.data.uci_har.manifest import FOLDER, REQUIRED_FILES, labels_file, signal_file, subjects_file
from harexport.model.contract import CHANNELS

ROWS = {"train": ("5\n1\n6\n", "1\n1\n3\n"), "test": ("2\n4\n", "2\n2\n")}  # labels, subjects


def write(parent: Path) -> Path:
    """A folder in `parent` with 3 training windows and 2 test windows, structurally like the official one."""
    folder = parent / FOLDER
    rng = np.random.default_rng(0)
    for name in REQUIRED_FILES:
        split = name.partition("/")[0]
        labels, subjects = ROWS[split]
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if "Inertial" in name:
            values = rng.normal(size=(labels.count("\n"), 128))
            text = "".join("".join(f" {v: .7e}" for v in row) + "\n" for row in values)
        else:
            text = labels if "/y_" in name else subjects
        file.write_bytes(text.encode())
    return folder


def write_dataset(dataset: Dataset, parent: Path) -> Path:
    """Write all windows of a dataset into a folder in `parent`, in the format of the official files."""
    folder = parent / FOLDER
    for split, windows in (("train", dataset.train), ("test", dataset.test)):
        (folder / split / "Inertial Signals").mkdir(parents=True)
        np.savetxt(folder / labels_file(split), windows.labels + 1, "%d")
        np.savetxt(folder / subjects_file(split), windows.subjects, "%d")
        for k, channel in enumerate(CHANNELS):
            np.savetxt(folder / signal_file(split, channel), windows.signals[:, :, k], " % .7e", delimiter="")
    return folder


def zipped(folder: Path, nested: bool = False) -> bytes:
    """The folder as the official zip or, `nested`, as the UCI archive's zip around it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(folder.rglob("*.txt")):
            archive.write(file, f"{FOLDER}/{file.relative_to(folder).as_posix()}")
    if not nested:
        return packed.getvalue()
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("UCI HAR Dataset.names", "about")
        archive.writestr(f"__MACOSX/{FOLDER}.zip", "not a zip")
        archive.writestr(f"{FOLDER}.zip", packed.getvalue())
    return outer.getvalue()
