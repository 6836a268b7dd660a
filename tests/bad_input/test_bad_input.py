"""Bad input through the command line: one sentence that names the file and what to do, exit 2, nothing left behind."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save

from harexport.cli import main
from tests.helpers import uci_har


def harexport(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _assert_refused(result: Result, out: Path, *words: str) -> None:
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), "a traceback"
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    for word in words:
        assert word in sentence
    assert result.stdout == ""
    assert not out.exists()


def _edit(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / name
        file.write_bytes(change(file.read_text()).encode())

    return damage


_SIGNAL = "train/Inertial Signals/body_gyro_y_train.txt"
_FOLDERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "truncated": (_edit(_SIGNAL, lambda text: text[:1500]), ("body_gyro_y_train.txt",)),
    "wrong text": (_edit(_SIGNAL, lambda text: "<html>not found</html>"), ("body_gyro_y_train.txt",)),
    "one NaN": (_edit(_SIGNAL, lambda text: text.replace(text.split()[200], "NaN", 1)), ("body_gyro_y_train.txt",)),
    "127 samples": (
        _edit(_SIGNAL, lambda text: text.rstrip().rpartition(" ")[0] + "\n"),
        ("body_gyro_y_train.txt", "127"),
    ),
    "label 7": (_edit("train/y_train.txt", lambda text: text.replace("6", "7")), ("y_train.txt", "7")),
    "label 0": (_edit("test/y_test.txt", lambda text: text.replace("2", "0")), ("y_test.txt", "0")),
    "a file missing": (lambda folder: (folder / _SIGNAL).unlink(), ("body_gyro_y_train.txt",)),
    "a file empty": (_edit(_SIGNAL, lambda text: ""), ("body_gyro_y_train.txt",)),
}


@pytest.mark.parametrize("case", _FOLDERS)
@pytest.mark.parametrize("command", [("data", "info"), ("train",), ("demo",)], ids=" ".join)
def test_damaged_data_is_refused(case: str, command: tuple[str, ...], tmp_path: Path) -> None:
    folder = uci_har.write(tmp_path / "given")
    damage, words = _FOLDERS[case]
    damage(folder)
    out = tmp_path / "out"
    _assert_refused(harexport(*command, "--data", folder, "--out", out), out, *words)


def _climbing() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("UCI HAR Dataset/../../evil.txt", "x")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 and then nothing", ("data.zip",)),
        (b"", ("data.zip",)),
        (_climbing(), ("data.zip", "holds no file of")),
    ],
    ids=["corrupt", "empty", "other paths"],
)
def test_bad_zips_are_refused(content: bytes, words: tuple[str, ...], tmp_path: Path) -> None:
    archive, out = tmp_path / "data.zip", tmp_path / "out"
    archive.write_bytes(content)
    _assert_refused(harexport("data", "info", "--data", archive, "--out", out), out, *words)
    assert not (tmp_path.parent / "evil.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["data.zip"]


def test_a_cut_zip_is_refused(tmp_path: Path) -> None:
    whole = uci_har.zipped(uci_har.write(tmp_path / "given"))
    archive, out = tmp_path / "data.zip", tmp_path / "out"
    for share in (0.3, 0.9, 0.999):
        archive.write_bytes(whole[: int(share * len(whole))])
        _assert_refused(harexport("data", "info", "--data", archive, "--out", out), out, "data.zip")


def test_a_home_that_does_not_exist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAREXPORT_DATA", "~nobody-of-that-name/data")
    out = tmp_path / "out"
    _assert_refused(harexport("data", "info", "--out", out), out, "HAREXPORT_DATA", "nobody-of-that-name")


def test_a_setting_that_leads_nowhere_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAREXPORT_DATA", str(tmp_path / "gone"))
    out = tmp_path / "out"
    _assert_refused(harexport("data", "info", "--out", out), out, "HAREXPORT_DATA", "gone")


def test_a_recipe_with_an_unknown_key_is_refused(uci_har_path: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "mine.toml", tmp_path / "out"
    recipe.write_text("[optimizer]\nlearningrate = 0.1\n")
    result = harexport("train", "--recipe", recipe, "--data", uci_har_path, "--out", out)
    _assert_refused(result, out, "mine.toml", "optimizer.learningrate", "Did you mean optimizer.learning_rate")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (save({"weight": np.zeros(3, np.float32)}), ("not a harexport checkpoint", "harexport train")),
        (b"\x80\x02}q\x00.", ("not a complete safetensors file",)),
        (b"", ("not a complete safetensors file",)),
    ],
    ids=["another safetensors", "a pickle", "empty"],
)
@pytest.mark.parametrize("command", ["export", "bench"])
def test_a_checkpoint_of_another_kind_is_refused(
    command: str, content: bytes, words: tuple[str, ...], tmp_path: Path, uci_har_path: Path
) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    (given / "model.safetensors").write_bytes(content)
    arguments: list[str | Path] = [command, given / "model.safetensors", "--out", out]
    if command == "bench":
        (given / "model.onnx").write_bytes(b"x")
        arguments = [command, given, given / "model.safetensors", "--out", out, "--data", uci_har_path]
    _assert_refused(harexport(*arguments), out, "model.safetensors", *words)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    result = harexport("export", "--format", "coreml", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "'onnx', 'tflite', 'all'" in result.stderr


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path, uci_har_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    for command in (("data", "info"), ("train",), ("demo",)):
        result = harexport(*command, "--data", uci_har_path, "--out", tmp_path / "out")
        assert result.exit_code == 2, result.output
        assert "out" in result.stderr
        assert "Traceback" not in result.stderr
    assert (tmp_path / "out").read_text() == "precious"
