"""Recipes: shipped ones are valid; errors name the key and the valid options."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest

from harexport.errors import InputError
from harexport.model import recipe as recipes
from harexport.model.contract import CHANNELS


def test_shipped_recipes_load_and_round_trip() -> None:
    assert {"edge", "baseline-lstm"} <= set(recipes.list_shipped())
    for name in recipes.list_shipped():
        recipe = recipes.load(name)
        assert recipe.name == name
        assert recipes.parse(recipe.to_dict(), name) == recipe


def test_baseline_lstm_is_the_published_recipe() -> None:
    seed = recipes.load("baseline-lstm")
    assert (seed.model.frame, seed.model.hop, seed.model.input_units, seed.model.relu) == (1, 1, 32, False)
    assert (seed.model.hidden, seed.model.layers, seed.model.forget_bias, seed.model.normalize) == (32, 2, 1.0, False)
    assert (seed.optimizer.name, seed.optimizer.learning_rate, seed.optimizer.l2) == ("adam", 0.0025, 0.0015)
    assert (seed.schedule.batch, seed.schedule.epochs, seed.schedule.order) == (1500, 300, "file")
    assert seed.optimizer.average == seed.optimizer.label_smoothing == seed.model.dropout == 0
    assert seed.augment == recipes.AugmentConfig()


def test_baseline_gru_is_the_published_recipe() -> None:
    seed = recipes.load("baseline-gru")
    assert (seed.model.frame, seed.model.hop, seed.model.input_units, seed.model.relu) == (1, 1, 16, True)
    assert (seed.model.cell, seed.model.candidate, seed.model.hidden, seed.model.layers) == ("gru", "relu", 16, 1)
    assert (seed.model.head_units, seed.model.coarse) == (12, (0, 1, 1, 3, 3, 5))
    assert (seed.optimizer.name, seed.optimizer.learning_rate, seed.optimizer.l2) == ("rmsprop", 0.0025, 0)
    assert (seed.schedule.coarse_epochs, seed.schedule.epochs, seed.schedule.batch) == (300, 600, 2000)
    assert (seed.schedule.order, seed.schedule.rate, seed.schedule.report_windows) == ("file", "constant", 30000)
    assert (seed.model.normalize, seed.model.init, seed.model.dropout) == (False, "tf1", 0)
    assert seed.optimizer.average == seed.optimizer.label_smoothing == seed.optimizer.clip_norm == 0
    assert seed.augment == recipes.AugmentConfig()


def test_held_out_subjects_are_training_subjects() -> None:
    test_subjects = {2, 4, 9, 10, 12, 13, 18, 20, 24}
    for name in recipes.list_shipped():
        held = set(recipes.load(name).validation.subjects)
        assert held
        assert not held & test_subjects


def test_every_key_is_documented() -> None:
    sections = (recipes.DataConfig, recipes.ModelConfig, recipes.AugmentConfig, recipes.OptimizerConfig)
    for section in (*sections, recipes.ScheduleConfig, recipes.ValidationConfig):
        for hint in typing.get_type_hints(section, include_extras=True).values():
            assert any(meta.description for meta in hint.__metadata__)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"modell": {}}, ["unknown key modell", "model", "Did you mean model"]),
        ({"model": {"hiden": 4}}, ["unknown key model.hiden", "hidden", "Did you mean model.hidden"]),
        ({"optimiser": {}}, ["unknown key optimiser", "now called optimizer"]),
        ({"model": {"normalise": True}}, ["unknown key model.normalise", "now called model.normalize"]),
        ({"model": {"init": "seed"}}, ["model.init 'seed'", "now called 'tf1'"]),
        ({"model": {"hidden": "48"}}, ["model.hidden must be a whole number", "'48'"]),
        ({"model": {"hidden": True}}, ["model.hidden must be a whole number"]),
        ({"model": {"hidden": 0}}, ["model.hidden must be", "at least 1", "got 0"]),
        ({"model": {"relu": 1}}, ["model.relu must be true or false"]),
        ({"model": {"dropout": 1.5}}, ["model.dropout must be", "at most 0.95"]),
        ({"model": {"dropout": float("nan")}}, ["model.dropout must be a number", "got nan"]),
        ({"model": {"forget_bias": float("nan")}}, ["model.forget_bias must be a number from"]),
        ({"optimizer": {"l2": float("inf")}}, ["optimizer.l2 must be a number from"]),
        (
            {"model": {"layers": [{"kind": "lstm", "units": 3, "forget_bias": float("nan")}]}},
            ["model.layers[0].forget_bias must be a number from"],
        ),
        ({"model": {"forget_bias": 1e308}}, ["model.forget_bias must be a number from -10^9 to 10^9, got 1e+308"]),
        ({"augment": {"shift": 10**22}}, ["augment.shift must be a number from"]),
        ({"augment": {"noise": 1e300}}, ["augment.noise must be a number from"]),
        ({"validation": {"subjects": [-(10**20)]}}, ["validation.subjects[0] must be a number from"]),
        ({"optimizer": {"l2": 10**400}}, ["optimizer.l2 must be a number within the range of float64"]),
        ({"optimizer": {"learning_rate": float("inf")}}, ["optimizer.learning_rate must be", "at most 1000"]),
        ({"model": {"hidden": 200000}}, ["model.hidden must be", "at most 4096"]),
        ({"name": "x" * 61}, ["1 to 60"]),
        ({"model": {"frame": 8, "hop": 9}}, ["hop 9 is larger than model.frame 8"]),
        ({"optimizer": {"name": "sgd"}}, ["one of adam, adamw, rmsprop", "'sgd'"]),
        ({"schedule": {"order": 3}}, ["schedule.order must be text"]),
        ({"validation": {"subjects": [1, "2"]}}, ["validation.subjects[1] must be a whole number", "'2'"]),
        ({"data": {"channels": ["body_acc_x", "gyro"]}}, ["data.channels", "body_gyro_x", "'gyro'"]),
        ({"data": {"channels": "body_acc_x"}}, ["data.channels must be a list"]),
        ({"data": {"channels": ["total_acc_x", "total_acc_x"]}}, ["twice"]),
        (
            {"data": {"channels": ["total_acc_x", "total_acc_z", "total_acc_y"]}, "augment": {"rotation_deg": 5}},
            ["whole vectors", "total_acc_x, total_acc_z, total_acc_y"],
        ),
        ({"model": {"cell": "rnn"}}, ["model.cell", "one of lstm, gru"]),
        ({"model": {"candidate": "relu"}}, ["model.candidate relu", "GRU only", "model.cell"]),
        ({"model": {"cell": "gru", "forget_bias": 0}}, ["model.forget_bias 0", "LSTM only"]),
        ({"model": {"coarse": [0, -1]}}, ["model.coarse[1]", "at least 0", "got -1"]),
        ({"model": {"coarse": [2, 2]}}, ["coarse label 2 to every label"]),
        ({"model": {"coarse": "01"}}, ["model.coarse must be a list"]),
        ({"model": {"head_units": -1}}, ["model.head_units must be", "at least 0"]),
        ({"schedule": {"coarse_epochs": 3}}, ["schedule.coarse_epochs 3", "model.coarse"]),
        ({"model": {"layers": 9}}, ["model.layers must be a whole number of at most 8"]),
        ({"model": {"layers": "x"}}, ["model.layers must be a whole number or a list"]),
        ({"model": {"layers": [{"kind": "lstmm"}]}}, ["model.layers[0].kind must be one of conv1d", "'lstmm'"]),
        ({"model": {"layers": [{"kind": "lstm"}]}}, ["model.layers[0] needs the key units"]),
        (
            {"model": {"layers": [{"kind": "lstm", "unit": 3}]}},
            ["layers[0].unit", "Did you mean model.layers[0].units"],
        ),
        (
            {"model": {"layers": [{"kind": "sum", "branches": [[{"kind": "linear", "units": 0}]]}]}},
            ["model.layers[0].branches[0][0].units", "at least 1", "got 0"],
        ),
        ({"model": {"frame": 3, "layers": [{"kind": "flatten"}]}}, ["model.frame has no effect with [[model.layers]]"]),
        ({"model": 3}, ["model must be a table"]),
        ({"name": "Edge Model"}, ["lower-case"]),
        ({"description": 3}, ["description must be text"]),
        ([], ["must be a table"]),
    ],
)
def test_invalid_recipes_raise_input_error(table: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        recipes.parse(table, "mine.toml")
    for word in ["mine.toml", *words]:
        assert word in str(caught.value)


def test_integers_are_accepted_for_floats() -> None:
    assert recipes.parse({"augment": {"rotation_deg": 20}}, "x").augment.rotation_deg == 20.0


def test_unknown_recipe_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"baseline-lstm, .*edge, edge-any-mount, .*edge-tiny.*Did you mean edge"):
        recipes.load("egde")
    with pytest.raises(InputError, match="recipe not found"):
        recipes.load(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("[model\nhidden=3")
    with pytest.raises(InputError, match=r"broken\.toml is not TOML"):
        recipes.load(str(broken))
    for text in ("[" * 5000, "a = " + "1" * 5000):
        broken.write_text(text)
        with pytest.raises(InputError, match="is not TOML"):
            recipes.load(str(broken))
    broken.write_bytes(b"\xef\xbb\xbf[model]\nhidden = 3\n")  # as Windows' editor writes UTF-8
    assert recipes.load(str(broken)).model.hidden == 3
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read recipe"):
        recipes.load(str(broken))


def test_a_pipe_is_no_recipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    code = "import sys; from harexport.model import recipe; recipe.load(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path / "pipe.toml")]
    assert "not a regular file" in subprocess.run(command, capture_output=True, text=True, timeout=60).stderr


def test_recipe_from_a_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[model]\nhidden = 24\n[schedule]\nepochs = 2\n")
    assert tomllib.loads(mine.read_text())["model"]["hidden"] == recipes.load(str(mine)).model.hidden
    assert recipes.load(str(mine)).name == "mine"


def test_keys_of_version_0_1_are_read_from_checkpoints() -> None:
    old = {"name": "x", "model": {"normalise": False, "init": "seed", "hidden": 8}, "optimiser": {"name": "adam"}}
    recipe = recipes.parse(recipes.from_legacy(old), "x")
    assert (recipe.model.normalize, recipe.model.init, recipe.optimizer.name) == (False, "tf1", "adam")


def test_channels_are_those_of_the_contract() -> None:
    assert typing.get_args(recipes.Channel) == CHANNELS


def test_baseline_lstm_acc_is_baseline_lstm_without_gyroscope() -> None:
    acc, seed = recipes.load("baseline-lstm-acc"), recipes.load("baseline-lstm")
    assert acc.data.channels == tuple(name for name in CHANNELS if "gyro" not in name)
    assert (acc.model, acc.augment, acc.optimizer, acc.schedule, acc.validation) == (
        seed.model, seed.augment, seed.optimizer, seed.schedule, seed.validation,
    )  # fmt: skip
