"""Custom datasets of other layouts: labels in names and folders, loggers, several people per file, short recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from harexport.cli import main
from harexport.data import Dataset, load_dataset
from harexport.data.custom.config import LABEL, SUBJECT, match_pattern, parse_config
from harexport.errors import InputError
from tests.helpers.custom_dataset import moving
from tests.preprocessing.motion import SECOND, regular
from tests.preprocessing.phones import G, rows, sensor_logger, zipped

PEOPLE = ("anna", "ben", "carla")
BASE = 'sensors = ["accelerometer", "gyroscope"]\ntest_subjects = ["carla"]\nvalidation_subjects = ["ben"]\n'


def table(person: int, label: str, seconds: float = 8.0, start_s: float = 0.0, more: str = "") -> str:
    """The plain layout, with `more` at the end of each line."""
    times = regular(seconds, 50, start_s)
    acc, gyro = moving(times, label, person)
    columns = zip(times.tolist(), (acc * G).tolist(), gyro.tolist(), strict=True)
    return "".join(rows([t / SECOND, *a, *g]).strip() + more + "\n" for t, a, g in columns)


HEADER = "timestamp_s,acc_x,acc_y,acc_z,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s"


def write(folder: Path, toml: str, files: dict[str, str]) -> Path:
    for name, text in {"harexport.toml": toml, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def assert_complete(dataset: Dataset) -> None:
    assert dataset.contract.labels == ("sit", "walk")
    assert dataset.subject_names == PEOPLE
    assert [dataset.subject_name(int(k)) for k in np.unique(dataset.test.subjects)] == ["carla"]
    assert set(dataset.train.labels.tolist()) == set(dataset.test.labels.tolist()) == {0, 1}
    assert {(row.subject, row.label) for row in dataset.coverage} == {(p, a) for p in PEOPLE for a in ("sit", "walk")}


def test_label_in_the_file_name(tmp_path: Path) -> None:
    files = {
        f"{name}_{label}.csv": f"{HEADER}\n{table(k, label)}"
        for k, name in enumerate(PEOPLE)
        for label in ("sit", "walk")
    }
    toml = BASE + 'subject_pattern = "{subject}_*.csv"\nlabel_pattern = "*_{label}.csv"\n'
    assert_complete(load_dataset(write(tmp_path / "mine", toml, files)))
    both = BASE + 'subject_pattern = "{subject}_{label}.csv"\nlabel_pattern = "{subject}_{label}.csv"\n'
    assert_complete(load_dataset(write(tmp_path / "mine", both, files)))
    bad = BASE + 'subject_pattern = "{subject}_*.csv"\nlabel_pattern = "*-{label}.csv"\n'
    with pytest.raises(InputError, match=r"label_pattern .* does not match anna_sit\.csv"):
        load_dataset(write(tmp_path / "mine", bad, files))
    with pytest.raises(InputError, match=r"no labels: .*label_pattern"):
        load_dataset(write(tmp_path / "mine", BASE + 'subject_pattern = "{subject}_*.csv"\n', files))


def test_patterns_that_are_suggested_for_folders_work(tmp_path: Path) -> None:
    """The folder of the recordings is the label, and harexport.toml names no pattern."""
    files = {
        f"{name}/{label}/rec1.csv": f"{HEADER}\n{table(k, label)}"
        for k, name in enumerate(PEOPLE)
        for label in ("sit", "walk")
    }
    place, toml = write(tmp_path / "mine", BASE, files), BASE
    for key in ("label_pattern", "subject_pattern"):
        with pytest.raises(InputError) as refused:
            load_dataset(place)
        pattern = str(refused.value).partition(f'{key} = "')[2].partition('"')[0]
        toml += f'{key} = "{pattern}"\n'
        (place / "harexport.toml").write_text(toml)
    assert_complete(load_dataset(place))


def test_subject_and_label_in_folders(tmp_path: Path) -> None:
    files = {
        f"{name}/{label}/rec1.csv": f"{HEADER}\n{table(k, label)}"
        for k, name in enumerate(PEOPLE)
        for label in ("sit", "walk")
    }
    toml = BASE + 'subject_pattern = "{subject}/*/*"\nlabel_pattern = "*/{label}/*"\n'
    assert_complete(load_dataset(write(tmp_path / "mine", toml, files)))


@pytest.mark.parametrize("packed", [False, True])
def test_recordings_of_sensor_logger(packed: bool, tmp_path: Path) -> None:
    write(tmp_path / "mine", BASE + 'subject_pattern = "{subject}_*"\n', {})
    annotation = "time,seconds_elapsed,text,millisecond_press_duration\n1,0.1,sit,0\n2,9.0,walk,0\n"
    for k, name in enumerate(PEOPLE):
        times = regular(18.0, 50)
        acc, gyro = moving(times, "sit", k)
        acc[450:], gyro[450:] = (values[450:] for values in moving(times, "walk", k))
        files = {
            "TotalAcceleration.csv": sensor_logger(times, acc * G),
            "Gyroscope.csv": sensor_logger(times, gyro),
            "Location.csv": "time,seconds_elapsed,latitude\n1,2,3\n",
            "Annotation.csv": annotation,
            "Metadata.csv": "version,platform\n3,android\n",
        }
        if packed:
            zipped(tmp_path / "mine" / f"{name}_monday.zip", files)
        else:
            write(tmp_path / "mine" / f"{name}_monday", "", files)
            (tmp_path / "mine" / f"{name}_monday" / "harexport.toml").unlink()
    assert_complete(load_dataset(tmp_path / "mine"))


def test_a_file_of_several_people_and_sessions(tmp_path: Path) -> None:
    """One file: the clock starts again with every recording, and the subject changes."""
    lines = "".join(
        table(k, label, more=f",{label},{name}") for k, name in enumerate(PEOPLE) for label in ("sit", "walk")
    )
    files = {"everything.csv": f"{HEADER},label,subject\n{lines}"}
    dataset = load_dataset(write(tmp_path / "mine", BASE, files))
    assert_complete(dataset)
    assert "custom recordings: 6" in dataset.source


def test_short_recordings(tmp_path: Path) -> None:
    files = {
        f"{name}_{label}.csv": f"{HEADER}\n{table(k, label, seconds=6.0)}"
        for k, name in enumerate(PEOPLE)
        for label in ("sit", "walk")
    }
    toml = BASE + 'subject_pattern = "{subject}_*.csv"\nlabel_pattern = "*_{label}.csv"\n'
    dataset = load_dataset(write(tmp_path / "mine", toml, files))
    assert_complete(dataset)
    assert all(row.windows == 2 for row in dataset.coverage)


def test_info_shows_seconds_and_windows_per_person_and_label(tmp_path: Path) -> None:
    files = {
        f"{name}_{label}.csv": f"{HEADER}\n{table(k, label)}"
        for k, name in enumerate(PEOPLE)
        for label in ("sit", "walk")
    }
    toml = BASE + 'subject_pattern = "{subject}_*.csv"\nlabel_pattern = "*_{label}.csv"\n'
    place = write(tmp_path / "mine", toml, files)

    def info(*options: str) -> str:
        result = CliRunner().invoke(main, ["data", "info", "--data", str(place), "--out", str(tmp_path), *options])
        assert result.exit_code == 0, result.output
        return result.stdout

    for _ in range(2):  # parsed, then from the cache
        content: dict[str, Any] = json.loads(info("--json"))
        assert content["coverage"][0] == {"subject": "anna", "label": "sit", "seconds": 8.0, "windows": 4}
        assert any("left out" in note for note in content["notes"])
    assert "anna                sit                            8.0         4" in info()


@pytest.mark.parametrize(
    ("pattern", "path", "subject"),
    [
        ("{subject}_*.csv", "anna_monday.csv", "anna"),
        ("{subject}_*.csv", "deep/folder/anna_monday_2.csv", "anna"),
        ("*_{subject}.csv", "a_b_anna.csv", "anna"),
        ("{subject}/*/*", "anna/walk/rec1.csv", "anna"),
        ("*/{subject}", "x/anna", "anna"),
        ("{subject}", "anna.csv", "anna.csv"),
        ("p{subject}-{label}.csv", "p7-walk.csv", "7"),
        ("{subject}_*.csv", "anna.csv", None),
        ("{subject}_*.csv", "_monday.csv", None),
        ("{subject}/*", "anna/walk/rec1.csv", None),
    ],
)
def test_patterns(pattern: str, path: str, subject: str | None) -> None:
    assert match_pattern(pattern, SUBJECT, path) == subject


def test_patterns_are_matched_in_linear_time() -> None:
    assert match_pattern("*a" * 8 + "{subject}b", SUBJECT, "a" * 5000) is None
    assert match_pattern("{label}-x", LABEL, "a" * 5000) is None
    with pytest.raises(InputError, match="subject_pattern must be"):
        parse_config({"subject_pattern": "*" * 20 + "{subject}"}, Path("harexport.toml"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"filters": {"noise": {"order": 3}}}, "filters.noise lacks the key cutoff_hz"),
        ({"labels": ["a", "a"]}, "labels must be a list of different words"),
        ({"labels": "walk"}, "labels must be a list, got 'walk'"),
        ({"labels": [True, "x"]}, r"labels\[0\] must be text or a number"),
        ({"units": {"gyro": "furlong"}}, "units.gyro: the unit 'furlong'"),
        ({"units": {"signs": "ios"}}, "units.signs must be one of android, apple"),
        ({"sensors": ["compass"]}, "must be one of accelerometer, gyroscope"),
        ({"subjects": {"a.csv": 1.5}}, "subjects must be text or a number"),
        ({"unit": {}}, r"unknown key unit; .* Did you mean units\?"),
    ],
)
def test_bad_configurations(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_config(table, Path("harexport.toml"))
