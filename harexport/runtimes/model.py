"""Model files ready to answer, and the one that comes with harexport: edge.tflite, a copy of what artifacts/ holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from harexport import runtimes
from harexport.errors import InputError
from harexport.model.contract import Contract
from harexport.runtimes import Runner
from harexport.utils import files

SHIPPED = "edge.tflite"


@dataclass(frozen=True)
class Model:
    """A model file ready to answer, with the contract that it carries."""

    name: str
    runner: Runner
    contract: Contract


def load(path: Path | None = None) -> Model:
    """A .tflite, .onnx or .safetensors file that harexport wrote; None: the one that comes with harexport.

    Raises InputError for a file that cannot be run or carries no contract.
    """
    if path is None:
        name = f"{SHIPPED}, shipped with harexport"
        return _of_bytes((resources.files("harexport.pretrained") / SHIPPED).read_bytes(), ".tflite", name, name)
    if path.suffix.lower() == ".safetensors":
        from harexport.model import checkpoint as checkpoints
        from harexport.runtimes.reference import ReferenceRunner

        checkpoint = checkpoints.load(path)
        return Model(path.name, ReferenceRunner(checkpoint.network, str(path)), checkpoint.contract)
    runtimes.prepare(path)  # has the words for a suffix that no runtime reads
    try:
        return _of_bytes(path.read_bytes(), path.suffix, path.name, str(path))
    except FileNotFoundError:
        raise InputError(f"model not found: {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def ship(source: Path) -> Path:
    """Make `source`, an exported .tflite, the model that comes with harexport (artifacts/build.py does)."""
    target = Path(str(resources.files("harexport.pretrained") / SHIPPED))
    files.write_bytes(target, source.read_bytes())
    return target


def _of_bytes(content: bytes, suffix: str, name: str, where: str) -> Model:
    runner = runtimes.load_bytes(content, suffix, where)
    if suffix.lower() == ".tflite":
        from harexport.formats.tflite_reader import read_metadata

        found = read_metadata(content, where)["contract"]
    else:
        try:
            found = json.loads(runner.metadata.get("contract", "null"))
        except ValueError as error:
            raise InputError(f"{where}: the contract in it is not JSON ({error}); export it again") from error
    if found is None:
        raise InputError(
            f"{where} carries no contract: what it expects (rate, units, channels, filters) and what its answers are "
            "called is not known. Give a file that `harexport export` wrote"
        )
    contract = Contract.from_dict(found, where)
    if runner.window_shape != (contract.window, len(contract.channels)):
        raise InputError(f"{where} reads windows of {runner.window_shape}, which its contract denies; export it again")
    answered = runner.logits(np.zeros((1, *runner.window_shape), np.float32)).shape[1]
    if answered != len(contract.labels):
        raise InputError(f"{where} answers {answered} numbers for {len(contract.labels)} labels; export it again")
    return Model(name, runner, contract)
