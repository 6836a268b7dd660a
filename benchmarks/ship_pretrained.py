"""Published models: their checkpoints in artifacts/, and SHA256SUMS of all their files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from harexport.model import checkpoint as checkpoints
from harexport.model.checkpoint import Checkpoint
from harexport.utils import files

ROOT = Path(__file__).resolve().parents[1]
ARTIFACTS = ROOT / "artifacts"
MODELS = ("edge", "edge-tiny", "baseline-lstm", "baseline-gru")  # in the order of reports
CHECKSUMS = "SHA256SUMS"


def checkpoint_path(name: str) -> Path:
    """Return the path of the checkpoint of a recipe."""
    return ARTIFACTS / name / f"{name}.safetensors"


def load_checkpoints(names: Sequence[str] = MODELS) -> dict[str, Checkpoint]:
    """Load the existing checkpoints of these models, in their order."""
    return {name: checkpoints.load(checkpoint_path(name)) for name in names if checkpoint_path(name).exists()}


def missing_message() -> str | None:
    """Return a message that lists the missing checkpoints; None if all exist."""
    names = [name for name in MODELS if not checkpoint_path(name).exists()]
    if not names:
        return None
    return (
        f"!!! NOT IN artifacts/: {', '.join(names)}. All other models were rebuilt. Train the missing ones with: "
        "python artifacts/build.py --train"
    )


def compute_checksums(root: Path = ARTIFACTS) -> str:
    """Return the content of SHA256SUMS, as `sha256sum -c` reads it.

    It lists all files under `root` by path, except itself, scripts, README.md and the state of interrupted runs.
    """
    found = {file.relative_to(root).as_posix(): file for file in root.rglob("[!.]*") if file.is_file()}
    omitted = (CHECKSUMS, "README.md", ".py", ".pyc", ".resume.pt")
    listed = sorted(name for name in found if not name.endswith(omitted))
    return "".join(f"{hashlib.sha256(found[name].read_bytes()).hexdigest()}  {name}\n" for name in listed)


def write_checksums() -> None:
    """Write artifacts/SHA256SUMS, after any change of a file there."""
    files.write_text(ARTIFACTS / CHECKSUMS, compute_checksums())
