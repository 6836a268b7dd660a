"""Model cards, checksums and figures in artifacts/ are current."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from artifacts import build, model_cards
from benchmarks import robustness, seeds, ship_pretrained
from harexport.data.dataset import Dataset
from harexport.errors import InputError
from harexport.model import recipe as recipes
from harexport.model.contract import LABELS
from harexport.model.network import Network
from harexport.robustness.evaluate import Robustness
from tests.helpers.networks import random_gru, random_network

_CHECKPOINTS = ship_pretrained.load_checkpoints()
_JSONS = {
    name: json.loads((ship_pretrained.ROOT / "benchmarks" / f"{name}.json").read_text("utf-8"))
    for name in ("seeds", "exports", "robustness")
}


def _robust(name: str) -> dict[str, Any]:
    return next(model for model in _JSONS["robustness"]["models"] if model["name"] == name)


def test_model_cards_are_current() -> None:
    drawn = model_cards.build_cards()
    assert set(drawn) == {ship_pretrained.ARTIFACTS / name / "MODEL_CARD.md" for name in _CHECKPOINTS}
    for path, text in drawn.items():
        assert path.read_text("utf-8") == text, "python artifacts/model_cards.py"
        for link in re.findall(r"\]\(([^)]+)\)", text):
            assert (path.parent / link).exists(), link
        for file in re.findall(r"`([\w-]+\.(?:onnx|tflite|safetensors|json|txt))`", text):
            assert (path.parent / file).exists(), file


@pytest.mark.parametrize("name", _CHECKPOINTS)
def test_model_card_contains_the_figures(name: str) -> None:
    text, test = (
        (ship_pretrained.ARTIFACTS / name / "MODEL_CARD.md").read_text("utf-8"),
        _CHECKPOINTS[name].figures["test"],
    )
    assert f"| accuracy | {test['accuracy']:.2%} |" in text
    assert _CHECKPOINTS[name].digest in text
    for one in _robust(name)["outcomes"]:
        assert f"| {one['name']} | {one['mean']:.1%} |" in text
    for one in _JSONS["exports"][name]:
        assert (
            f"- {one['path']}: " if "refused" in one else f"`{one['path']}` | {one['size_bytes'] / 1000:.1f} |"
        ) in text
    if over := model_cards._seed_results(_CHECKPOINTS[name], _JSONS["seeds"]).get("summary"):
        assert seeds.format_mean_std(over["accuracy"]) in text
        if first := over.get("coarse_accuracy_after_stage_1"):
            assert f"{seeds.format_mean_std(first)} ({first['seeds']} seed" in text
    assert seeds.PUBLISHED.get(name, "") in text


def test_model_card_lists_failed_files_and_coarse_labels() -> None:
    """A file that failed its checks is listed with the reason, and not among the published files."""
    exported = copy.deepcopy(_JSONS["exports"]["edge"])
    exported[2] = {"path": "edge-int8-weights.onnx", "refused": "the export failed its checks: lost 0.31 points"}
    gru = random_gru()
    figures = {**_CHECKPOINTS["edge"].figures, "coarse": {"test": {"accuracy": 0.9654}}}
    contract = dataclasses.replace(
        _CHECKPOINTS["edge"].contract, coarse_labels=("WALKING", "A_OR_B", "", "C_OR_D", "LAYING")
    )
    checkpoint = dataclasses.replace(_CHECKPOINTS["edge"], network=gru, contract=contract, figures=figures)
    text = model_cards.format_card("baseline-gru", checkpoint, {}, exported, _robust("edge"))
    assert "- edge-int8-weights.onnx: lost 0.31 points" in text
    assert "| `edge-int8-weights.onnx`" not in text
    assert "| accuracy on the coarse labels | 96.54% |" in text
    assert "walking; a or b; c or d; laying" in text
    assert "1 GRU layer of 16 units" in text
    assert "No other seed has been trained yet" in text


def test_seeds_of_another_recipe_are_omitted() -> None:
    edge = _CHECKPOINTS["edge"]
    mine = {"recipe": edge.recipe.to_dict(), "runs": {"0": _run(0.98)}}
    assert model_cards._seed_results(edge, {"recipes": {"edge": mine}}) == mine
    longer = msgspec.structs.replace(edge.recipe, schedule=msgspec.structs.replace(edge.recipe.schedule, epochs=7))
    earlier = {"recipe": longer.to_dict(), "runs": {"0": _run(0.5)}}
    assert model_cards._seed_results(edge, {"recipes": {"edge": earlier}}) == {}
    assert "held_out" not in seeds.add_summaries({"edge": earlier})["recipes"]["edge"]


def test_checksums_are_current(tmp_path: Path) -> None:
    written = ship_pretrained.ARTIFACTS / "SHA256SUMS"
    assert written.read_text("utf-8") == ship_pretrained.compute_checksums(), (
        "the artifacts changed since: make artifacts"
    )
    lines = [line.split("  ", 1) for line in written.read_text("utf-8").splitlines()]
    assert [name for _, name in lines] == sorted(name for _, name in lines)
    digest, name = lines[0]
    assert hashlib.sha256((ship_pretrained.ARTIFACTS / name).read_bytes()).hexdigest() == digest
    copied = tmp_path / "artifacts"
    shutil.copytree(ship_pretrained.ARTIFACTS, copied)
    if tool := shutil.which("sha256sum"):
        assert subprocess.run([tool, "-c", "SHA256SUMS"], cwd=copied, capture_output=True).returncode == 0
    (copied / name).write_bytes(b"changed")
    (copied / "new.txt").write_text("new")
    changed = ship_pretrained.compute_checksums(copied)
    assert digest not in changed
    assert "  new.txt\n" in changed


@pytest.mark.parametrize("name", _CHECKPOINTS)
def test_labels_files_match_the_contract(name: str) -> None:
    folder = ship_pretrained.ARTIFACTS / name
    assert tuple((folder / "labels.txt").read_text("utf-8").split("\n")[:-1]) == _CHECKPOINTS[name].contract.labels
    assert (folder / "coarse_labels.txt").exists() == bool(_CHECKPOINTS[name].contract.coarse_labels)


def test_robustness_results_are_current() -> None:
    measured = _JSONS["robustness"]
    assert robustness.up_to_date(), "the artifacts changed since: python benchmarks/robustness.py"
    result = Robustness.from_dict(measured)
    for model in result.models:
        test = _CHECKPOINTS[model.name].figures["test"]
        assert model.figures.accuracy == test["accuracy"]
        assert [list(row) for row in model.figures.confusion] == test["confusion"]
    drawn = robustness.render(measured)
    assert all(f"| {name} |" in drawn for name in result.conditions)
    assert all(model.name in drawn for model in result.models)


def test_seed_results_match_the_recipes() -> None:
    for name, result in _JSONS["seeds"]["recipes"].items():
        if name in recipes.list_shipped():
            assert recipes.parse(result["recipe"], name) == recipes.load(name), "python benchmarks/seeds.py"
        assert result["summary"] == seeds.summarize(result["runs"]), "python benchmarks/seeds.py --render"
        for figures in result["runs"].values():
            assert len(figures["label_recall"]) == len(LABELS)
            assert len(figures["subjects"]) == 9
        if (
            name in _CHECKPOINTS
            and seeds.is_same_recipe(result["recipe"], _CHECKPOINTS[name].recipe)
            and "0" in result["runs"]
        ):
            assert result["runs"]["0"]["accuracy"] == _CHECKPOINTS[name].figures["test"]["accuracy"]
    drawn = seeds.render(_JSONS["seeds"])
    assert "| edge | " + seeds.format_mean_std(_JSONS["seeds"]["recipes"]["edge"]["summary"]["accuracy"]) in drawn


def _run(accuracy: float, **more: float) -> dict[str, Any]:
    figures = {"accuracy": accuracy, "macro_f1": accuracy, "f1": accuracy, **more}
    return {**figures, "label_recall": [accuracy] * 6, "subjects": {"2": accuracy}}


def test_summary_is_mean_and_standard_deviation() -> None:
    found = seeds.summarize({"0": _run(0.90, ece=0.02), "1": _run(0.94), "10": _run(0.98, ece=0.04)})
    assert found["accuracy"] == pytest.approx({"mean": 0.94, "std": 0.04})
    assert "ece" not in found
    assert (found["worst_seed"], found["best_seed"]) == (0.90, 0.98)
    assert found["label_recall"]["LAYING"] == found["subjects"]["2"] == found["accuracy"]
    one = {"baseline-gru": {"recipe": {}, "runs": {"0": _run(0.9, ece=0.02, coarse_accuracy=0.96)}}}
    drawn = seeds.render(seeds.add_summaries(one))
    assert "| baseline-gru | 90.00% | 1 | 90.00% .. 90.00% | 90.00% | 0.020 |" in drawn
    assert "| baseline-gru, coarse labels, both stages done | 96.00% | 1 |" in drawn
    one["baseline-gru"]["runs"] |= {str(k): _run(0.9, coarse_accuracy_after_stage_1=0.95 + k / 100) for k in (1, 2)}
    drawn = seeds.render(seeds.add_summaries(one))
    assert "| baseline-gru, coarse labels, after stage 1 | 96.50% ± 0.71 | 2 |" in drawn
    assert "96.54%" in drawn


def test_runs_of_another_recipe_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = recipes.load("edge").to_dict()
    table["schedule"]["epochs"] = 7
    standing = {"recipes": {"edge": {"recipe": table, "runs": {"0": _run(0.5)}}}}
    (tmp_path / "seeds.json").write_text(json.dumps(standing))
    monkeypatch.setattr(seeds, "JSON", tmp_path / "seeds.json")
    with pytest.raises(InputError, match="contains runs of another recipe edge"):
        seeds.train(["edge"])
    assert json.loads((tmp_path / "seeds.json").read_text()) == standing


def test_run_evaluates_the_test_set_once(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training is replaced by a random network."""
    few = dataclasses.replace(
        dataset, test=dataclasses.replace(
            dataset.test, signals=dataset.test.signals[::40], labels=dataset.test.labels[::40],
            subjects=dataset.test.subjects[::40],
        )
    )  # fmt: skip
    network = random_network(frame=16, hop=16, units=8, hidden=(8,), channels=6)
    monkeypatch.setattr(seeds, "load_dataset", lambda: few)
    monkeypatch.setattr("harexport.training.trainer.fit", lambda *_, on_report: (network, []))
    found = seeds.train_and_evaluate("baseline-lstm-acc", 3)
    own = few.select_channels(recipes.load("baseline-lstm-acc").data.channels).test
    assert found["accuracy"] == (network.logits(own.signals).argmax(axis=1) == own.labels).mean()
    assert set(found["subjects"]) == {"2", "4", "9", "10", "12", "13", "18", "20", "24"}
    assert 0 < found["ece"] < 1
    assert "coarse_accuracy" not in found


@pytest.mark.parametrize(("network", "files"), [(random_network(), 11), (random_gru(), 6)])
def test_export_plan_has_all_files_of_a_network(network: Network, files: int) -> None:
    assert sum(len(schemes) for _, _, schemes in build.export_plan(network)) == files


def test_missing_model_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ship_pretrained, "ARTIFACTS", tmp_path)
    message = ship_pretrained.missing_message()
    assert message is not None
    assert "NOT IN artifacts/: edge, edge-tiny, baseline-lstm, baseline-gru" in message
    for name in ship_pretrained.MODELS:
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.safetensors").touch()
    assert ship_pretrained.missing_message() is None
