"""Downloads from a server that breaks off, responds with errors, or does not respond."""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

import pytest

from harexport.data.uci_har import download as download_module
from harexport.data.uci_har import transfer
from harexport.data.uci_har.download import download
from harexport.errors import InputError

BODY = random.Random(0).randbytes(20 * 16384)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def target(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # pooch waits between attempts
    server.files["/file"] = BODY
    return tmp_path / "deep" / "file.bin"


def get(server, target: Path, sha256: str | None = SHA256, attempts: int = 4) -> None:
    download(server.url + "/file", target, sha256, read_timeout=0.3, attempts=attempts)


@pytest.mark.parametrize(
    "plan",
    [
        ["good"],
        ["break", "good"],
        ["break", "break", "good"],
        ["break", "500", "good"],
        ["500", "503", "429", "good"],
        ["hang", "good"],
        ["hang inside", "good"],
        ["too long", "good"],
        ["too short", "good"],
    ],
    ids=str,
)
def test_failures_are_retried(server, target: Path, plan: list[str]) -> None:
    server.plan = list(plan)
    get(server, target)
    assert target.read_bytes() == BODY
    assert len(server.ranges) == len(plan)
    assert [file.name for file in target.parent.iterdir()] == ["file.bin"]


def test_a_download_that_fails_leaves_nothing(server, target: Path) -> None:
    server.plan = ["break"]
    with pytest.raises(InputError, match=r"could not download .* \(1 attempts\)\. Check the connection"):
        get(server, target, attempts=1)
    assert list(target.parent.iterdir()) == []
    server.plan = ["good"]
    get(server, target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("plan", ["good", "too short"])
def test_wrong_content_is_deleted(server, target: Path, plan: str) -> None:
    server.plan = [plan]
    if plan == "good":
        server.files["/file"] = BODY[::-1]
    with pytest.raises(InputError, match=r"is not the expected file: its SHA-256 differs from .* deleted"):
        get(server, target, attempts=2)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_connection_that_ends_early_is_an_error(server, target: Path, sha256: str | None) -> None:
    server.files["/file"] = BODY[:9999]
    server.plan = ["too long"]
    with pytest.raises(InputError, match=r"announced more than it sent \(3 attempts\)"):
        get(server, target, sha256, attempts=3)
    assert not target.exists()


@pytest.mark.parametrize(
    ("plan", "message", "requests"),
    [
        ("404", "the server responded 404 Not Found", 1),
        ("403", "the server responded 403 Forbidden", 1),
        ("500", "the server responded 500 .*3 attempts", 3),
        ("hang", "sent nothing .*3 attempts", 3),
    ],
)
def test_server_errors(server, target: Path, plan: str, message: str, requests: int) -> None:
    server.plan = [plan]
    with pytest.raises(InputError, match=message):
        get(server, target, attempts=3)
    assert len(server.ranges) == requests
    assert list(target.parent.iterdir()) == []


def test_an_endless_download_is_refused(server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "_LIMIT", 100_000)
    with pytest.raises(InputError, match="sends more than 100,000 bytes"):
        get(server, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("plan", ["drip", "drip headers"])
def test_a_server_that_sends_a_byte_now_and_then(
    server, target: Path, monkeypatch: pytest.MonkeyPatch, plan: str
) -> None:
    monkeypatch.setattr(transfer, "_SLOWEST_AFTER_S", 0.3)
    server.plan = [plan]
    start = time.monotonic()
    with pytest.raises(InputError, match="sends less than 2000 bytes a second"):
        get(server, target)
    assert time.monotonic() - start < 3.0
    assert len(server.ranges) == 1
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("plan", ["odd length", "redirect"])
def test_invalid_length_and_endless_redirect(server, target: Path, plan: str) -> None:
    server.plan = [plan, "good"]
    get(server, target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "http://nowhere.invalid/file", "nonsense", "ftp://x/y"])
def test_unreachable_addresses(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    start = time.monotonic()
    with pytest.raises(InputError, match="could not download") as caught:
        download(url, tmp_path / "file")
    assert "object at 0x" not in str(caught.value)
    assert time.monotonic() - start < 5.0


def test_a_file_in_place_of_the_folder(server, target: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .* HAREXPORT_CACHE"):
        get(server, target)
