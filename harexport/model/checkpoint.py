"""A trained model in one file: arrays as safetensors, everything else as JSON in its header.

The file is written atomically and holds no times or paths: the same run gives the same bytes. Reading
one needs neither torch nor scikit-learn.
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
from harexport.model.recipe import Recipe, from_legacy, parse, to_legacy
from harexport.utils import files
from harexport.version import __version__

KIND = "harexport-checkpoint"
VERSION = 2
LEGACY_VERSION = 1  # British spelling of recipe keys


@dataclass(frozen=True)
class Checkpoint:
    """A network with its contract, the recipe and seed it came from, and what was measured of it.

    `data` names the windows it was trained on (source, digest); `figures` holds what `train` measured
    (validation, test, versions).
    """

    network: Network
    contract: Contract
    recipe: Recipe
    seed: int
    data: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    tool_version: str = __version__
    version: int = VERSION  # of the file it was read from

    @property
    def recipe_metadata(self) -> dict[str, Any]:
        """The recipe as exported files carry it: with the keys of the version that the checkpoint was written in."""
        return to_legacy(self.recipe) if self.version == LEGACY_VERSION else self.recipe.to_dict()

    @property
    def digest(self) -> str:
        """SHA-256 over the network's arrays and shape: exported files carry it, so they find their reference."""
        sha = hashlib.sha256(json.dumps(self.network.structure(), sort_keys=True).encode())
        for name, array in sorted(self.network.arrays().items()):
            sha.update(name.encode() + str(array.shape).encode())
            sha.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return sha.hexdigest()


def save(checkpoint: Checkpoint, path: Path | str) -> None:
    """Write `checkpoint` to `path` (.safetensors) atomically. Raises InputError where it cannot be written."""
    from safetensors.numpy import save as serialise

    header = {
        "kind": KIND,
        "version": VERSION,
        "tool_version": checkpoint.tool_version,
        "network": checkpoint.network.structure(),
        "contract": checkpoint.contract.to_dict(),
        "recipe": checkpoint.recipe.to_dict(),
        "seed": checkpoint.seed,
        "data": checkpoint.data,
        "figures": checkpoint.figures,
    }
    arrays = {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in checkpoint.network.arrays().items()}
    # one metadata key: safetensors keeps them in a hash map, several would come out in random order
    files.write_bytes(path, serialise(arrays, metadata={"harexport": json.dumps(header, sort_keys=True)}))


def load(path: Path | str) -> Checkpoint:
    """Read a checkpoint. Raises InputError for a missing, truncated or foreign file."""
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(f"checkpoint not found: {path}. `harexport train` writes one")
    remedy = "give a .safetensors file that `harexport train` wrote"
    try:
        with safe_open(path, framework="numpy") as opened:
            header = json.loads((opened.metadata() or {}).get("harexport", "null"))
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # SafetensorError, OSError, a dtype NumPy lacks, JSON too deep, ...
        raise InputError(f"{path} is not a whole safetensors file ({error}); {remedy}") from None
    if not isinstance(header, dict) or header.get("kind") != KIND:
        raise InputError(f"{path} is a safetensors file, but not a harexport checkpoint; {remedy}")
    version = header.get("version")
    if version not in (LEGACY_VERSION, VERSION):
        raise InputError(
            f"{path} is a checkpoint of version {version}; this harexport reads versions up to {VERSION}, update it"
        )
    try:
        recipe = from_legacy(header["recipe"]) if version == LEGACY_VERSION else header["recipe"]
        return Checkpoint(
            contract=Contract.from_dict(header["contract"], str(path)),
            recipe=parse(recipe, str(path)),
            seed=int(header["seed"]),
            data=dict(header["data"]),
            figures=dict(header["figures"]),
            tool_version=str(header["tool_version"]),
            version=version,
            network=Network.from_arrays(arrays, header["network"], str(path)),
        )
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: its header lacks or misstates {error}; {remedy}") from None
