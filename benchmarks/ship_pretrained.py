"""What artifacts/ holds: which models are to stand there, which do, and SHA256SUMS over all of their files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harexport.model import checkpoint as checkpoints
from harexport.model.checkpoint import Checkpoint
from harexport.utils import files

ROOT = Path(__file__).resolve().parents[1]
ARTIFACTS = ROOT / "artifacts"
MODELS = ("edge", "edge-tiny", "seed-lstm", "seed-gru")  # in the order of reports
SUMS = "SHA256SUMS"


def path(name: str) -> Path:
    """Where the checkpoint of a recipe stands, or is to stand."""
    return ARTIFACTS / name / f"{name}.safetensors"


def standing() -> dict[str, Checkpoint]:
    """The checkpoints that are there, in the order of reports."""
    return {name: checkpoints.load(path(name)) for name in MODELS if path(name).exists()}


def missing() -> str | None:
    """In words, loud enough, which models are not there; None where all are."""
    names = [name for name in MODELS if not path(name).exists()]
    if not names:
        return None
    return (
        f"!!! NOT IN artifacts/: {', '.join(names)}. Everything else was rebuilt; a model that is not there is trained "
        "by: python artifacts/build.py --train"
    )


def sums(root: Path = ARTIFACTS) -> str:
    """The lines of SHA256SUMS over every file under `root` but itself and what an interrupted run left, sorted by
    path, as `sha256sum -c` reads them."""
    named = {file.relative_to(root).as_posix(): file for file in root.rglob("[!.]*") if file.is_file()}
    shipped = sorted(name for name in named if name != SUMS and not name.endswith(".resume.pt"))
    return "".join(f"{hashlib.sha256(named[name].read_bytes()).hexdigest()}  {name}\n" for name in shipped)


def seal() -> None:
    """Write artifacts/SHA256SUMS anew: the last step of whatever changed a file there."""
    files.write_text(ARTIFACTS / SUMS, sums())
