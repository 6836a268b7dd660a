"""Trials on a Ray cluster of two workers that is started here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harexport.data import Dataset
from harexport.errors import InputError
from harexport.model_selection import parallel
from harexport.model_selection.cross_validation import cross_validate
from harexport.model_selection.parallel import Execution
from harexport.model_selection.trials import Trial
from tests.model_selection.conftest import quick
from tests.test_cli import harexport


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of a cluster of two workers on this machine; only its own processes are ended."""
    port, client = _free_ports(2)
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus", "2",
               "--port", port, "--ray-client-server-port", client, "--include-dashboard", "false",
               "--disable-usage-stats"]  # fmt: skip
    # a short path: Ray puts sockets into it, whose names may have 107 characters
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "log")
        with log.open("w") as stream:
            head = subprocess.Popen([*map(str, command), "--temp-dir", folder], stdout=stream, stderr=stream)
        try:
            until = time.monotonic() + 180
            while "Ray runtime started" not in log.read_text():
                assert head.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            head.terminate()  # with --block it ends all that it started
            try:
                head.wait(90)
            except subprocess.TimeoutExpired:
                head.kill()


def test_same_results_as_on_this_machine(
    address: str, people: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    here = cross_validate(people, quick(), tmp_path / "here", "2", (0, 1), Execution(jobs=2))
    there = cross_validate(people, quick(), tmp_path / "there", "2", (0, 1), Execution(cluster=address))
    assert there.failures == ()
    assert there.summary == here.summary
    assert there.subjects == here.subjects
    for one, other in zip(here.tables[:2], there.tables[:2], strict=True):
        assert one.read_bytes() == other.read_bytes()
    output = capfd.readouterr()
    assert f"Ray cluster at {address}: 2 cores" in output.err
    assert output.out == ""
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    # and it goes on there with what was kept here
    cross_validate(people, quick(), tmp_path / "here", "2", (0, 1, 2), Execution(cluster=address))
    assert "4 of 6 trials are finished already" in capfd.readouterr().err


def test_dead_worker_is_a_failed_trial(
    address: str, people: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "_run_with_same_versions", _dying)
    ended = dict(parallel.run_on_cluster(people, [Trial(quick(), (1,), seed) for seed in (0, 1)], address))
    assert "its process on the cluster died" in (ended[1].error or "")
    assert not ended[1].final
    assert ended[0].scores


def test_other_versions_on_the_cluster(address: str, people: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "package_versions", lambda: {"torch": "1.0", "harexport": "0.0"})
    with pytest.raises(InputError, match=r"torch .* instead of 1\.0, harexport .* instead of 0\.0; install the same"):
        list(parallel.run_on_cluster(people, [Trial(quick(), (1,), 0)], address))


def test_missing_package_on_the_cluster(address: str, people: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_run_with_same_versions", _lacking)
    with pytest.raises(InputError, match=r"cannot run the trials .*No module named 'harexport'.*install the same"):
        list(parallel.run_on_cluster(people, [Trial(quick(), (1,), 0)], address))


def _dying(expected: object, dataset: Dataset, trial: Trial) -> object:
    if trial.seed == 1:
        os._exit(9)
    return parallel.run_trial(dataset, trial)


def _lacking(expected: object, dataset: Dataset, trial: Trial) -> object:
    raise ModuleNotFoundError("No module named 'harexport'")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nowhere", "give HOST:PORT"),
        ("local", "give HOST:PORT"),
        ("", "give HOST:PORT"),
        (":6379", "give HOST:PORT"),
        ("127.0.0.1:99999", "give HOST:PORT"),
        ("127.0.0.1:6379x", "give HOST:PORT"),
        ("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1"),
        ("ray://127.0.0.1:1", "no Ray cluster at ray://127.0.0.1:1"),
        ("no-such-host.invalid:6379", "no Ray cluster at no-such-host.invalid:6379"),
        ("a" * 300 + ":6379", "no Ray cluster at"),
    ],
)
def test_invalid_addresses(value: str, words: str, quick_toml: Path, uci_har_path: Path, tmp_path: Path) -> None:
    result = harexport(
        "crossval", "--cluster", value, "--recipe", quick_toml, "--data", uci_har_path, "--out", tmp_path
    )
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_without_ray(quick_toml: Path, uci_har_path: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        code = "import sys; sys.modules['ray'] = None; from harexport.cli import main; main()"
        command = ["crossval", "--cluster", f"127.0.0.1:{listening.getsockname()[1]}", "--recipe", str(quick_toml)]
        child = subprocess.run(
            [sys.executable, "-c", code, *command, "--data", str(uci_har_path), "--out", str(tmp_path)],
            capture_output=True,
            text=True,
        )
    assert child.returncode == 2, child.stderr
    assert "pip install -c constraints.txt '.[cluster]'" in child.stderr
