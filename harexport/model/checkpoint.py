"""Checkpoints: a trained model in one file, arrays as safetensors and everything else as JSON in the header.

A file contains no times or paths, so one run always gives the same bytes. Reading it needs NumPy only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.model.network import Network
from harexport.model.recipe import Recipe, from_legacy, parse
from harexport.utils import files
from harexport.version import __version__

KIND = "harexport-checkpoint"
VERSION = 2
LEGACY_VERSION = 1  # British spelling of recipe keys
_UCI_HAR = "UCI HAR Dataset"
_ACCURACY_TOLERANCE = 0.002  # a few windows with nearly equal logits depend on the BLAS library


@dataclass(frozen=True)
class Checkpoint:
    """A trained network with its contract, its recipe and the figures of its training."""

    network: Network
    contract: Contract
    recipe: Recipe
    seed: int
    data: dict[str, Any] = field(default_factory=dict)  # source and digest of the training data
    figures: dict[str, Any] = field(default_factory=dict)  # validation and test metrics, versions of libraries
    tool_version: str = __version__

    @property
    def digest(self) -> str:
        """SHA-256 of the network's arrays and structure; exported files contain it to identify their reference."""
        sha = hashlib.sha256(json.dumps(self.network.structure(), sort_keys=True).encode())
        for name, array in sorted(self.network.arrays().items()):
            sha.update(name.encode() + str(array.shape).encode())
            sha.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return sha.hexdigest()

    def check_test_accuracy(self, accuracy: float, windows: int, digest: str, source: str) -> None:
        """Compare a measured test accuracy with the recorded one, if both are of the same test windows.

        Args:
            accuracy: Accuracy of the network on the test windows.
            windows: Number of test windows.
            digest: Digest of the dataset.
            source: Source of the dataset. The official files of UCI HAR and the windows rebuilt from its recordings
                have different digests, but equal windows up to rounding.

        Raises:
            InputError: They differ: the file was changed after training.
        """
        recorded = self.figures.get("test")
        both_uci_har = all(name.startswith(_UCI_HAR) for name in (source, str(self.data.get("source", ""))))
        is_same_data = self.data.get("digest") == digest or both_uci_har
        if not isinstance(recorded, dict) or not is_same_data or recorded.get("windows") != windows:
            return
        expected = recorded.get("accuracy")
        if not isinstance(expected, int | float) or not abs(expected - accuracy) <= _ACCURACY_TOLERANCE:
            raise InputError(
                f"the checkpoint of {self.recipe.name} records a test accuracy of {_format_accuracy(expected)}, but "
                f"its network has {_format_accuracy(accuracy)} on the same windows: the file was changed; train again"
            )


def _format_accuracy(value: Any) -> str:
    return f"{value:.2%}" if isinstance(value, int | float) else "an unknown value"


def save(checkpoint: Checkpoint, path: Path | str) -> None:
    """Write `checkpoint` to `path` (.safetensors) atomically. Raises InputError if the file cannot be written."""
    from safetensors.numpy import save as serialize

    header = {
        "kind": KIND,
        "version": VERSION,
        "network_sha256": checkpoint.digest,
        "tool_version": checkpoint.tool_version,
        "network": checkpoint.network.structure(),
        "contract": checkpoint.contract.to_dict(),
        "recipe": checkpoint.recipe.to_dict(),
        "seed": checkpoint.seed,
        "data": checkpoint.data,
        "figures": checkpoint.figures,
    }
    arrays = {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in checkpoint.network.arrays().items()}
    # One metadata key: safetensors writes several in random order.
    files.write_bytes(
        path, serialize(arrays, metadata={"harexport": json.dumps(files.replace_nonfinite(header), sort_keys=True)})
    )


def load(path: Path | str) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: The file is missing, damaged or no checkpoint. Damaged arrays are detected by their digest, which
            files of version 1 lack.
    """
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(f"checkpoint not found: {path}; `harexport train` writes one")
    remedy = "give a .safetensors file that `harexport train` wrote"
    try:
        with safe_open(path, framework="numpy") as opened:
            header = files.parse_json((opened.metadata() or {}).get("harexport", "null"), "its header")
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # SafetensorError, OSError, a dtype NumPy lacks, JSON too deep, ...
        raise InputError(f"{path} is not a complete safetensors file ({error}); {remedy}") from None
    if not isinstance(header, dict) or header.get("kind") != KIND:
        raise InputError(f"{path} is a safetensors file, but not a harexport checkpoint; {remedy}")
    version = header.get("version")
    if version not in (LEGACY_VERSION, VERSION):
        raise InputError(
            f"{path} is a checkpoint of version {version}; this harexport reads versions up to {VERSION}, update it"
        )
    try:
        recipe = from_legacy(header["recipe"]) if version == LEGACY_VERSION else header["recipe"]
        checkpoint = Checkpoint(
            contract=Contract.from_dict(header["contract"], str(path)),
            recipe=parse(recipe, str(path)),
            seed=int(header["seed"]),
            data=dict(header["data"]),
            figures=dict(header["figures"]),
            tool_version=str(header["tool_version"]),
            network=Network.from_arrays(arrays, header["network"], str(path)),
        )
        if version != LEGACY_VERSION and header["network_sha256"] != checkpoint.digest:
            raise InputError(
                "its arrays were changed after training (SHA-256 differs); train again or restore the file"
            )
        return checkpoint
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: its header lacks {error} or has a wrong value; {remedy}") from None
