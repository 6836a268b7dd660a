"""A model, its labels and its contract where the Android demo reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harexport.contract import CHANNELS, Contract
from harexport.errors import InputError
from harexport.exporting import labels_file
from harexport.exporting.forms import Form
from harexport.files import check_writable, replacing

ASSETS = Path("app/src/main/assets")
MODEL_NAME, CONTRACT_NAME = "model.tflite", "contract.json"
# Above this Android asks apps for the permission HIGH_SAMPLING_RATE_SENSORS, which the demo does not have.
_HIGHEST_RATE_HZ = 200.0
_UNITS = {"acc": "g", "gyro": "rad/s"}


def check(contract: Contract, forms: Sequence[Form], project: Path) -> None:
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
    if filters.median != 3:
        reasons.append(f"its median is of 3 samples, not of {filters.median}")
    if contract.hop > contract.window:
        reasons.append(f"a hop of {contract.hop} leaves out samples of windows of {contract.window}")
    if reasons:
        raise InputError(f"the Android demo cannot serve this model: {'; '.join(reasons)}")


def place(model: Path, contract: Contract, project: Path) -> list[Path]:
    """Copy a .tflite that has passed its gate, with its labels and contract, into the Android project `project`.

    All three are written before the first takes its name. Returns their paths. Raises InputError where they cannot be
    written.
    """
    assets = project / ASSETS
    contents = {
        MODEL_NAME: model.read_bytes(),
        labels_file.LABELS_NAME: labels_file.lines(contract.labels).encode(),
        CONTRACT_NAME: (json.dumps(contract.to_dict(), indent=2, ensure_ascii=False) + "\n").encode(),
    }
    paths = [assets / name for name in contents]
    with replacing(paths[0]) as first, replacing(paths[1]) as second, replacing(paths[2]) as third:
        for temporary, content in zip((first, second, third), contents.values(), strict=True):
            temporary.write_bytes(content)
    return paths
