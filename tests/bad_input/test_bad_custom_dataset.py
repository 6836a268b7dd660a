"""Custom datasets that cannot be used: one message with file, line and remedy, exit code 2, no files left."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harexport.cli import main
from harexport.data.recordings import text
from tests.helpers import custom_dataset

ANNA, BEN, CARLA = (f"{name}_monday.csv" for name in custom_dataset.PEOPLE)
LISTED = 'labels = ["sit", "walk", "jump"]'
Damage = Callable[[Path], None]


def _file(name: str, change: Callable[[str], str | bytes]) -> Damage:
    def damage(folder: Path) -> None:
        changed = change((folder / name).read_text("utf-8"))
        (folder / name).write_bytes(changed if isinstance(changed, bytes) else changed.encode())

    return damage


def _toml(old: str, new: str) -> Damage:
    assert old in custom_dataset.TOML
    return _file("harexport.toml", lambda text: text.replace(old, new))


def _more(text: str) -> Damage:
    return _file("harexport.toml", lambda toml: text + toml)


def _line(number: int, change: Callable[[str], str]) -> Callable[[str], str]:
    """The text with one line changed; the first is 1."""

    def changed(text: str) -> str:
        lines = text.splitlines(keepends=True)
        lines[number - 1] = change(lines[number - 1])
        return "".join(lines)

    return changed


def _relabel(change: Callable[[str], str]) -> Damage:
    def damage(folder: Path) -> None:
        for file in folder.glob("*.csv"):
            head, *lines = file.read_text("utf-8").splitlines()
            cut = [line.rpartition(",") for line in lines]
            file.write_text("\n".join([head, *(f"{rest},{change(label)}" for rest, _, label in cut)]) + "\n", "utf-8")

    return damage


def _without_labels(text: str) -> str:
    return "".join(line.rpartition(",")[0] + "\n" for line in text.splitlines())


def _both(first: Damage, second: Damage) -> Damage:
    def damage(folder: Path) -> None:
        first(folder)
        second(folder)

    return damage


def _slower(text: str) -> str:
    head, *lines = text.splitlines(keepends=True)
    return head + "".join(lines[::5])


def _alone(folder: Path) -> None:
    (folder / BEN).unlink()
    (folder / CARLA).unlink()


def _no_recording(folder: Path) -> None:
    for file in folder.glob("*.csv"):
        file.unlink()


def _again(folder: Path) -> None:
    (folder / "dora_monday.csv").write_bytes((folder / ANNA).read_bytes())


# Damage to three good recordings, and what the message must contain.
BAD: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "no column of labels": (_file(ANNA, lambda t: t.replace("what", "note", 1)), (
        ANNA, "no column is called 'what'", "t, ax, ay, az, note")),
    "no label where none is named": (lambda folder: (
        _toml('label = "what"\n', "")(folder)), (ANNA, "no labels", "columns.label", "label_pattern")),
    "labels in one file only": (_file(BEN, lambda t: re.sub(r"(?m)(sit|walk|jump)$", "", t)), (
        BEN, "no labels", "remove the recording")),
    "an unknown unit": (_toml('acc = "m/s2"', 'acc = "furlong"'), (
        "units.acc: the unit 'furlong'", "choose one of g, m/s2, mg")),
    "a unit that gravity denies": (_toml('acc = "m/s2"', 'acc = "g"'), (
        ANNA, "stated to be in g", 'write units.acc = "m/s2" in harexport.toml')),
    "a unit of the header": (_file(ANNA, lambda t: t.replace("ax,ay,az", "ax (mg),ay (mg),az (mg)", 1)), (
        ANNA, "no column is called 'ax'")),
    "the wrong unit of time": (_toml('time = "ms"', 'time = "us"'), (ANNA, "probably in ms", "units.time")),
    "nothing but NaN": (_file(ANNA, lambda t: re.sub(r"(?m)^(\d[^,]*),[^,]*,", r"\1,nan,", t)), (
        ANNA, "no accelerometer in it (none of its values in", "are numbers)")),
    "text in a number": (_file(ANNA, _line(400, lambda line: line.replace(",", ",fast", 1))), (
        f"{ANNA}, line 400", "'fast", "is not a number")),
    "a column too few": (_file(ANNA, _line(77, lambda line: line.rpartition(",")[0] + "\n")), (
        f"{ANNA}, line 77", "4 columns, the header 5")),
    "time that runs back": (_file(ANNA, lambda t: "".join([t.splitlines(True)[0], *t.splitlines(True)[:0:-1]])), (
        f"{ANNA}, line 13", "time runs backwards")),
    "too slow": (_file(ANNA, _slower), (ANNA, "10.0 samples per second", "a lower rate_hz in harexport.toml")),
    "too fast for the chain": (_toml("rate_hz = 50 ", "rate_hz = 5000 "), ("rate_hz must be a number from 1 to 1000",)),
    "no gyroscope": (_toml('sensors = ["accelerometer"]', ""), (
        ANNA, "no gyroscope", 'sensors = ["accelerometer"]')),
    "one label only": (_both(_relabel(lambda label: label and "sit"), _toml(LISTED, "")), (
        "all windows are sit", "two labels or more")),
    "one person only": (_alone, ("all windows are of anna", "Record another person")),
    "labels that change too often": (_toml("window = 100", "window = 1100"), ("there is no window with a label",)),
    "two spellings of a label": (
        _both(_relabel(lambda label: label.replace("jump", "Walk")), _toml(LISTED, "")),
        ("Walk, walk differ only in case", "Write it in one way"),
    ),
    "a label of one test person": (
        _both(*(_file(name, lambda text: text.replace("jump", "")) for name in (ANNA, BEN))),
        ("no training subject (anna, ben) has a whole window of jump", "Choose other test_subjects"),
    ),
    "no recording": (_no_recording, ("holds no recording", "one CSV file per recording")),
    "the same recording twice": (_again, (f"{ANNA} and dora_monday.csv are the same recording",)),
    "an unknown key": (_more("windows = 100\n"), (
        "harexport.toml", "unknown key windows", "valid: columns, units, filters", "Did you mean window?")),
    "an unknown column": (_toml('time = "t"', 'tim = "t"'), ("unknown key columns.tim", "Did you mean columns.time?")),
    "not TOML": (_more("hop = = 3\n"), ("harexport.toml is not TOML",)),
    "a window of words": (_toml("window = 100", 'window = "long"'), ("window must be a whole number from 4 to 10000",)),
    "a hop over the window": (_toml("hop = 50", "hop = 101"), ("hop must be a whole number from 1 to 100 (window)",)),
    "two axes": (_toml('"ay", "az"', '"ay"'), ("columns.acc must be a list of three columns",)),
    "a filter that cannot be": (_more("filters = { noise = { order = 10, cutoff_hz = 30 } }\n"), (
        "filters.noise", "impossible at 50.0 Hz")),
    "an even median": (_more("filters = { median = 4 }\n"), ("filters.median must be odd",)),
    "an unused label": (_toml('"jump"]', '"jmp"]'), ("labels names jmp", "there are jump, sit, walk")),
    "an unknown test subject": (_toml('["carla"]', '["clara"]'), (
        "test_subjects names clara", "there are anna, ben, carla")),
    "all subjects in the test set": (
        _both(_toml('["carla"]', '["anna", "ben", "carla"]'), _toml('validation_subjects = ["ben"]', "")),
        ("test_subjects are all subjects; leave some for training",),
    ),
    "validation of all": (_toml('["ben"]', '["anna", "ben"]'), ("all of the training subjects (anna, ben)",)),
    "tested and held out": (_toml('["ben"]', '["carla"]'), ("carla is in test_subjects and in",)),
    "a pattern that does not fit": (_toml("{subject}_*", "{subject}-*"), ("does not match anna_monday.csv",)),
    "a pattern without a subject": (_toml("{subject}_*", "*"), ("with one {subject}",)),
    "an unknown subject": (_toml('subject_pattern = "{subject}_*.csv"\n', ""), (
        ANNA, "the subject is unknown", "[subjects]")),
    "a subject of another file": (_file("harexport.toml", lambda t: t + '[subjects]\n"x.csv" = "x"\n'), (
        "[subjects] names x.csv",)),
    "not UTF-8": (_file(ANNA, lambda t: t.replace("walk", "läuft", 1).encode("latin-1")), (
        f"{ANNA}, line ", "not UTF-8")),
    "binary": (_file(ANNA, lambda t: bytes(range(256))), (ANNA, "binary file")),
    "empty": (_file(ANNA, lambda t: ""), (ANNA, "is empty")),
    "a header only": (_file(ANNA, lambda t: t.splitlines()[0] + "\n"), (ANNA, "a header and no samples")),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = custom_dataset.write(tmp_path_factory.mktemp("good") / "mine", seconds=4.0, rates=(50.0, 50.0, 50.0))
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("kind", BAD)
def test_bad_recordings_are_refused(kind: str, good: dict[str, bytes], tmp_path: Path) -> None:
    folder, out = tmp_path / "mine", tmp_path / "out"
    folder.mkdir()
    for name, content in good.items():
        (folder / name).write_bytes(content)
    damage, words = BAD[kind]
    damage(folder)
    before = sorted(file.name for file in folder.iterdir())
    result = CliRunner().invoke(main, ["data", "info", "--data", str(folder), "--out", str(out)])
    assert result.exit_code == 2, (result.output, result.exception)
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    for word in words:
        assert word in sentence
    assert words
    assert not out.exists()
    assert sorted(file.name for file in folder.iterdir()) == before
    assert [file.name for file in tmp_path.rglob("windows-*")] == [], "bad data must not be cached"


def test_a_huge_file_is_refused_before_it_is_read(
    good: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in good.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(text, "_LARGEST", 30_000)
    result = CliRunner().invoke(main, ["data", "info", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert re.search(r"_monday.csv has more than \d+ MB; .* Cut it into several recordings", result.stderr)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "anna.csv").write_text("t,x\n")
    result = CliRunner().invoke(main, ["train", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "custom recordings needs a file harexport.toml" in result.stderr
