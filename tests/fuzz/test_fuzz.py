"""Short fuzzing of every parser and reader. `make fuzz` is the long run."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harexport.errors import HarExportError
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, Target, clean_up

_SECONDS = 10  # of processor time for one input
_SETTINGS = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


# Inputs that once ended in another exception.
_FOUND = [
    ("recording-csv", b"a,b,c,d,e\n" + b"1,2,3,4,5\n" * 20 + b"1,2\n"),  # IndexError for a short row behind the header
    ("split", b"{}"),  # KeyError
]


@pytest.fixture(scope="module", autouse=True)
def _temporary_files() -> Iterator[None]:
    yield
    clean_up()


def _try(target: Target, data: bytes) -> bool:
    """Whether the input is accepted; any exception but HarExportError fails the test."""
    start = time.process_time()
    try:
        target.run(data)
    except HarExportError:
        return False
    finally:
        assert time.process_time() - start < _SECONDS
    return True


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_are_accepted_or_refused(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    assert any(_try(target, seed) for seed in seeds), "no valid input, so that mutations test little"

    @_SETTINGS
    @given(st.integers(0, 1 << 32))
    def check(number: int) -> None:
        _try(target, mutate(seeds, random.Random(number)))

    check()


@pytest.mark.parametrize(("name", "data"), _FOUND)
def test_inputs_that_were_found_are_refused(name: str, data: bytes) -> None:
    assert not _try(TARGETS[name], data)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_and_any_text_are_accepted_or_refused(name: str) -> None:
    target = TARGETS[name]

    @_SETTINGS
    @given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
    def check(data: bytes) -> None:
        _try(target, data)

    check()


def test_the_record_of_the_long_run_has_no_open_finding() -> None:
    record = json.loads(Path(__file__).with_name("record.json").read_text("utf-8"))
    assert record["total"] == {
        key: sum(target[key] for target in record["targets"].values()) for key in record["total"]
    }
    assert record["total"]["inputs"] >= 200_000
    assert set(record["targets"]) == set(TARGETS)
    for name, target in record["targets"].items():
        assert target["inputs"], name
        assert not target["findings"], name
        assert target["exceptions"] == target["hangs"] == target["deaths"] == 0
        assert target["peak_memory_mb"] < 2000
