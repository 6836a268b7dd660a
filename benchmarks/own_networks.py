"""Compare harexport with other converters on networks that were written in PyTorch.

The networks of converters/networks.py are trained for a few minutes, once, and converted by harexport from their .onnx
file and by other converters. All files are compared with PyTorch in float64 on test windows, and timed in one
interleaved run. Writes own_networks.json and the block `own-networks` of docs/own-networks.md.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks.converters import converting, environments, measuring, own_table
from benchmarks.converters.pipelines import OWN_PIPELINES, Pipeline
from benchmarks.readme import replace_block
from harexport.data import Dataset, load_dataset
from harexport.data.dataset import Windows
from harexport.data.uci_har.download import cache_folder
from harexport.errors import InputError
from harexport.evaluation.environment import describe
from harexport.utils import files
from harexport.utils.console import info, print_messages, progress

JSON = ROOT / "benchmarks" / "own_networks.json"
CALIBRATION = 200
_STRIDE = 4  # every fourth test window: windows overlap, and some files take 10 ms
_SUPPORTED = ("deepconvlstm", "cnn-lstm", "bilstm", "residual-bilstm", "cnn", "gru")
_OUT_OF_SCOPE = "layernorm-lstm"
NAMES = (*_SUPPORTED, _OUT_OF_SCOPE)
_PAGE = ROOT / "docs" / "own-networks.md"


@dataclass(frozen=True)
class _Shape:
    """Shape of a window, for `measuring.measure`."""

    window: int
    num_channels: int


def compare(names: tuple[str, ...], work: Path, environment_folder: Path, reuse: bool, runs: int) -> dict[str, Any]:
    """Train, convert and measure the networks, and return the content of the JSON."""
    from benchmarks.converters.networks import CHANNELS, WINDOW
    from benchmarks.converters.train_networks import BATCH, EPOCHS, train

    dataset = load_dataset()
    test = _every(dataset.test, _STRIDE)
    rows, references, accuracies = [], {}, {}
    for name in names:
        train(name, dataset, work / name / "weights.pt")
        references[name] = _reference(name, work / name, test)
        accuracies[name] = float((references[name].argmax(axis=1) == test.labels).mean())
        rows += _convert(name, work / name, environment_folder, reuse, dataset)
    measured_files = {}
    with progress("running all files on test windows", len(rows), "files") as advance:
        for done, row in enumerate(rows, 1):
            path = work / row["model"] / f"{row['key']}.{row['format']}"
            if not row["failure"]:
                try:
                    measured = measuring.measure(path, _Shape(WINDOW, CHANNELS), references[row["model"]], test)  # type: ignore[arg-type]
                    row |= measured.figures
                    measured_files[f"{row['model']}/{row['key']}"] = measured
                except InputError as error:
                    row["failure"] = f"its runtime rejects it: {environments.without_paths(str(error))}"
            advance(done)
    latency, _ = measuring.time_models(measured_files, {}, test, runs)
    for row in rows:
        if not row["failure"]:
            row["latency"] = latency[f"{row['model']}/{row['key']}"]
    result = {
        "command": "python benchmarks/own_networks.py",
        "machine": describe(),
        "environments": {name: environments.versions(name) for name in ("harexport", *environments.COSTS)},
        "training": {"epochs": EPOCHS, "batch": BATCH},
        "networks": {name: {"accuracy": accuracies[name]} for name in names},
        "data": {"source": dataset.source, "digest": dataset.digest, "test_windows": len(test)},
        "runs": runs,
        "rows": rows,
    }
    return {**result, "targets": own_table.targets(result)}


def _every(windows: Windows, stride: int) -> Windows:
    return Windows(windows.signals[::stride], windows.labels[::stride], windows.subjects[::stride])


def _reference(name: str, folder: Path, test: Windows) -> np.ndarray:
    """Return the logits of PyTorch in float64."""
    import torch

    from benchmarks.converters.networks import load

    module = load(name, str(folder / "weights.pt")).double()
    with torch.no_grad():
        parts = [module(torch.from_numpy(part.astype(np.float64))) for part in np.array_split(test.signals, 8)]
    return np.concatenate([part.numpy() for part in parts])


def _convert(name: str, folder: Path, environment_folder: Path, reuse: bool, dataset: Dataset) -> list[dict[str, Any]]:
    chosen = np.random.default_rng(0).choice(len(dataset.train.signals), CALIBRATION, replace=False)
    np.save(folder / "calibration.npy", dataset.train.signals[np.sort(chosen)].astype(np.float32))
    (folder / "name.txt").write_text(name, "utf-8")
    rows: list[dict[str, Any]] = []
    files_of_ours: set[bytes] = set()
    with progress(f"converting {name}", len(OWN_PIPELINES), "ways") as advance:
        for done, way in enumerate(OWN_PIPELINES, 1):
            source = folder / ("torchscript.onnx" if way.ours else "weights.pt")
            made = _convert_once(way, source, folder, environment_folder, reuse)
            if way.key == "torchscript" and not made["failure"]:
                _write_layers(name, folder)
            info(f"{name} {way.key}: {made['failure'] or format(made['seconds'], '.2f') + ' s'}")
            advance(done)
            if way.ours and not made["failure"]:
                content = (folder / f"{way.key}{way.suffix}").read_bytes()
                if content in files_of_ours:  # --lowering auto selected the same lowering
                    continue
                files_of_ours.add(content)
            result = {"who": way.who, "scheme": way.scheme, "format": way.suffix[1:], "ours": way.ours}
            rows.append({"model": name, "key": way.key, **result, "by_tensorflow": way.by_tensorflow, **made})
    return rows


def _convert_once(way: Pipeline, source: Path, folder: Path, environment_folder: Path, reuse: bool) -> dict[str, Any]:
    made = converting.convert(way, source, folder, environment_folder, reuse)
    made.pop("sign")
    return made


def _write_layers(name: str, folder: Path) -> None:
    """Write the layers for convert_networks.py, which builds them in Keras."""
    if name == _OUT_OF_SCOPE:
        layers = _layer_norm_layers(folder)
    else:
        from harexport.importers.onnx import from_onnx
        from harexport.model.folding import simplify

        network = from_onnx(folder / "torchscript.onnx")
        layers = [_plain(layer) for layer in simplify(network.layers, into_recurrent=False)]
    (folder / "layers.pickle").write_bytes(pickle.dumps(layers))


def _plain(layer: Any) -> dict[str, Any]:
    """Return the fields of a layer. The field `kind` of pools, activations and branches becomes `pool`."""
    values: dict[str, Any] = {"kind": type(layer).__name__}
    for field in fields(layer):
        value = getattr(layer, field.name)
        if field.name == "branches":
            value = [[_plain(part) for part in branch] for branch in value]
        elif isinstance(value, np.ndarray):
            value = value.astype(np.float32)
        if field.name == "layer":
            values["cell"] = _plain(value)
        else:
            values["pool" if field.name == "kind" else field.name] = value
    return values


def _layer_norm_layers(folder: Path) -> list[dict[str, Any]]:
    import torch

    state = {name: values.numpy() for name, values in torch.load(folder / "weights.pt", weights_only=True).items()}

    def cell(name: str, sequence: bool) -> dict[str, Any]:
        inner = {
            "kind": "LstmLayer",
            "input_weight": state[f"{name}.weight_ih_l0"],
            "recurrent_weight": state[f"{name}.weight_hh_l0"],
            "bias": state[f"{name}.bias_ih_l0"] + state[f"{name}.bias_hh_l0"],
        }
        return {"kind": "Recurrent", "cell": inner, "backward": False, "sequence": sequence}

    return [
        {"kind": "Normalize", "mean": state["mean"], "std": state["std"]},
        cell("first", True),
        {"kind": "LayerNorm", "gamma": state["norm.weight"], "beta": state["norm.bias"]},
        cell("second", False),
        {"kind": "Linear", "weight": state["head.weight"], "bias": state["head.bias"]},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reuse", action="store_true", help="keep the valid conversions of an earlier run")
    parser.add_argument("--render", action="store_true", help="measure nothing; render the block from the JSON")
    parser.add_argument("--runs", type=int, default=300, help="timed runs a file (default 300)")
    parser.add_argument("--networks", nargs="+", choices=NAMES, default=NAMES, help="default: all")
    parser.add_argument("--work", type=Path, default=ROOT / "harexport-out" / "own-networks", help="where files go")
    parser.add_argument("--environments", type=Path, help="where other converters are installed (default: the cache)")
    options = parser.parse_args()
    if options.render:
        measured = json.loads(JSON.read_text("utf-8"))
        measured["targets"] = own_table.targets(measured)
    else:
        folder = options.environments or cache_folder() / "peers"
        names = tuple(options.networks)
        measured = compare(names, options.work.resolve(), folder.resolve(), options.reuse, options.runs)
    print(own_table.terminal(measured))
    if set(measured["networks"]) == set(NAMES):
        files.write_json(JSON, measured)
        text = _PAGE.read_text("utf-8")
        files.write_text(_PAGE, replace_block(text, "own-networks", own_table.render(measured)))


if __name__ == "__main__":
    print_messages()
    main()
