"""Load model files and checkpoints together with their contract, and the pretrained model of the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harexport import runtimes
from harexport.errors import InputError
from harexport.formats import read_model_bytes
from harexport.model.contract import CONTRACT_KEY, Contract
from harexport.model.layers import Array
from harexport.model.network import Network
from harexport.runtimes.runner import ReferenceRunner, Runner, check_suffix
from harexport.runtimes.sandbox import SandboxedRunner
from harexport.utils import files

# Copies of files in artifacts/; the second one is for recordings without a gyroscope.
PRETRAINED, PRETRAINED_ACC = "edge-any-mount.tflite", "edge-any-mount-acc.tflite"


@dataclass(frozen=True)
class Model:
    """A loaded model with its contract.

    Attributes:
        name: File name.
        runner: The model in its runtime.
        contract: Its inputs and outputs.
        network: The network of a checkpoint, which `harexport.export` takes; None for an exported file.
    """

    name: str
    runner: Runner
    contract: Contract
    network: Network | None = None

    def logits(self, windows: Array) -> NDArray[Any]:
        """Windows [n, window, channels] in physical units -> logits [n, labels]. Raises InputError."""
        return self.runner.logits(windows)


def load_model(path: Path | str | None = None) -> Model:
    """Load a file that harexport wrote.

    The file may come from anywhere: it runs in a child process (see sandbox.py).

    Args:
        path: A .tflite, .onnx or .safetensors file; None for the pretrained model of the package.

    Raises:
        InputError: The file cannot be run, or has no contract.
    """
    if path is None:
        return load_pretrained()
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        from harexport.model import checkpoint as checkpoints

        checkpoint = checkpoints.load(path)
        runner = ReferenceRunner(checkpoint.network, str(path))
        return Model(path.name, runner, checkpoint.contract, checkpoint.network)
    check_suffix(path.suffix, str(path))
    content = read_model_bytes(path)
    return _to_model(SandboxedRunner(content, path.suffix, str(path)), content, path.suffix, path.name)


def load_pretrained(has_gyroscope: bool = True) -> Model:
    """Load a pretrained model of the package, for a phone that is worn in any orientation at the waist.

    Args:
        has_gyroscope: Whether the recording has a gyroscope; the model for those without has a lower accuracy.
    """
    file = PRETRAINED if has_gyroscope else PRETRAINED_ACC
    name = f"{file}, the pretrained model"
    content = (resources.files("harexport.pretrained") / file).read_bytes()
    return _to_model(runtimes.load_bytes(content, ".tflite", name), content, ".tflite", name)


def update_pretrained(source: Path, name: str = PRETRAINED) -> Path:
    """Copy an exported .tflite over a pretrained model of the package (called by artifacts/mounted_models.py)."""
    target = Path(str(resources.files("harexport.pretrained") / name))
    files.write_bytes(target, source.read_bytes())
    return target


def _to_model(runner: Runner, content: bytes, suffix: str, name: str) -> Model:
    where = runner.name
    found = _read_contract(content, suffix, runner, where)
    if found is None:
        raise InputError(
            f"{where} contains no contract, so its rate, units, channels, filters and labels are unknown. Give a file "
            "that `harexport export` wrote"
        )
    contract = Contract.from_dict(found, where)
    if runner.window_shape != (contract.window, len(contract.channels)):
        raise InputError(
            f"{where} expects windows of {runner.window_shape}, its contract {contract.window} samples of "
            f"{len(contract.channels)} channels; export it again"
        )
    labels = runner.logits(np.zeros((1, *runner.window_shape), np.float32)).shape[1]
    if labels != len(contract.labels):
        raise InputError(f"{where} has {labels} logits for {len(contract.labels)} labels; export it again")
    return Model(name, runner, contract)


def _read_contract(content: bytes, suffix: str, runner: Runner, where: str) -> Any:
    """The contract as plain JSON values, None where there is none."""
    if suffix.lower() == ".tflite":
        from harexport.formats.tflite_reader import read_metadata

        return read_metadata(content, where)["contract"]
    return files.parse_json(runner.metadata.get(CONTRACT_KEY, "null"), f"the contract in {where}")
