"""Command `harexport export`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harexport.commands.options import (
    SectionedCommand,
    data_option,
    json_option,
    load_data_for,
    option,
    out_option,
    print_result,
)
from harexport.errors import InputError

if TYPE_CHECKING:
    from harexport.data.dataset import Dataset
    from harexport.importers.onnx import ImportedModel
    from harexport.model.contract import Contract

_COMPARED_WINDOWS = 256  # test windows on which an imported network is compared with the original


@click.command(cls=SectionedCommand)
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@data_option
@option(
    "--format",
    "fmt",
    section="Format",
    type=click.Choice(["onnx", "tflite", "all"]),
    default="all",
    show_default=True,
    help="File format.",
)
@option(
    "--quantize",
    section="Format",
    multiple=True,
    is_flag=False,
    flag_value="int8-weights",
    metavar="[=SCHEME]",
    help="int8-weights (the default), float16, or int8 (full integer). Repeatable. With --format all: in addition to "
    "the float32 files.",
)
@option(
    "--lowering",
    section="Format",
    type=click.Choice(["auto", "fused", "loop", "unrolled"]),
    default="auto",
    show_default=True,
    help="TFLite only. unrolled: plain operators for every step, fastest for few steps. loop: those of one step in a "
    "WHILE, fastest for many. fused: one LSTM operator a layer, smallest.",
)
@option("--batch", section="Format", default="1", show_default=True, help="Batch size: a number, or dynamic.")
@option(
    "--io",
    section="Format",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="Input and output type of full-integer files.",
)
@option(
    "--stream",
    section="Format",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Write files that read STEPS steps and the state, and return the new state. Default: whole windows.",
)
@option(
    "--contract",
    section="Input",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Contract of an ONNX model: a contract.json with its channels, rate and labels. Default: that of UCI HAR.",
)
@option("--labels", section="Input", metavar="A,B,C", help="Labels of an ONNX model, in the order of its logits.")
@option(
    "--max-drop",
    section="Checks",
    type=click.FloatRange(0, 100),
    help="Largest accuracy drop on the test set, in percentage points. Default: the tolerance of the scheme.",
)
@option(
    "--android",
    section="Output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Android project whose app receives the model, labels, contract and golden test vectors (one .tflite file).",
)
@option(
    "--android-library",
    section="Output",
    type=click.Path(path_type=Path, file_okay=False),
    help="New folder for an Android library: the model with the Kotlin code that runs it on the phone's sensors.",
)
@out_option
@json_option
def export(
    checkpoint: Path | None,
    fmt: str,
    quantize: tuple[str, ...],
    lowering: str,
    batch: str,
    io: str,
    stream: int | None,
    contract: Path | None,
    labels: str | None,
    max_drop: float | None,
    android: Path | None,
    android_library: Path | None,
    data: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Export a checkpoint or ONNX model, and check every file.

    CHECKPOINT is a .safetensors or .onnx file. Default: the checkpoint in --out. A file is written only after it passed
    its checks in its runtime. Exit code 1: a file failed its checks and was not written.

    \b
    Example:  harexport export
              harexport export harexport-out/edge.safetensors --format tflite --quantize
              harexport export --format tflite --quantize=int8 --lowering fused
              harexport export --data my-recordings --quantize --android android_demo
              harexport export --format tflite --android-library my-app/recognition
              harexport export my-network.onnx --labels still,walking --quantize
    """
    from harexport.exporters.android import check_model, check_project, write_assets
    from harexport.exporters.android_library import check_folder, write_library
    from harexport.exporters.export import (
        ExportFailure,
        export_checkpoint,
        export_network,
        find_checkpoint,
        format_result,
    )
    from harexport.exporters.locations import record_checkpoint
    from harexport.exporters.options import parse_batch, parse_schemes, resolve_all
    from harexport.model.checkpoint import load

    path = checkpoint or find_checkpoint(out)
    if (android or android_library) and fmt == "all":
        fmt = "tflite"
    schemes, batch_size = parse_schemes(fmt, quantize), parse_batch(batch)
    if path.suffix.lower() == ".onnx":
        imported, model_contract, dataset = load_onnx_model(path, contract, labels, data)
        network, name, trained, notes = imported.network, path.stem, None, list(imported.notes)
        if not contract and not imported.contract and not data:
            notes.append("The channels, units and sampling rate are those of UCI HAR; give others with --contract.")
    elif contract or labels:
        raise InputError("--contract and --labels are for ONNX models; a checkpoint has its own contract")
    else:
        trained = load(path)
        network, model_contract, name, notes = trained.network, trained.contract, trained.recipe.name, []
    if (android or android_library) and stream:
        raise InputError("--android and --android-library take files of whole windows; leave out --stream")
    if android or android_library:
        options = resolve_all(network, fmt, schemes, lowering, batch_size, io)
        if android:
            check_project(model_contract, options, android)
        if android_library:
            check_model(model_contract, options)
            check_folder(android_library)
    if trained is None:
        metadata = {"source": path.name}
        results = export_network(
            network,
            model_contract,
            metadata,
            name,
            out,
            dataset,
            fmt,
            schemes,
            lowering,
            batch_size,
            io,
            max_drop,
            stream,
        )
    else:
        dataset = load_data_for(data, model_contract, name)
        results = export_checkpoint(trained, out, dataset, fmt, schemes, lowering, batch_size, io, max_drop, stream)
        record_checkpoint(trained.digest, path)
    failures = [result for result in results if isinstance(result, ExportFailure)]
    assets = write_assets(results[0].path, android) if android and not failures else []
    library = write_library(results[0].path, android_library) if android_library and not failures else []
    lines = [
        f"Failed: {result.reason}" if isinstance(result, ExportFailure) else format_result(result) for result in results
    ]
    lines += [f"Android: {path}" for path in assets]
    if library:
        lines.append(f"Android library: {android_library} ({len(library)} files); see its README.md")
    lines += notes
    document = {
        "files": [result.to_dict() for result in results],
        "android": [str(path) for path in assets + library],
        "notes": notes,
    }
    print_result(document, as_json, "\n".join(lines))
    if failures:
        sys.exit(1)


def load_onnx_model(
    path: Path, contract_path: Path | None, labels: str | None, data: Path | None
) -> tuple[ImportedModel, Contract, Dataset | None]:
    """Import a .onnx file, and return it with its contract and the dataset for its checks.

    Args:
        path: The file.
        contract_path: contract.json of the model. Default: the contract in the file, else that of the dataset, else
            that of UCI HAR.
        labels: Labels of the model, separated by commas. Default: those of the contract.
        data: Dataset. Default: UCI HAR if the contract matches it, else None.

    Raises:
        InputError: The model cannot be imported, it does not fit the contract, or it differs from the imported network
            on the test windows.
    """
    import numpy as np

    from harexport.data import contract_mismatches, load_dataset
    from harexport.importers.onnx import load_onnx
    from harexport.model.contract import Contract
    from harexport.utils.files import read_json

    contract = load_dataset(data).contract if data and not contract_path else Contract()
    if contract_path:
        contract = Contract.from_dict(read_json(contract_path, "contract"), str(contract_path))
    try:
        imported = load_onnx(path, len(contract.channels))
    except InputError as error:
        if contract_path:
            raise
        imported = load_onnx(path)
        if (imported.network.num_channels, imported.network.window) == (contract.window, len(contract.channels)):
            raise error from None  # it can be imported only with time and channels exchanged
    if imported.contract and not contract_path:
        contract = Contract.from_dict(imported.contract, str(path))
    if labels:
        contract = dataclasses.replace(contract, labels=tuple(label.strip() for label in labels.split(",")))
    network = imported.network
    if (network.window, network.num_channels) != (contract.window, len(contract.channels)):
        raise InputError(
            f"{path} takes windows of {network.window} samples and {network.num_channels} channels, the contract has "
            f"{contract.window} and {len(contract.channels)}. Give the contract of the model with --contract"
        )
    if network.num_labels != len(contract.labels):
        raise InputError(
            f"{path} has {network.num_labels} logits, the contract {len(contract.labels)} labels. Give the labels of "
            "the model with --labels"
        )
    is_default = not contract_mismatches(contract, Contract())
    dataset = load_data_for(data, contract, path.stem) if data or is_default else None
    if dataset is not None and len(dataset.test):
        positions = np.linspace(0, len(dataset.test) - 1, min(len(dataset.test), _COMPARED_WINDOWS)).astype(int)
        imported.compare(np.asarray(dataset.test.signals[positions], np.float32))
    return imported, contract, dataset
