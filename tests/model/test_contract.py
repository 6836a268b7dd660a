"""The contract: one JSON that everybody reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harexport.errors import InputError
from harexport.model.contract import CHANNELS, Contract, FilterChain, Frame, Lowpass


def test_round_trip_through_json() -> None:
    ours = Contract(window=64, hop=8, channels=("a", "b"), units=("g", "rad/s"), labels=("X", "Y", "Z"))
    for contract in (Contract(), ours):
        assert Contract.from_dict(json.loads(json.dumps(contract.to_dict())), "here") == contract


def test_it_states_what_the_official_data_is() -> None:
    plain = Contract().to_dict()
    assert plain["input"] == {"name": "window", "shape": [1, 128, 9], "dtype": "float32"}
    assert [output["name"] for output in plain["outputs"]] == ["logits", "probabilities"]
    assert plain["channels"] == list(CHANNELS)
    assert plain["units"] == ["g"] * 3 + ["rad/s"] * 3 + ["g"] * 3
    assert (plain["rate_hz"], plain["window"], plain["hop"]) == (50.0, 128, 64)
    assert FilterChain() == FilterChain(3, Lowpass(10, 20.0), Lowpass(3, 0.3), Lowpass(2, 0.1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contract_version": 3}, "not a harexport contract of version 1 or 2"),
        ({"labels": None}, "lacks or misstates"),
        ({"filters": {"median": 3}}, "lacks or misstates 'noise'"),
        ({"window": "wide"}, "lacks or misstates"),
        ({"units": ["g"]}, "do not fit together"),
        ({"window": 0}, "do not fit together"),
        ({"rate_hz": float("nan")}, "do not fit together"),
        ({"rate_hz": float("inf")}, "do not fit together"),
    ],
)
def test_foreign_contracts_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=rf"x\.json: .*{words}"):
        Contract.from_dict({**Contract().to_dict(), **change}, "x.json")
    with pytest.raises(InputError, match="not a harexport contract"):
        Contract.from_dict([], "x.json")


def test_contract_with_frame_is_version_2() -> None:
    contract = Contract(frame=Frame(heading="free"))
    plain = json.loads(json.dumps(contract.to_dict()))
    assert plain["contract_version"] == 2
    assert plain["frame"] == {"gravity": "+x", "heading": "free"}
    assert "before the filters" in plain["mount"]
    assert Contract.from_dict(plain, "here") == contract


def test_contract_without_frame_stays_version_1() -> None:
    plain = Contract().to_dict()
    assert plain["contract_version"] == 1
    assert not {"frame", "mount"} & set(plain)


@pytest.mark.parametrize("frame", [None, {}, {"gravity": "-z", "heading": "free"}, {"gravity": "+x", "heading": "?"}])
def test_unknown_frame_is_an_input_error(frame: Any) -> None:
    plain = {**Contract(frame=Frame()).to_dict(), "frame": frame}
    with pytest.raises(InputError, match=r"x\.json: the contract (has an unknown frame|of version 2 has no frame)"):
        Contract.from_dict(plain, "x.json")
