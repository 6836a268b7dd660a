"""Network -> a proven file: emit, write beside the target, check in the real runtime, rename."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from harexport.contract import Contract
from harexport.errors import InputError
from harexport.exporting import gate
from harexport.exporting.gate import GateFigures
from harexport.files import read_json, replacing, write_json
from harexport.network import Network

if TYPE_CHECKING:  # a checkpoint comes from above; exporting needs nothing of training
    from harexport.training.checkpoint import Checkpoint

FORMATS = ("onnx", "tflite")
SCHEMES = {"onnx": ("float32",), "tflite": ("float32", "int8-weights")}
LOWERINGS = ("auto", "fused", "unrolled")

# Up to 32 steps the unrolled graph is the faster one for hidden 24 to 48 (FACTS: hidden 32, 52 against 86 us
# at 32 steps, 18 against 43 at 16, 11 against 24 at 8) and hidden 64 ties (271 against 232 at 32, 24 against
# 55 at 8). At 128 steps which is faster depends on the machine (421 against 329 there, 163 against 262 on
# another), but the file has 3000 operators and is over four times as large: fused.
_MOST_UNROLLED_STEPS = 32


@dataclass(frozen=True)
class ExportResult:
    """A file that passed its gate. `lowering` is None for ONNX; `ops` counts its operators; `seconds` is the whole
    export, gate included."""

    path: Path
    format: str
    scheme: str
    lowering: str | None
    size_bytes: int
    seconds: float
    ops: dict[str, int]
    gate: GateFigures

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


def export(
    network: Network,
    contract: Contract,
    metadata: dict[str, str],
    path: Path | str,
    fmt: str = "tflite",
    scheme: str = "float32",
    lowering: str = "auto",
) -> ExportResult:
    """Write `network` to `path`. `metadata` goes into the file, with its scheme and lowering.

    Raises InputError for options that do not exist or do not fit, CheckFailedError when the file fails its
    gate; then whatever was at `path` is still there.
    """
    began = time.perf_counter()
    path = Path(path)
    chosen = choose_lowering(network, fmt, scheme, lowering)
    if path.suffix.lower() != f".{fmt}":
        raise InputError(f"{path}: a file in the format {fmt} must be called *.{fmt}")
    _check_fit(network, contract)
    facts = {**metadata, "scheme": scheme, **({"lowering": chosen} if chosen else {})}
    model = _emit(network, contract, facts, scheme, chosen)
    float32_size = len(model) if scheme == "float32" else len(_emit(network, contract, facts, "float32", chosen))
    with replacing(path) as temporary:
        temporary.write_bytes(model)
        # what is checked is what was written
        held, figures = gate.check(temporary.read_bytes(), network, contract, fmt, scheme, chosen, float32_size)
    return ExportResult(path, fmt, scheme, chosen, len(model), time.perf_counter() - began, held.ops, figures)


def export_checkpoint(
    checkpoint: Checkpoint, folder: Path | str, fmt: str = "all", quantize: bool = False, lowering: str = "auto"
) -> list[ExportResult]:
    """Export a checkpoint into `folder`, under the names of `file_name`.

    fmt "onnx", "tflite" or "all"; `quantize` asks for int8 weights: instead of float32, with "all" besides it.
    The contract goes beside them as contract.json. Raises InputError before anything is written where the
    options do not fit, or where the folder's contract.json is another one's.
    """
    wanted = [("onnx", "float32"), ("tflite", "float32")] + [("tflite", "int8-weights")] * quantize
    if fmt != "all":
        wanted = [(fmt, "int8-weights" if quantize else "float32")]
    metadata = {
        "recipe": checkpoint.recipe.name,
        "seed": str(checkpoint.seed),
        "network_sha256": checkpoint.digest,
        "tool_version": checkpoint.tool_version,
    }
    files = []
    for form, scheme in wanted:
        # "all" with a lowering means the .tflite files; ONNX has its own LSTM operator
        asked = "auto" if (fmt, form) == ("all", "onnx") else lowering
        chosen = choose_lowering(checkpoint.network, form, scheme, asked)
        files.append((form, scheme, asked, Path(folder) / file_name(checkpoint.recipe.name, form, scheme, chosen)))
    check_folder(Path(folder), checkpoint.contract)
    write_json(Path(folder) / "contract.json", checkpoint.contract.to_dict())
    return [
        export(checkpoint.network, checkpoint.contract, metadata, path, form, scheme, asked)
        for form, scheme, asked, path in files
    ]


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


def text(result: ExportResult) -> str:
    """One line for people."""
    return (
        f"{result.path}: {result.size_bytes / 1000:.1f} KB, {sum(result.ops.values())} operators, "
        f"logits within {result.gate.max_logit_difference:.1e} of the reference, {result.seconds:.2f} s"
    )


def choose_lowering(network: Network, fmt: str, scheme: str, lowering: str = "auto") -> str | None:
    """Check the three options; answer "fused" or "unrolled", or None for ONNX, which has one. Raises InputError."""
    if fmt not in FORMATS:
        raise InputError(f"unknown format {fmt!r}; choose one of {', '.join(FORMATS)}")
    if scheme not in SCHEMES[fmt]:
        known = "; ".join(f"{name} comes in {', '.join(schemes)}" for name, schemes in SCHEMES.items())
        raise InputError(f"there is no {scheme!r} for the format {fmt}: {known}")
    if lowering not in LOWERINGS:
        raise InputError(f"unknown lowering {lowering!r}; choose one of {', '.join(LOWERINGS)}")
    if fmt == "onnx":
        if lowering != "auto":
            raise InputError(
                f"the lowering {lowering!r} is for tflite; ONNX has its own LSTM operator: leave it at auto"
            )
        return None
    if lowering == "auto":
        return "unrolled" if network.steps <= _MOST_UNROLLED_STEPS else "fused"
    return lowering


def file_name(recipe: str, fmt: str, scheme: str, lowering: str | None) -> str:
    """`<recipe>-<lowering>-<scheme>.tflite` or `<recipe>-<scheme>.onnx`; `lowering` as `choose_lowering` answers it."""
    return "-".join(part for part in (recipe, lowering, scheme) if part) + f".{fmt}"


def _check_fit(network: Network, contract: Contract) -> None:
    has = (network.window, network.channels, network.labels)
    wants = (contract.window, len(contract.channels), len(contract.labels))
    if has != wants:
        raise InputError(
            f"the network reads and answers (window, channels, labels) = {has}, its contract says {wants}; "
            "export it with the contract it was trained with"
        )


def _emit(network: Network, contract: Contract, metadata: dict[str, str], scheme: str, lowering: str | None) -> bytes:
    if lowering is None:
        from harexport.exporting import onnx

        return onnx.emit(network, contract, metadata)
    from harexport.exporting import tflite

    return tflite.emit(
        network,
        contract,
        metadata,
        cast(Literal["fused", "unrolled"], lowering),
        cast(Literal["float32", "int8-weights"], scheme),
    )
