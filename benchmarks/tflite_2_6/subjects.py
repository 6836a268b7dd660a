"""The .tflite files to run in the old runtime: the published ones, and all other exports of their networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from benchmarks.ship_pretrained import ARTIFACTS
from harexport.data import Dataset
from harexport.data.mounting import adapt_dataset
from harexport.errors import InputError
from harexport.exporters import options
from harexport.exporters.export import build_model
from harexport.model import checkpoint as checkpoints
from harexport.model.contract import Contract
from harexport.model.network import Network
from tests.helpers.networks import GRU_SHAPES, contract_of

RECIPES = ("edge", "edge-tiny", "baseline-lstm", "baseline-gru")
GRUS = ("baseline-gru", "pytorch", "relu-after")  # both reset gate conventions, one and two heads, few and many steps
_BATCHES: dict[str, tuple[int | None, ...]] = {"fused": (1, 4), "loop": (1, None), "unrolled": (1, 4, None)}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A file to run: its name, its bytes, and whether it is published."""

    name: str
    model: bytes
    shipped: bool


def shipped(paths: list[Path]) -> Iterator[Subject]:
    """Yield the .tflite files of files and folders. Raises InputError if there are none."""
    found = [f for path in paths for f in (sorted(path.rglob("*.tflite")) if path.is_dir() else [path])]
    if not found:
        raise InputError(f"no .tflite file in {', '.join(map(str, paths))}")
    for path in found:
        try:
            yield Subject(path.name, path.read_bytes(), True)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def unshipped(dataset: Dataset) -> Iterator[Subject]:
    """Yield all exports of some trained networks, and of GRU networks with random weights."""
    for recipe in RECIPES:
        checkpoint = checkpoints.load(ARTIFACTS / recipe / f"{recipe}.safetensors")
        yield from _forms(recipe, checkpoint.network, checkpoint.contract, dataset)
    for name in GRUS:
        yield from _forms(f"gru-{name}", GRU_SHAPES[name], contract_of(GRU_SHAPES[name]), None)


def _forms(recipe: str, network: Network, contract: Contract, dataset: Dataset | None) -> Iterator[Subject]:
    train = adapt_dataset(dataset, contract).train if dataset else None
    loop = ("loop",) if network.num_steps > options.MAX_UNROLLED_STEPS else ()
    for lowering in (*loop, "unrolled") if network.gru else (*loop, "fused", "unrolled"):
        for scheme in ("float32", "float16", "int8-weights"):
            for batch in _BATCHES[lowering]:
                form = options.resolve(network, "tflite", scheme, lowering, batch)
                model = build_model(network, contract, {"scheme": scheme}, form, train)
                yield Subject(form.file_name(recipe), model, False)
        if train is not None and not network.gru and lowering != "loop":
            for io in options.IO_TYPES:
                form = options.resolve(network, "tflite", "int8", lowering, 1, io)
                model = build_model(network, contract, {"scheme": "int8"}, form, train)
                yield Subject(form.file_name(recipe), model, False)
