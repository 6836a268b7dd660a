"""Writes a model, its labels, its contract and its test vectors to the assets of an Android app."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harexport.errors import InputError
from harexport.exporters import golden as android_golden
from harexport.exporters.options import ExportOptions
from harexport.formats import tflite_metadata
from harexport.model.contract import CHANNELS, Contract
from harexport.runtimes import model as models
from harexport.utils.files import atomic_write, check_writable, write_bytes

ASSETS = Path("src/main/assets")  # in a module
MODEL_NAME, CONTRACT_NAME, GOLDEN_NAME = "model.tflite", "contract.json", "golden.json"
# Higher rates need the permission HIGH_SAMPLING_RATE_SENSORS, which the demo does not request.
_MAX_RATE_HZ = 200.0
# Limits of the demo's Contract.kt and SosFilter.kt.
_MAX_WINDOW_SIZE, _MAX_MEDIAN = 1_000_000, 9999
_UNITS = {"acc": "g", "gyro": "rad/s"}
_SCRIPTS = ("build.gradle.kts", "build.gradle")
_APP_PLUGIN = re.compile(
    r"""["']com\.android\.application["']|plugins\.android\.application|plugins\.androidApplication"""
)


def check_project(contract: Contract, files: Sequence[ExportOptions], project: Path) -> None:
    """Check that a project has an app, and that the code for Android supports a model, before its export.

    Args:
        contract: Contract of the model.
        files: Options of the files to export.
        project: Folder of the Android project, or of its app module.

    Raises:
        InputError: The folder is no Android project, it is not writable, or the code does not support the model.
    """
    check_writable(find_app_module(project) / ASSETS)
    check_model(contract, files)


def find_app_module(project: Path) -> Path:
    """Return the folder of the app in an Android project.

    Args:
        project: Folder of the project, or of the module. A module is an app if its Gradle script applies the plugin
            com.android.application, by name or from a version catalog; without scripts, its folder is named app.

    Raises:
        InputError: There is no app, or more than one.
    """
    folders = [project, *sorted(path for depth in ("*", "*/*") for path in project.glob(depth) if path.is_dir())]
    apps = [folder for folder in folders if any(_applies_app_plugin(folder / name) for name in _SCRIPTS)]
    if not apps and (project / "app").is_dir():
        apps = [project / "app"]
    if not apps:
        raise InputError(f"{project} has no app module; give the folder of an Android project")
    if len(apps) > 1:
        names = ", ".join(str(app) for app in apps)
        raise InputError(f"{project} has {len(apps)} apps ({names}); give the folder of one of them")
    return apps[0]


def _applies_app_plugin(script: Path) -> bool:
    if not script.is_file():
        return False
    lines = script.read_text("utf-8", errors="replace").splitlines()
    return any(_APP_PLUGIN.search(line) and not re.search(r"apply\(?\s*false", line) for line in lines)


def check_model(contract: Contract, files: Sequence[ExportOptions]) -> None:
    """Check that the code for Android supports a model, before its export.

    Args:
        contract: Contract of the model.
        files: Options of the files to export.

    Raises:
        InputError: It does not support the model, or there are several files.
    """
    if len(files) != 1:
        raise InputError("an Android app takes one model; give one quantization scheme")
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
        raise InputError(f"the code for Android does not support this model: {'; '.join(reasons)}")


def write_assets(model: Path, project: Path) -> list[Path]:
    """Write a .tflite file of `harexport export`, its labels, its contract and its test vectors to an Android app.

    Args:
        model: The .tflite file.
        project: Folder of the Android project, or of its app module.

    Returns:
        The paths of the written files.

    Raises:
        InputError: The file is not an export of this tool, or a file cannot be written. Nothing was changed.
    """
    folder = find_app_module(project) / ASSETS
    return write_contents({folder / name: content for name, content in make_assets(model).items()})


def make_assets(model: Path) -> dict[str, bytes]:
    """Return the files that an Android app needs for a model, by name.

    Args:
        model: A .tflite file of `harexport export`.

    Raises:
        InputError: The file is not an export of this tool.
    """
    loaded, content = models.load_model(model), model.read_bytes()
    contract = loaded.contract
    contract_json = (json.dumps(contract.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()
    golden = android_golden.make_test_vectors(
        loaded.runner, loaded.runner.metadata["scheme"], contract, content, contract_json
    )
    return {
        MODEL_NAME: content,
        tflite_metadata.LABELS_NAME: tflite_metadata.labels_text(contract.labels).encode(),
        CONTRACT_NAME: contract_json,
        GOLDEN_NAME: android_golden.to_json(golden).encode(),
    }


def write_contents(contents: Mapping[Path, bytes]) -> list[Path]:
    """Write files; all of them are written before the first one replaces an existing file.

    An interruption or an error between two replacements restores the files that are replaced already. After `kill -9`
    there, the checksums in the golden test vectors differ from those of the files, and the app reports it.

    Args:
        contents: Content by path.

    Returns:
        The paths.

    Raises:
        InputError: A file cannot be written. Nothing was changed.
    """
    for path in contents:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is a folder or a device; remove it")
    try:
        before = {path: path.read_bytes() if path.exists() else None for path in contents}
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    try:
        with contextlib.ExitStack() as stack:
            temporaries = [stack.enter_context(atomic_write(path)) for path in contents]
            for temporary, content in zip(temporaries, contents.values(), strict=True):
                temporary.write_bytes(content)
    except BaseException:
        for path, earlier in before.items():
            if earlier is None:
                path.resolve().unlink(missing_ok=True)
            elif path.read_bytes() != earlier:
                write_bytes(path, earlier)
        raise
    return list(contents)
