"""Custom datasets: windows, subjects, labels, and notes on what is left out."""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harexport.data import Dataset, find_segments, load_dataset, load_dataset_for, summary
from harexport.data import cache as cache_module
from harexport.data.custom import config
from harexport.data.custom import dataset as custom_module
from harexport.data.mounting import adapt_dataset
from harexport.data.recordings.reader import PhoneRecording, read_recording
from harexport.data.recordings.sensors import Units, merge_by_time, resolve_sensors
from harexport.errors import InputError
from harexport.model.contract import CHANNELS, Contract, Lowpass
from harexport.predict.predict import read_for_prediction
from harexport.preprocessing.stream import ACC, GYRO, Stream, Window
from tests.helpers import custom_dataset
from tests.preprocessing.phones import G

RATES = (50.0, 50.0, 50.0)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(custom_dataset.write(tmp_path_factory.mktemp("own") / "mine", seconds=9.0))


def test_contract_of_the_configuration(mine: Dataset) -> None:
    contract = mine.contract
    assert (contract.rate_hz, contract.window, contract.hop) == (50.0, 100, 50)
    assert contract.channels == tuple(name for name in CHANNELS if "acc" in name)
    assert contract.units == ("g",) * 6
    assert contract.labels == ("sit", "walk", "jump")
    assert contract.filters == Contract().filters
    assert mine.train.signals.shape[1:] == mine.test.signals.shape[1:] == (100, 6)
    assert mine.train.signals.dtype == np.float32


def test_subjects_have_names_and_are_in_one_split(mine: Dataset) -> None:
    assert [mine.subject_name(int(k)) for k in np.unique(mine.train.subjects)] == ["anna", "ben"]
    assert [mine.subject_name(int(k)) for k in np.unique(mine.test.subjects)] == ["carla"]
    assert mine.held_out == (2,)
    assert "tested on carla" in mine.source
    described = summary.summarize(mine)
    assert described["test"]["classes"] == {"sit": 8, "walk": 8, "jump": 8}
    assert list(described["train"]["windows_of_subject"]) == ["anna", "ben"]


def test_windows_equal_those_of_a_stream(tmp_path: Path) -> None:
    """Settled windows of one label are bit-identical to those of Stream."""
    people = [custom_dataset.record_screen(k, [("", 6.0), ("sit", 6.0), ("walk", 7.0)]) for k in range(2)]
    for name, text in zip(("anna", "ben"), people, strict=True):
        (tmp_path / f"{name}.csv").write_text(text)
    (tmp_path / "harexport.toml").write_text('subject_pattern = "{subject}.csv"\ntest_subjects = ["anna"]\n')
    dataset = load_dataset(tmp_path)
    contract = dataset.contract
    assert (contract.window, contract.hop, contract.channels, contract.labels) == (128, 64, CHANNELS, ("sit", "walk"))
    recording = read_recording(tmp_path / "anna.csv")
    source = resolve_sensors(recording.tracks, contract, Units(), "anna")
    assert source.units == {ACC: "m/s2", GYRO: "rad/s"}
    stream = Stream(contract, source.units, source.average_over)
    events = [event for sample in merge_by_time(recording.tracks) for event in stream.push(*sample)] + stream.flush()
    windows = [event for event in events if isinstance(event, Window)]
    expected = []
    for window in windows:
        inside = {name for at, name in recording.labels if window.start_ns <= at <= window.end_ns}
        if window.is_settled and len(inside) == 1 and inside != {None}:
            expected.append((contract.labels.index(str(inside.pop())), window.array().astype(np.float32)))
    assert 5 < len(expected) < len(windows) - 4
    assert dataset.test.labels.tolist() == [label for label, _ in expected]
    assert np.array_equal(dataset.test.signals, np.stack([signals for _, signals in expected]))


def test_segments_use_the_hop_of_the_dataset(mine: Dataset, tmp_path: Path) -> None:
    """Windows of one label and person form one segment; without overlap each is a segment."""
    chain = find_segments(mine.train)
    assert len(chain.start) == 6  # two people, three activities each
    for k in (0, 20, len(mine.train) - 1):
        begin = chain.start[chain.segment_index[k]] + chain.offset[k]
        assert np.array_equal(chain.signal[begin : begin + 100], mine.train.signals[k])
    held = mine.train.select_subjects([2])
    assert held.hop == 50
    assert len(find_segments(held).start) == 3
    apart = load_dataset(
        custom_dataset.write(tmp_path / "mine", custom_dataset.TOML.replace("hop = 50 ", "hop = 100 "), 4.0, RATES)
    )
    single = find_segments(apart.train)
    assert len(single.start) == len(apart.train)
    assert np.array_equal(single.signal.reshape(apart.train.signals.shape), apart.train.signals)


def test_the_second_load_is_from_the_cache_with_the_same_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cache_module, "_SETTLED_SECONDS", -60.0)
    toml = custom_dataset.TOML.replace('test_subjects = ["carla"]\n', "").replace('validation_subjects = ["ben"]\n', "")
    folder = custom_dataset.write(tmp_path / "mine", toml, seconds=4.0, rates=RATES)
    first = load_dataset(folder)
    notes = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("...")]
    monkeypatch.setattr(custom_module, "load_custom_dataset", lambda folder: pytest.fail("must not be read again"))
    again = load_dataset(folder / "harexport.toml")
    assert capsys.readouterr().err.splitlines() == notes
    assert 'the test set, carla. To choose, write test_subjects = ["carla"]' in " ".join(notes)
    assert "harexport.toml names no validation_subjects" in " ".join(notes)
    for part in ("contract", "digest", "source", "subject_names", "held_out", "notes"):
        assert getattr(again, part) == getattr(first, part)
    assert again.held_out == ()
    assert np.array_equal(again.train.signals, first.train.signals)
    assert again.train.hop == first.train.hop == 50
    monkeypatch.undo()
    (folder / "anna_monday.csv").write_text(
        custom_dataset.csv_of(0, [("", 6.0), ("sit", 8.0), ("walk", 4.0), ("jump", 4.0)])
    )
    changed = load_dataset(folder)
    assert changed.digest != first.digest
    assert len(changed.train) > len(first.train)


def test_subjects_by_column_and_by_table(tmp_path: Path) -> None:
    plan = [("", 6.0), ("sit", 4.0), ("walk", 4.0)]
    for k in range(3):
        (tmp_path / f"{k}.csv").write_text(custom_dataset.csv_of(k, plan))
    with_column = [
        f"{line},{'who' if n == 0 else 'eve'}" for n, line in enumerate(custom_dataset.csv_of(3, plan).splitlines())
    ]
    (tmp_path / "3.csv").write_text("\n".join(with_column) + "\n")
    toml = re.sub(r"(?m)^(subject_pattern|labels|test_subjects|validation_subjects).*\n", "", custom_dataset.TOML)
    toml = 'test_subjects = ["eve", 7]\n' + toml.replace('label = "what"', 'label = "what"\nsubject = "who"')
    subjects = '[subjects]\n"0.csv" = "adam"\n"1.csv" = "adam"\n"2.csv" = 7\n'
    (tmp_path / "harexport.toml").write_text(toml + subjects)
    with pytest.raises(InputError, match=r"0\.csv: no column is called 'who'"):
        load_dataset(tmp_path)
    (tmp_path / "3.csv").write_text("\n".join(with_column).replace("who", "subject", 1) + "\n")
    (tmp_path / "harexport.toml").write_text(toml.replace('subject = "who"\n', "") + subjects)
    dataset = load_dataset(tmp_path)
    assert dataset.subject_names == ("7", "adam", "eve")
    assert sorted(set(dataset.test.subjects.tolist())) == [1, 3]
    assert dataset.contract.labels == ("sit", "walk")


def test_a_slow_rate_lowers_the_noise_filter(tmp_path: Path) -> None:
    toml = custom_dataset.TOML.replace("rate_hz = 50 ", "rate_hz = 20 ").replace("window = 100", "window = 50")
    contract = load_dataset(custom_dataset.write(tmp_path / "mine", toml, seconds=4.0, rates=RATES)).contract
    assert (contract.rate_hz, contract.window, contract.hop) == (20.0, 50, 50)
    assert contract.filters.noise == Lowpass(10, 8.0)
    table = {"filters": {"median": 5, "gravity": {"order": 2, "cutoff_hz": 0.5}}}
    chain = config.parse_config(table, Path("harexport.toml")).contract.filters
    assert (chain.median, chain.gravity, chain.drift) == (5, Lowpass(2, 0.5), Contract().filters.drift)


def test_remarks_on_single_recordings(tmp_path: Path) -> None:
    folder = custom_dataset.write(
        tmp_path / "mine", custom_dataset.TOML.replace('"walk", "jump"]', '"walk"]'), seconds=5.0, rates=RATES
    )
    lines = (folder / "anna_monday.csv").read_text().splitlines(keepends=True)
    time, _, y, z, label = lines[400].split(",")
    lines[400] = ",".join([time, "nan", y, z, label])
    lines[450] = lines[449]
    del lines[600:630]
    (folder / "anna_monday.csv").write_text("".join(lines) + "9999")
    notes = "\n".join(load_dataset(folder).notes)
    assert "1 samples of the accelerometer are not numbers (the first in line 401)" in notes
    assert "anna_monday.csv: 1 samples of the accelerometer repeat a time or come late" in notes
    assert re.search(r"anna_monday.csv, at 12\.\d+ s: the filters restart, no accelerometer for 0\.\d+ s", notes)
    assert "anna_monday.csv ends in the middle of a line" in notes
    assert "Labels left out: jump" in notes


def test_reading_like_the_dataset(tmp_path: Path) -> None:
    folder = custom_dataset.write(tmp_path / "mine", seconds=4.0, rates=RATES)
    (recording,), units = custom_module.read_like_dataset(folder, folder / "ben_monday.csv", Units())
    assert isinstance(recording, PhoneRecording)
    assert units == Units("m/s2", None, time="ms")
    assert {name for _, name in recording.labels} == {None, "sit", "walk", "jump"}
    gravity = float(np.linalg.norm(recording.tracks[ACC].values, axis=1).mean())
    assert gravity == pytest.approx(G, rel=0.1)
    bare = tmp_path / "bare.csv"
    bare.write_text("t,ax,ay,az\n1,0,0,9.8\n2,0,0,9.8\n")
    with pytest.raises(InputError, match=r"no column is called 'what'"):
        custom_module.read_like_dataset(folder, bare, Units())
    with pytest.raises(InputError, match=r"holds no harexport\.toml"):
        custom_module.read_like_dataset(tmp_path, bare, Units())


def test_a_model_of_other_data_is_refused(
    mine: Dataset, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, isolated: Path
) -> None:
    monkeypatch.setattr(
        sys.modules["harexport.data.load"], "load_or_download", lambda: pytest.fail("must not download")
    )
    with pytest.raises(InputError, match=r"^mine was not trained on UCI HAR: its labels are sit, .* Pass the data"):
        load_dataset_for(mine.contract, "mine")
    with pytest.raises(
        InputError, match=r"^edge does not fit the data .*: its labels are WALKING, .* those of the data sit, walk"
    ):
        adapt_dataset(mine, Contract(), "edge")
    with pytest.raises(InputError, match=r"its windows have 100 samples at 50 Hz, those of the data 128 at 50 Hz"):
        adapt_dataset(dataset, mine.contract)
    with pytest.raises(InputError, match=r"the data have no channel body_gyro_x, body_gyro_y, body_gyro_z"):
        adapt_dataset(mine, Contract())
    fewer = Contract(channels=CHANNELS[6:], units=("g",) * 3, hop=16)
    assert adapt_dataset(dataset, fewer).test.signals.shape == (len(dataset.test), 128, 3)


def test_a_zip_is_the_same_dataset_as_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path / "cache"))
    folder = custom_dataset.write(tmp_path / "mine", seconds=9.0)
    shared = Path(shutil.make_archive(str(tmp_path / "shared"), "zip", folder))
    expected = load_dataset(folder)
    for _ in range(2):  # the second time from the cache
        found = load_dataset(shared)
        assert found.digest == expected.digest
        assert found.contract == expected.contract
        np.testing.assert_array_equal(found.train.signals, expected.train.signals)
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(shared.read_bytes().replace(b"carla", b"c\xffrla", 1))
    with pytest.raises(InputError, match=r"damaged\.zip cannot be unpacked"):
        load_dataset(damaged)


def test_a_zip_of_blank_lines_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path / "cache"))
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("harexport.toml", "")
        archive.writestr("walk.csv", b"time,x,y,z\n" + b"\n" * 110_000_000)
    with pytest.raises(InputError, match=r"bomb\.zip is refused: .* more than recordings do"):
        load_dataset(bomb)
    with pytest.raises(InputError, match=r"bomb\.zip is refused: .* more than recordings do"):
        read_recording(bomb)


def test_a_zip_cannot_write_outside_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path / "cache"))
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("harexport.toml", "")
        archive.writestr("../../../../outside.csv", "x")
    with pytest.raises(InputError):
        load_dataset(evil)
    assert not [path for path in tmp_path.rglob("outside.csv") if "unpacked" not in path.parts]


def test_a_zip_with_a_column_of_subjects_is_trained_on_and_read_by_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path / "cache"))
    shared = tmp_path / "recordings.zip"
    with zipfile.ZipFile(shared, "w") as archive:
        archive.writestr(
            "harexport.toml", 'rate_hz = 50.0\nwindow = 128\nhop = 64\nsensors = ["accelerometer", "gyroscope"]\n'
        )
        for person, (who, cell) in enumerate({"Anna": "Anna", "Ben, jr.": '"Ben, jr."'}.items()):
            head, *lines = custom_dataset.record_screen(person, [("walk", 9.0), ("sit", 9.0)]).splitlines()
            body = "".join(f"{line},{cell}\n" for line in lines)
            archive.writestr(f"{who}-walk-waist-20261128-120000.csv", f"{head},subject\n{body}")
    dataset = load_dataset(shared)
    assert dataset.contract.labels == ("sit", "walk")
    assert dataset.subject_names == ("Anna", "Ben, jr.")
    assert len(dataset.train.labels) == len(dataset.test.labels) >= 8
    recordings, _ = read_for_prediction(shared, Units())
    assert len(recordings) == 2
    assert all(len(recording.tracks) == 2 for recording in recordings)
