"""Network -> proven files: the options, the windows they are proven on, the names they get."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harexport.console import track
from harexport.contract import Contract
from harexport.data import Dataset, differences, load
from harexport.errors import CheckFailedError, InputError
from harexport.exporting import forms
from harexport.exporting.gate import Proof
from harexport.exporting.write import ExportResult, write
from harexport.files import OUT, read_json, write_json
from harexport.network import Network

if TYPE_CHECKING:  # a checkpoint comes from above; exporting needs nothing of training
    from harexport.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Refused:
    """A file that did not pass its gate and was not written: the name it would have had, and why."""

    path: Path
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"path": str(self.path), "refused": self.reason}


def export(
    network: Network,
    path: Path | str | None = None,
    *,
    format: str | None = None,
    scheme: str = "float32",
    lowering: str = "auto",
    batch: int | None = 1,
    io: str = "float32",
    contract: Contract | None = None,
    metadata: dict[str, str] | None = None,
    dataset: Dataset | None = None,
    max_drop: float | None = None,
) -> ExportResult:
    """Write `network` to `path` as a file that has passed its gate.

    path defaults to `harexport-out/model-...`, named after its form; format "onnx" or "tflite" defaults to the path's
    suffix, and that to tflite; scheme, lowering, batch (None: any number of windows) and io are as exporting/forms.py
    lists them. `contract` defaults to UCI HAR's; `metadata` goes into the file. `dataset`: its test windows are what
    the file is judged by, its training windows what full integer is calibrated on and int8 weights are rounded by;
    default: UCI HAR (`harexport.data.load`) where the contract is of its windows and labels, else the file is judged
    by synthetic windows alone and a note says so. `max_drop`: points of accuracy to allow on the test windows instead
    of the scheme's own promise.

    Raises InputError for options that do not exist or do not fit, CheckFailedError when the file fails its gate;
    then whatever was at `path` is still there.
    """
    contract = contract or Contract()
    _check_drop(max_drop)
    asked = format or (Path(path).suffix.lower().removeprefix(".") if path else "tflite")
    form = forms.choose(network, asked, scheme, lowering, batch, io)
    path = Path(path) if path else OUT / form.file_name("model")
    if path.suffix.lower() != f".{form.format}":
        raise InputError(f"{path}: a file in the format {form.format} must be called *.{form.format}")
    _check_fit(network, contract)
    if dataset is None and not differences(contract, Contract()):
        dataset = load()
    dataset = None if dataset is None else dataset.fitting(contract)
    proof = None if dataset is None else proof_of(network, dataset)
    train = None if dataset is None else dataset.train
    return write(network, contract, metadata or {}, path, form, proof, train, max_drop)


def export_checkpoint(
    checkpoint: Checkpoint,
    folder: Path | str,
    dataset: Dataset,
    fmt: str = "all",
    schemes: Sequence[str] = ("float32",),
    lowering: str = "auto",
    batch: int | None = 1,
    io: str = "float32",
    max_drop: float | None = None,
) -> list[ExportResult | Refused]:
    """Export a checkpoint into `folder`, under the names of `Form.file_name`, proven on the test windows of `dataset`.

    fmt "onnx", "tflite" or "all": with "all", the schemes that only one format has are made in that one. The
    contract goes beside them as contract.json. A file that fails its gate does not stop the others. Raises
    InputError before anything is written where the options do not fit, or where the folder's contract.json is
    another one's.
    """
    folder, network = Path(folder), checkpoint.network
    _check_drop(max_drop)
    files = forms.all_of(network, fmt, schemes, lowering, batch, io)
    check_folder(folder, checkpoint.contract)
    dataset = dataset.fitting(checkpoint.contract, checkpoint.recipe.name)
    proof, train = proof_of(network, dataset), dataset.train
    metadata = metadata_of(checkpoint)
    results: list[ExportResult | Refused] = []
    with track(f"exporting {checkpoint.recipe.name}", len(files), "files") as advance:
        for done, form in enumerate(files, 1):
            path = folder / form.file_name(checkpoint.recipe.name)
            try:
                results.append(write(network, checkpoint.contract, metadata, path, form, proof, train, max_drop))
                write_json(folder / "contract.json", checkpoint.contract.to_dict())
            except CheckFailedError as error:
                results.append(Refused(path, str(error)))
            advance(done)
    return results


def metadata_of(checkpoint: Checkpoint) -> dict[str, str]:
    """What a checkpoint's files say of where they come from: strings, some of them JSON."""
    test = checkpoint.figures.get("test") or {}
    figures = {key: test[key] for key in ("accuracy", "macro_f1") if key in test}
    return {
        "recipe": checkpoint.recipe.name,
        "recipe_keys": json.dumps(checkpoint.recipe.to_dict(), sort_keys=True, separators=(",", ":")),
        "seed": str(checkpoint.seed),
        "network_sha256": checkpoint.digest,
        "data": checkpoint.data.get("source", ""),
        "data_sha256": checkpoint.data.get("digest", ""),
        "test_figures": json.dumps(figures),
        "tool_version": checkpoint.tool_version,
    }


def proof_of(network: Network, dataset: Dataset) -> Proof:
    """The test windows of `dataset`, which fit, and what `network` answers to them in float64."""
    with track("float64 reference", len(dataset.test), "windows") as advance:
        return Proof(dataset.test, network.logits(dataset.test.signals, advance))


def _check_drop(max_drop: float | None) -> None:
    if max_drop is not None and not 0 <= max_drop <= 100:
        raise InputError(f"max_drop {max_drop}: give points of accuracy from 0 to 100")


def _check_fit(network: Network, contract: Contract) -> None:
    coarse = len(network.coarse.weight) if network.coarse else 0
    has = (network.window, network.channels, network.labels, coarse)
    wants = (contract.window, len(contract.channels), len(contract.labels), len(contract.coarse_labels))
    if has != wants:
        raise InputError(
            f"the network reads and answers (window, channels, labels, coarse labels) = {has}, its contract says "
            f"{wants}; export it with the contract it was trained with"
        )


def check_folder(folder: Path, contract: Contract) -> None:
    """Raise InputError where `folder` already belongs to models of another contract."""
    path = folder / "contract.json"
    if path.exists() and Contract.from_dict(read_json(path, "contract"), str(path)) != contract:
        raise InputError(
            f"{path} is the contract of models that expect or answer something else; choose another folder with --out"
        )


def only_checkpoint(folder: Path) -> Path:
    """The one .safetensors file in `folder`. Raises InputError where there is none, or more than one to choose from."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise InputError(f"no checkpoint in {folder}: `harexport train` writes one; or name its path")
    if len(found) > 1:
        raise InputError(f"which checkpoint? {folder} holds {', '.join(path.name for path in found)}: name one's path")
    return found[0]
