"""Writes a model, its labels, its contract and its test vectors to the assets of the Android demo."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from harexport.errors import InputError
from harexport.exporters import golden as android_golden
from harexport.exporters.options import ExportOptions
from harexport.formats import tflite_metadata
from harexport.model.contract import CHANNELS, Contract
from harexport.runtimes import model as models
from harexport.utils.files import atomic_write, check_writable

ASSETS = Path("app/src/main/assets")
MODEL_NAME, CONTRACT_NAME, GOLDEN_NAME = "model.tflite", "contract.json", "golden.json"
# Higher rates need the permission HIGH_SAMPLING_RATE_SENSORS, which the demo does not request.
_MAX_RATE_HZ = 200.0
# Limits of the demo's Contract.kt and SosFilter.kt.
_MAX_WINDOW_SIZE, _MAX_MEDIAN = 1_000_000, 9999
_UNITS = {"acc": "g", "gyro": "rad/s"}


def check_project(contract: Contract, files: Sequence[ExportOptions], project: Path) -> None:
    """Check that the Android demo supports a model, before its export.

    Args:
        contract: Contract of the model.
        files: Options of the files to export.
        project: Folder of the Android project.

    Raises:
        InputError: The folder is no Android project, it is not writable, or the demo does not support the model.
    """
    if not (project / "app").is_dir():
        raise InputError(f"{project} has no folder app; give the path of the Android project")
    check_writable(project / ASSETS)
    if len(files) != 1:
        raise InputError("the Android demo takes one model; give one quantization scheme")
    options, reasons = files[0], []
    if options.format != "tflite":
        reasons.append(f"it runs .tflite files, not {options.format}")
    if options.batch != 1 or options.io != "float32":
        reasons.append("it runs one window at a time, in float32")
    if unknown := [name for name in contract.channels if name not in CHANNELS]:
        reasons.append(f"it has no channel {', '.join(unknown)} (available: {', '.join(CHANNELS)})")
    for name, unit in zip(contract.channels, contract.units, strict=True):
        kind = "gyro" if "gyro" in name else "acc"
        if name in CHANNELS and unit != _UNITS[kind]:
            reasons.append(f"it provides {name} in {_UNITS[kind]}, not in {unit}")
    if not contract.rate_hz <= _MAX_RATE_HZ:
        reasons.append(f"{contract.rate_hz:g} Hz is above {_MAX_RATE_HZ:g} Hz, the highest rate without a permission")
    filters = contract.filters
    for stage, lowpass in (("noise", filters.noise), ("gravity", filters.gravity), ("drift", filters.drift)):
        if not 0 < lowpass.cutoff_hz < contract.rate_hz / 2:
            reasons.append(f"the {stage} cutoff of {lowpass.cutoff_hz:g} Hz is invalid at {contract.rate_hz:g} Hz")

    if not 1 <= filters.median <= _MAX_MEDIAN or filters.median % 2 == 0:
        reasons.append(f"its median filter has an odd length up to {_MAX_MEDIAN}, not {filters.median}")
    if contract.window * len(contract.channels) > _MAX_WINDOW_SIZE:
        reasons.append(f"its windows have at most {_MAX_WINDOW_SIZE} values")
    if contract.hop > contract.window:
        reasons.append(f"a hop of {contract.hop} skips samples between windows of {contract.window}")
    if reasons:
        raise InputError(f"the Android demo does not support this model: {'; '.join(reasons)}")


def write_assets(model: Path, project: Path) -> list[Path]:
    """Write a .tflite file of `harexport export`, its labels, its contract and its test vectors to an Android project.

    All files are written before the first one replaces an existing file.

    Args:
        model: The .tflite file.
        project: Folder of the Android project.

    Returns:
        The paths of the written files.

    Raises:
        InputError: The file is not an export of this tool, or a file cannot be written. Nothing was changed.
    """
    loaded, content = models.load_model(model), model.read_bytes()
    contract = loaded.contract
    contract_json = (json.dumps(contract.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()
    golden = android_golden.make_test_vectors(
        loaded.runner, loaded.runner.metadata["scheme"], contract, content, contract_json
    )
    contents = {
        MODEL_NAME: content,
        tflite_metadata.LABELS_NAME: tflite_metadata.labels_text(contract.labels).encode(),
        CONTRACT_NAME: contract_json,
        GOLDEN_NAME: android_golden.to_json(golden).encode(),
    }
    paths = [project / ASSETS / name for name in contents]
    for path in paths:
        if path.is_dir():
            raise InputError(f"{path} is a folder; remove it")
    with contextlib.ExitStack() as stack:
        temporaries = [stack.enter_context(atomic_write(path)) for path in paths]
        for temporary, part in zip(temporaries, contents.values(), strict=True):
            temporary.write_bytes(part)
    return paths
