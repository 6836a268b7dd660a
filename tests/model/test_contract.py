"""The contract validates itself, and survives JSON."""

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


def test_defaults_describe_uci_har() -> None:
    plain = Contract().to_dict()
    assert plain["input"] == {"name": "window", "shape": [1, 128, 9], "dtype": "float32"}
    assert [output["name"] for output in plain["outputs"]] == ["logits", "probabilities"]
    assert plain["channels"] == list(CHANNELS)
    assert plain["units"] == ["g"] * 3 + ["rad/s"] * 3 + ["g"] * 3
    assert (plain["rate_hz"], plain["window"], plain["hop"]) == (50.0, 128, 64)
    assert FilterChain() == FilterChain(3, Lowpass(10, 20.0), Lowpass(3, 0.3), Lowpass(2, 0.1))


def _with_noise(**changes: Any) -> dict[str, Any]:
    filters = Contract().to_dict()["filters"]
    return {"filters": {**filters, "noise": {**filters["noise"], **changes}}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contract_version": 4}, "not a harexport contract of a version from 1 to 3"),
        ({"labels": None}, "expected a list of strings, got None"),
        ({"labels": "WALK"}, "expected a list of strings, got 'WALK'"),
        ({"labels": ["WALK", 2]}, "expected a list of strings"),
        ({"labels": ["WALK", "WALK"]}, "labels must be distinct"),
        ({"labels": ["WALK", "a\nb"]}, "labels must be distinct printable names"),
        ({"labels": ["WALK", "x" * 1000]}, "labels must be distinct printable names"),
        ({"labels": []}, "labels must be distinct"),
        ({"channels": []}, "channels must be distinct"),
        ({"filters": {"median": 3}}, "lacks 'noise'"),
        ({"filters": []}, "invalid"),
        ({"window": "wide"}, "expected a number, got 'wide'"),
        ({"window": 2.5}, "expected a whole number, got 2.5"),
        ({"window": True}, "expected a number, got True"),
        ({"units": ["g"]}, "a unit per channel, got 1 for 9"),
        ({"window": 0}, "window must be a whole number from 1"),
        ({"window": 10**9}, "window must be a whole number from 1"),
        ({"hop": float("inf")}, "expected a whole number, got inf"),
        ({"hop": -1}, "hop must be a whole number from 1"),
        ({"rate_hz": float("nan")}, "rate_hz must be above 0 .* got nan"),
        ({"rate_hz": float("inf")}, "rate_hz must be above 0"),
        ({"rate_hz": 10**400}, "rate_hz must be above 0"),
        ({"rate_hz": 10**5000}, "rate_hz must be above 0"),
        ({"rate_hz": -50}, "rate_hz must be above 0"),
        (_with_noise(order="x"), "expected a number, got 'x'"),
        (_with_noise(order=2.5), "expected a whole number, got 2.5"),
        (_with_noise(order=1000), "order must be a whole number from 1 to 24, got 1000"),
        (_with_noise(cutoff_hz=[1]), r"expected a number, got \[1\]"),
        (_with_noise(cutoff_hz=-1), "cutoff_hz must be above 0"),
    ],
)
def test_invalid_contracts_are_refused(change: dict[str, Any], words: str) -> None:
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
