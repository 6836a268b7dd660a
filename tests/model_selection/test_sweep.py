"""Sweep: table, figure, costs and errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from harexport import runtimes
from harexport.data import Dataset
from harexport.errors import InputError
from harexport.model import recipe as recipes
from harexport.model_selection import sweep as shapes
from harexport.model_selection.cross_validation import cross_validate
from harexport.model_selection.parallel import Execution
from harexport.model_selection.search_space import make_variants
from harexport.model_selection.sweep import Sweep, format_sweep, sweep
from tests.model_selection.conftest import quick
from tests.test_cli import harexport


@pytest.fixture(scope="module")
def done(people: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two architectures, each with a variant that converges and one that diverges."""
    out = tmp_path_factory.mktemp("sweep")
    found = make_variants(quick(), ["model.hidden=8,40", "optimizer.l2=0.0,1e38"])
    return sweep(people, quick(), found, out, "2", (0, 1), "float32", Execution(jobs=2))


def test_the_table(done: Sweep, people: Dataset) -> None:
    with done.table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["failed"] for row in rows] == ["0", "0", "4", "4"]
    assert [row["optimizer.l2"] for row in rows] == ["0.0", "0.0", "1e+38", "1e+38"]
    assert float(rows[0]["accuracy"]) >= float(rows[1]["accuracy"]) > 0
    assert all(float(rows[0][f"{score}_std"]) > 0 for score in ("accuracy", "macro_f1", "cross_entropy"))
    assert rows[2]["accuracy"] == ""
    assert "the loss is not a number" in rows[2]["errors"]
    by_shape = {row["model.hidden"]: row for row in rows[:2]}
    small, large = by_shape["8"], by_shape["40"]
    assert int(small["size_bytes"]) < int(large["size_bytes"])
    assert 0 < float(small["p50_us"]) < float(large["p50_us"])  # 25 times the products in each step
    assert small["on_size_front"] == "True"
    assert {row["on_latency_front"] for row in rows[2:]} == {"False"}
    for row in rows[2:]:  # one network a shape: the same file, the same time
        assert row["size_bytes"] == by_shape[row["model.hidden"]]["size_bytes"]
        assert row["p50_us"] == by_shape[row["model.hidden"]]["p50_us"]
    document = json.loads(done.json_path.read_text())
    assert document["points"][0]["latency_us"]["runs"] >= 1000
    assert len(done.failures) == 8


def test_cache_is_shared_with_cross_validation(
    done: Sweep, people: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = next(point.variant.recipe for point in done.points if point.variant.changes["model.hidden"] == 40)
    result = cross_validate(people, recipe, done.table.parent, "2", (0, 1))
    assert "4 of 4 trials are finished already" in capsys.readouterr().err
    assert result.summary == next(point.summary for point in done.points if point.variant.recipe == recipe)


def test_figure_and_text(done: Sweep) -> None:
    assert done.picture
    assert done.picture.read_bytes().startswith(b"\x89PNG")
    text = format_sweep(done)
    assert "4 variants, 2 folds by subject, 2 seeds; the test set was not used" in text
    assert "4 of 4 failed" in text


@pytest.mark.parametrize("name", ["edge", "baseline-lstm-acc"])
def test_model_cost(name: str, people: Dataset) -> None:
    """Channels, frames and lowering are those of `export`."""
    recipe = recipes.load(name)
    channels = len(recipe.data.channels) or 9
    file = shapes.model_cost(people, recipe, "float32")
    assert file.window.shape == (1, 128, channels)
    assert file.lowering == ("unrolled" if name == "edge" else "loop")
    runner = runtimes.load_bytes(file.model, ".tflite", name)
    assert runner.logits(file.window).shape == (1, 6)
    quantized = shapes.model_cost(people, recipe, "int8-weights")
    assert len(quantized.model) < len(file.model)


def test_variants_with_one_architecture_share_a_file(people: Dataset) -> None:
    found = make_variants(quick(), ["model.hidden=8,9", "optimizer.learning_rate=0.01,0.02", "augment.noise=0.0,0.1"])
    files = shapes.model_costs(people, [variant.recipe for variant in found], "float32")
    assert len(files) == 8
    assert len({id(file) for file in files}) == 2


def test_latency_of_models_with_different_channels(people: Dataset) -> None:
    grid = ["data.channels=['body_acc_x','body_acc_y','body_acc_z'],[]"]
    files = shapes.model_costs(people, [variant.recipe for variant in make_variants(quick(), grid)], "float32")
    times, _ = shapes.measure_latencies(files)
    assert [time.runs for time in times] == [1000, 1000]


def test_too_many_trainings(people: Dataset, tmp_path: Path) -> None:
    found = make_variants(quick(), ["model.hidden=1..4096"], 2000)
    with pytest.raises(InputError, match="are 16000 trainings, at most 10000 are allowed"):
        sweep(people, quick(), found, tmp_path, "4", (0, 1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--grid"),
        (["--grid", "model.hiden=3"], "Did you mean model.hidden?"),
        (["--grid", "model.hidden=3..9"], "with --random N"),
        (["--grid", "model.hidden=3", "--scheme", "int8"], "int8-weights"),
        (["--grid", "model.hidden=3", "--folds", "22"], "from 2 to 21"),
        (["--grid", "model.frame=128,200"], "longer than a window of 128"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, quick_toml: Path, uci_har_path: Path, tmp_path: Path) -> None:
    result = harexport("sweep", "--recipe", quick_toml, "--data", uci_har_path, "--out", tmp_path, *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
