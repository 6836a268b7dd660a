"""Downloads from a server that breaks off, forgets, lies and hangs."""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

import pytest

from harexport.data.uci_har.download import download
from harexport.errors import InputError

BODY = random.Random(0).randbytes(20 * 16384)  # halves are whole chunks: what is kept of a break is exact
SHA = hashlib.sha256(BODY).hexdigest()
HALF = f"bytes={len(BODY) // 2}-"


@pytest.fixture
def target(server, tmp_path: Path) -> Path:
    server.files["/file"] = BODY
    return tmp_path / "deep" / "file.bin"


def get(server, target: Path, sha256: str | None = SHA, attempts: int = 4) -> None:
    download(server.url + "/file", target, sha256, read_timeout=0.3, attempts=attempts, backoff=0.01)


@pytest.mark.parametrize(
    ("plan", "ranges"),
    [
        (["good"], [None]),
        (["break", "good"], [None, HALF]),
        (["break", "break", "good"], [None, HALF, f"bytes={len(BODY) // 2 + len(BODY) // 4}-"]),
        (["break", "no range"], [None, HALF]),
        (["break", "wrong range", "good"], [None, HALF, None]),
        (["break", "500", "good"], [None, HALF, HALF]),
        (["500", "503", "429", "good"], [None] * 4),
        (["hang", "good"], [None, None]),
        (["hang inside", "good"], [None, HALF]),
        (["too long", "good"], [None, f"bytes={len(BODY)}-"]),
    ],
    ids=str,
)
def test_arrives_whole(server, target: Path, plan: list[str], ranges: list[str | None]) -> None:
    server.plan = plan
    get(server, target)
    assert target.read_bytes() == BODY
    assert server.ranges == ranges
    assert [file.name for file in target.parent.iterdir()] == ["file.bin"]


def test_the_next_call_goes_on(server, target: Path) -> None:
    server.plan = ["break"]
    with pytest.raises(InputError, match=r"announced more than it sent \(1 attempts\).*goes on where it stopped"):
        get(server, target, attempts=1)
    assert not target.exists()
    assert target.with_name("file.bin.part").read_bytes() == BODY[: len(BODY) // 2]
    server.plan = ["good"]
    get(server, target)
    assert server.ranges == [None, HALF]
    assert target.read_bytes() == BODY


def test_a_whole_part_is_not_fetched_again(server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(BODY)
    get(server, target)
    assert target.read_bytes() == BODY


def test_a_part_of_a_longer_file_is_dropped(server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(BODY + b"more")
    get(server, target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("plan", ["good", "too short"])
def test_wrong_content_is_deleted(server, target: Path, plan: str) -> None:
    server.plan = [plan]
    if plan == "good":
        server.files["/file"] = BODY[::-1]
    with pytest.raises(InputError, match=r"is not the expected file: its SHA-256 is .* is deleted"):
        get(server, target)
    assert list(target.parent.iterdir()) == []


def test_a_part_of_something_else_is_deleted(server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(b"something else")
    with pytest.raises(InputError, match="is not the expected file"):
        get(server, target)
    get(server, target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("sha256", [SHA, None])
def test_a_length_that_never_comes_is_an_error(server, target: Path, sha256: str | None) -> None:
    server.files["/file"] = BODY[:9999]
    server.plan = ["too long"]
    with pytest.raises(InputError, match=r"announced more than it sent \(3 attempts\)"):
        get(server, target, sha256, attempts=3)
    assert not target.exists()


@pytest.mark.parametrize(
    ("plan", "message", "requests"),
    [
        ("404", "the server answered 404 Not Found", 1),
        ("403", "the server answered 403 Forbidden", 1),
        ("500", "the server answered 500 .*3 attempts", 3),
        ("hang", r"sent nothing for 0\.3 s .*3 attempts", 3),
    ],
)
def test_what_the_server_refuses(server, target: Path, plan: str, message: str, requests: int) -> None:
    server.plan = [plan]
    with pytest.raises(InputError, match=message):
        get(server, target, attempts=3)
    assert len(server.ranges) == requests
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "http://nowhere.invalid/file", "nonsense", "ftp://x/y"])
def test_no_such_place(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    began = time.monotonic()
    with pytest.raises(InputError, match="could not download") as caught:
        download(url, tmp_path / "file")
    assert "object at 0x" not in str(caught.value)
    assert time.monotonic() - began < 5.0


def test_a_folder_that_is_none(server, target: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .* HAREXPORT_CACHE"):
        get(server, target)
