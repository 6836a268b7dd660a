"""Models whose recipes list their layers: checkpoints, files and cards belong together."""

from __future__ import annotations

import json

import pytest

from artifacts import layer_models, model_cards
from benchmarks import ship_pretrained
from harexport import runtimes
from harexport.model import recipe as recipes

_EXPORTS = json.loads(layer_models.JSON.read_text("utf-8"))


@pytest.mark.parametrize("name", layer_models.MODELS)
def test_files_are_those_of_the_checkpoint(name: str) -> None:
    checkpoint = ship_pretrained.load_checkpoints(layer_models.MODELS)[name]
    assert checkpoint.recipe == recipes.load(name), "the recipe changed since: train again"
    assert not checkpoint.network.is_stack
    folder = ship_pretrained.ARTIFACTS / name
    written = [result for result in _EXPORTS[name] if "refused" not in result]
    assert {result["format"] for result in written} == {"onnx", "tflite"}
    for result in written:
        path = folder / result["path"]
        assert path.stat().st_size == result["size_bytes"]
        assert runtimes.load(path).metadata["network_sha256"] == checkpoint.digest
        assert result["checks"]["parity"]["failures"] == []


def test_cards_are_current() -> None:
    cards = layer_models.build_cards()
    assert {path.parent.name for path in cards} == set(layer_models.MODELS) == set(_EXPORTS)
    for path, text in cards.items():
        assert path.name == model_cards.CARD
        assert path.read_text("utf-8") == text, "python artifacts/layer_models.py --cards"
