"""`--grid` and `--random`: variants and errors."""

from __future__ import annotations

import math

import pytest

from harexport.errors import InputError
from harexport.model import recipe as recipes
from harexport.model_selection.search_space import MAX_RECIPES, make_variants
from tests.model_selection.conftest import quick

EDGE = recipes.load("edge")


def test_grid() -> None:
    found = make_variants(
        EDGE, ["model.hidden=32,48,64", "optimizer.learning_rate=0.003,0.005", "optimizer.name=adam,adamw"]
    )
    assert len(found) == 12
    assert found[0].changes == {"model.hidden": 32, "optimizer.learning_rate": 0.003, "optimizer.name": "adam"}
    assert found[0].recipe.model.hidden == 32
    assert found[-1].recipe.optimizer.learning_rate == 0.005
    untouched = {variant.recipe.schedule for variant in found} | {variant.recipe.augment for variant in found}
    assert untouched == {EDGE.schedule, EDGE.augment}


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ("model.relu=true,false", [True, False]),
        ("model.hidden=32,32,0x20", [32]),
        ("optimizer.l2=0,0.0,1", [0.0, 1.0]),
        ("optimizer.name='adam', \"adamw\"", ["adam", "adamw"]),
        (" model.hidden = 8 , 16 ", [8, 16]),
        ("optimizer.learning_rate=1e-3,0.01", [0.001, 0.01]),
        ("data.channels=[],['total_acc_x','total_acc_y','total_acc_z']",
         [[], ["total_acc_x", "total_acc_y", "total_acc_z"]]),
    ],
)  # fmt: skip
def test_values(spec: str, values: list[object]) -> None:
    found = make_variants(EDGE, [spec])
    assert [next(iter(variant.changes.values())) for variant in found] == values


def test_random_draws() -> None:
    grid = ["model.hidden=16..64", "optimizer.learning_rate=0.001..0.01:log", "augment.noise=0.0..0.1",
            "schedule.batch=64,128"]  # fmt: skip
    found = make_variants(EDGE, grid, 200)
    assert len({variant.recipe for variant in found}) == 200
    assert found[:20] == make_variants(EDGE, grid, 20)
    hidden = [variant.recipe.model.hidden for variant in found]
    rates = [variant.recipe.optimizer.learning_rate for variant in found]
    assert (min(hidden), max(hidden)) == (16, 64)
    assert 0.001 <= min(rates) < 0.0012 < 0.008 < max(rates) <= 0.01
    # evenly on a logarithmic scale: half of them below the geometric mean, which is 0.0032
    assert 0.4 < sum(rate < math.sqrt(0.001 * 0.01) for rate in rates) / 200 < 0.6
    assert {variant.recipe.schedule.batch for variant in found} == {64, 128}
    assert all(0 <= variant.recipe.augment.noise <= 0.1 for variant in found)


def test_invalid_combinations_are_drawn_again() -> None:
    found = make_variants(EDGE, ["model.frame=8..32", "model.hop=4..32"], 50)
    assert len(found) == 50
    assert all(variant.recipe.model.hop <= variant.recipe.model.frame for variant in found)


@pytest.mark.parametrize(
    ("grid", "draws", "words"),
    [
        ([], None, "nothing to search"),
        (["model.hidden"], None, "for example model.hidden=32,48,64; sections are data, model"),
        (["=3"], None, "give section.key=values"),
        (["model.hidden="], None, "give section.key=values"),
        (["hidden=3"], None, "give section.key=values"),
        (["modle.hidden=3"], None, "no section modle; valid: data, model"),
        (["name.x=3"], None, "no section name"),
        (["model.hiden=3"], None, "unknown key model.hiden; valid: frame, hop, .* Did you mean model.hidden?"),
        (["model.hidden.x=3"], None, "unknown key model.hidden.x; valid: frame"),
        (["model.__class__=3"], None, "unknown key model.__class__"),
        (["model.hidden=32,,48"], None, "empty value"),
        (["model.hidden=0"], None, "model.hidden must be a whole number of at least 1"),
        (["model.hidden=32.5"], None, "model.hidden must be a whole number"),
        (["model.hidden=wide"], None, "model.hidden must be a whole number"),
        (["model.hidden=true"], None, "model.hidden must be a whole number"),
        (["model.hidden={a=1}"], None, "model.hidden must be a whole number"),
        (["model.hidden=1979-05-27"], None, "model.hidden must be a whole number"),
        (["model.hidden=3\n[x]\ny=1"], None, "model.hidden must be a whole number"),
        (["model.hidden=3]\nother=[4"], None, "model.hidden must be a whole number"),
        (["model.hidden=" + "9" * 5000], None, "model.hidden must be"),
        (["model.hidden=" + "[" * 5000], None, "model.hidden must be"),
        (["optimizer.learning_rate=nan"], None, "must be a number"),
        (["optimizer.name=sgd"], None, "must be one of adam"),
        (["model.hop=16,64"], None, "model.hop 64 is larger than model.frame 32"),
        (["model.hidden=3", "model.hidden=4"], None, "contains model.hidden twice"),
        (["validation.subjects=[1],[3]"], None, "cannot be searched"),
        (["model.hidden=16..64"], None, "give the number of recipes to draw with --random N"),
        (["model.hidden=16..64"], 0, "from 1 to 10000"),
        (["model.hidden=16..64"], MAX_RECIPES + 1, "from 1 to 10000"),
        (["model.hidden=64..16"], 3, "must be smaller than the second"),
        (["model.hidden=a..b"], 3, "a range has two numbers"),
        (["model.hidden=1..inf"], 3, "must be smaller"),
        (["optimizer.learning_rate=0..1:log"], 3, "logarithmic range must be greater than zero"),
        (["model.hidden=1.5..3.5"], 3, "model.hidden must be a whole number"),
        (["model.hidden=-9..-1"], 3, "model.hidden must be a whole number of at least 1"),
        (["model.hidden=16..18"], 4, "only 3 different recipes"),
        (["model.hiden=16..18"], 2, "Did you mean model.hidden?"),
        ([f"model.{key}=" + ",".join(map(str, range(1, 101))) for key in ("hidden", "input_units", "frame")],
         None, "makes 1000000 recipes, at most 10000"),
    ],
)  # fmt: skip
def test_invalid_grids(grid: list[str], draws: int | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_variants(EDGE, grid, draws)


def test_base_recipe_is_not_changed() -> None:
    base = quick()
    before = base.to_dict()
    make_variants(base, ["model.hidden=3,4", "data.channels=[]"])
    assert base.to_dict() == before
