"""A model, its labels, its contract and its golden windows where the Android demo reads them."""

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
# Above this Android asks apps for the permission HIGH_SAMPLING_RATE_SENSORS, which the demo does not have.
_HIGHEST_RATE_HZ = 200.0
# What core/Contract.kt, Butterworth.kt and Sections.kt refuse.
_LARGEST_WINDOW, _HIGHEST_ORDER, _LONGEST_MEDIAN = 1_000_000, 100, 9999
_UNITS = {"acc": "g", "gyro": "rad/s"}


def check_project(contract: Contract, forms: Sequence[ExportOptions], project: Path) -> None:
    """Raise InputError where the app in `project` cannot serve what is to be exported, before any work."""
    if not (project / "app").is_dir():
        raise InputError(f"{project} is no folder that holds app/: name the Android project")
    check_writable(project / ASSETS)
    if len(forms) != 1:
        raise InputError("the Android demo takes one model: ask for one scheme")
    form, reasons = forms[0], []
    if form.format != "tflite":
        reasons.append(f"it runs .tflite files, not {form.format}")
    if form.batch != 1 or form.io != "float32":
        reasons.append("it asks for one window at a time, in floats")
    if unknown := [name for name in contract.channels if name not in CHANNELS]:
        reasons.append(f"its sensors have no {', '.join(unknown)} (there are {', '.join(CHANNELS)})")
    for name, unit in zip(contract.channels, contract.units, strict=True):
        kind = "gyro" if "gyro" in name else "acc"
        if name in CHANNELS and unit != _UNITS[kind]:
            reasons.append(f"it hands over {name} in {_UNITS[kind]}, not in {unit}")
    if not contract.rate_hz <= _HIGHEST_RATE_HZ:
        reasons.append(f"{contract.rate_hz:g} Hz is above the {_HIGHEST_RATE_HZ:g} that Android gives every app")
    filters = contract.filters
    for stage, lowpass in (("noise", filters.noise), ("gravity", filters.gravity), ("drift", filters.drift)):
        if not 0 < lowpass.cutoff_hz < contract.rate_hz / 2:
            reasons.append(f"a {stage} cutoff of {lowpass.cutoff_hz:g} Hz is no filter at {contract.rate_hz:g} Hz")
        if not 1 <= lowpass.order <= _HIGHEST_ORDER:
            reasons.append(f"it makes {stage} filters of orders 1 to {_HIGHEST_ORDER}, not {lowpass.order}")
    if not 1 <= filters.median <= _LONGEST_MEDIAN or filters.median % 2 == 0:
        reasons.append(f"its median is of 1, 3, 5, ... {_LONGEST_MEDIAN} samples, not of {filters.median}")
    if contract.window * len(contract.channels) > _LARGEST_WINDOW:
        reasons.append(f"its windows hold {_LARGEST_WINDOW} numbers at most")
    if contract.hop > contract.window:
        reasons.append(f"a hop of {contract.hop} leaves out samples of windows of {contract.window}")
    if reasons:
        raise InputError(f"the Android demo cannot serve this model: {'; '.join(reasons)}")


def write_assets(model: Path, project: Path) -> list[Path]:
    """Put a .tflite of `harexport export` into the Android project `project`: the file, its labels, its contract, and
    the golden windows that prove it on the phone.

    All are written before the first takes its name. Returns their paths. Raises InputError where the file is none of
    ours, or one cannot be written; then nothing has changed.
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
            raise InputError(f"{path} is a folder: remove it, a file of this name belongs there")
    with contextlib.ExitStack() as all_of_them:
        temporaries = [all_of_them.enter_context(atomic_write(path)) for path in paths]
        for temporary, part in zip(temporaries, contents.values(), strict=True):
            temporary.write_bytes(part)
    return paths
