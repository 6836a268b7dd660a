"""`harexport predict --mount`: the mounting is estimated, named or as worn, and a guess is never made."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from harexport.cli import main
from harexport.data.recordings.sensors import Units
from harexport.errors import InputError
from harexport.model.contract import LABELS, Contract, Frame
from harexport.predict.mounting import MountOption
from harexport.predict.predict import predict
from harexport.predict.session import MOUNT_UNKNOWN, SETTLING, WindowPrediction
from harexport.predict.stream import predict_stream
from harexport.preprocessing.mount import Mount, angle_deg
from harexport.runtimes.model import Model
from tests.preprocessing.motion import Floats, regular
from tests.preprocessing.phones import plain, written
from tests.preprocessing.test_mount import level_walk, rotation, still

FRAMED = Contract(frame=Frame())
MOUNT = rotation(7)
UP = MOUNT.rotate((1.0, 0.0, 0.0))


class Upright:
    """A runner that finds standing where gravity is within 15 degrees of +x and nothing moves, otherwise walking."""

    name, runtime, window_shape, batch = "upright", "", (128, 9), 1
    metadata: dict[str, str] = {}  # noqa: RUF012

    def logits(self, windows: np.ndarray) -> np.ndarray:
        gravity = windows[:, :, 6:9].mean(axis=1)
        upright = gravity[:, 0] > np.cos(np.radians(15)) * np.linalg.norm(gravity, axis=1)
        moving = windows[:, :, 6].std(axis=1) > 0.05
        label = np.where(moving, 0, np.where(upright, 4, 5))
        return 20.0 * np.eye(6)[label]


MODEL = Model("upright", Upright(), FRAMED)  # type: ignore[arg-type]


def csv(path: Path, *parts: Floats) -> Path:
    acc = np.concatenate(parts)
    times = regular(len(acc) / 50, 50)
    return written(path, plain(times, acc, 0.01 * np.sin(times[:, None] / 1e9 + np.arange(3))))


def walk_and_stand(mount: Mount = MOUNT) -> list[Floats]:
    return [mount.rotate_signal(part) for part in (level_walk(20.0), still(20.0, (1.0, 0.05, 0.0)))]


def test_file_in_any_orientation_is_predicted_after_its_walking(tmp_path: Path) -> None:
    result = predict(csv(tmp_path / "walk.csv", *walk_and_stand()), MODEL, Units(), "none")
    (part,) = result.to_dict()["mount"]["parts"]
    assert part["state"] == "estimated"
    assert angle_deg(part["gravity"], MOUNT.rotate((1.0, 0.05, 0.0))) < 1.0  # refined by standing
    kinds = {prediction.doubt for prediction in result.windows}
    assert kinds == {SETTLING, None}
    assert [stretch.activity for stretch in result.segments] == ["WALKING", "STANDING"]
    assert any("degrees from the vertical" in note for note in result.notes)


def test_change_of_the_mounting_makes_two_parts(tmp_path: Path) -> None:
    parts = [*walk_and_stand(), *walk_and_stand(rotation(8))]
    result = predict(csv(tmp_path / "walk.csv", *parts), MODEL, Units(), "none")
    assert len(result.mounting.segments) == 3
    assert [segment.estimate is None for segment in result.mounting.segments] == [False, True, False]
    unknown = [prediction for prediction in result.windows if prediction.doubt == MOUNT_UNKNOWN]
    assert 0 < len(unknown) < 20
    assert result.segments[-1].activity == "STANDING"


def test_person_who_never_walks_gets_a_statement_and_no_guess(tmp_path: Path) -> None:
    result = predict(csv(tmp_path / "still.csv", still(20.0, UP)), MODEL, Units(), "none")
    assert {prediction.doubt for prediction in result.windows} == {SETTLING, MOUNT_UNKNOWN}
    assert result.segments == ()
    assert any("how the phone was worn is unknown" in note for note in result.notes)
    mount = result.to_dict()["mount"]
    assert mount["option"] == "auto"
    assert [part["state"] for part in mount["parts"]] == ["unknown"]


def test_standing_interval(tmp_path: Path) -> None:
    path = csv(tmp_path / "walk.csv", *walk_and_stand())
    result = predict(path, MODEL, Units(), "none", mount=MountOption.parse("standing:22-30"))
    assert {prediction.doubt for prediction in result.windows} == {SETTLING, None}
    assert result.windows[-1].activity == "STANDING"
    with pytest.raises(InputError, match="does not stand still"):
        predict(path, MODEL, Units(), "none", mount=MountOption.parse("standing:2-10"))
    with pytest.raises(InputError, match=r"0\.00 s of samples"):
        predict(path, MODEL, Units(), "none", mount=MountOption.parse("standing:200-210"))


def test_as_is_rotates_nothing(tmp_path: Path) -> None:
    path = csv(tmp_path / "walk.csv", *walk_and_stand())
    result = predict(path, MODEL, Units(), "none", mount=MountOption.parse("as-is"))
    assert result.windows[-1].activity == "LAYING"
    assert result.to_dict()["mount"] == {"option": "as-is", "parts": []}


def test_model_without_a_frame_has_no_mount_stage(tmp_path: Path) -> None:
    path = csv(tmp_path / "walk.csv", *walk_and_stand())
    without = dataclasses.replace(MODEL, contract=Contract())
    assert predict(path, without, Units(), "none").to_dict()["mount"]["option"] == "as-is"
    with pytest.raises(InputError, match="the model has no mount stage"):
        predict(path, without, Units(), "none", mount=MountOption.parse("auto"))


@pytest.mark.parametrize("option", [None, "standing:22-30"])
def test_live_stream_predicts_from_the_first_estimate_on(tmp_path: Path, option: str | None) -> None:
    lines = csv(tmp_path / "walk.csv", *walk_and_stand()).read_bytes().splitlines(keepends=True)
    events = list(predict_stream(lines, MODEL, Units(), "none", option and MountOption.parse(option)))
    windows = [event for event in events if isinstance(event, WindowPrediction)]
    doubts = [prediction.doubt for prediction in windows]
    first = doubts.index(None)
    assert 0 < first < (8 if option is None else 24)
    assert MOUNT_UNKNOWN in doubts[:first]
    assert set(doubts[first:]) == {None}
    assert windows[-1].activity == "STANDING"
    assert any("degrees from the vertical" in event for event in events if isinstance(event, str)) == (option is None)


@pytest.mark.parametrize(
    ("text", "words"),
    [("upright", "unknown mount 'upright'"), ("standing:5", "unknown mount"), ("standing:9-5", "START must be before")],
)
def test_unknown_option_is_an_input_error(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        MountOption.parse(text)
    path = csv(tmp_path / "walk.csv", level_walk(5.0))
    result = CliRunner().invoke(main, ["predict", str(path), "--mount", text])
    assert result.exit_code == 2
    assert words.split("'", maxsplit=1)[0] in result.stderr


def test_command_prints_the_mount(tmp_path: Path) -> None:
    path = csv(tmp_path / "walk.csv", level_walk(20.0))
    result = CliRunner().invoke(main, ["predict", str(path), "--mount", "as-is", "--json", "--no-picture"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["mount"]["option"] == "as-is"
    assert set(json.loads(result.stdout)["labels"]) == set(LABELS)
