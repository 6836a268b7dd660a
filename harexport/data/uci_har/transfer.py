"""HTTP requests with limits of time, speed and size, also for servers that send a byte now and then."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

import requests

from harexport.errors import InputError

_CHUNK = 1 << 14  # bytes
# Below 2 kB/s a download would take hours. After the time limit for a read, since a download is then tried again.
_SLOWEST_AFTER_S, _SLOWEST = 45.0, 2000.0


def receive(
    url: str,
    output: BinaryIO,
    *,
    timeout: tuple[float, float],
    headers: dict[str, str],
    limit: int,
    advance: Callable[[int], None] = lambda done: None,
) -> requests.Response:
    """Request an address and write the content of the response to a file.

    The request runs in a thread: no time limit of a socket ends a server that sends a byte now and then.

    Args:
        url: Address.
        output: Open file.
        timeout: Seconds to wait for a connection, and for the next bytes.
        headers: Headers of the request.
        limit: Largest number of bytes.
        advance: Called with the number of bytes so far.

    Returns:
        The response, whose content is in `output`.

    Raises:
        InputError: The content is larger than the limit, or arrives too slowly.
        requests.RequestException: The request fails, or the server responds with an error.
    """
    transfer = _Transfer(url, output, timeout, headers, limit)
    thread = threading.Thread(target=transfer.run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
            advance(transfer.done)
            transfer.check_speed()
    finally:
        transfer.is_canceled = True
    if transfer.error is not None:
        raise transfer.error
    assert transfer.response is not None
    return transfer.response


class _Transfer:
    """A request and its progress."""

    def __init__(
        self, url: str, output: BinaryIO, timeout: tuple[float, float], headers: dict[str, str], limit: int
    ) -> None:
        self._url, self._output, self._timeout, self._headers, self._limit = url, output, timeout, headers, limit
        self._start = time.monotonic()
        self.done = 0
        self.is_canceled = False
        self.response: requests.Response | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with _Session() as session:
                self._run(session)
        except Exception as error:
            self.error = error

    def _run(self, session: requests.Session) -> None:
        with session.get(self._url, stream=True, timeout=self._timeout, headers=self._headers) as response:
            response.raise_for_status()
            for chunk in response.iter_content(_CHUNK):
                self.done += len(chunk)
                if self.done > self._limit:
                    raise InputError(f"{self._url} is refused: the server sends more than {self._limit:,} bytes")
                if self.is_canceled:
                    return
                self._output.write(chunk)
            self.response = response

    def check_speed(self) -> None:
        elapsed = time.monotonic() - self._start
        if self.response is None and elapsed > _SLOWEST_AFTER_S and self.done < _SLOWEST * elapsed:
            raise InputError(
                f"could not download {self._url}: the server sends less than {_SLOWEST:.0f} bytes a second"
            )


class _Session(requests.Session):
    """Session that does not read the content of redirects, which requests would read whole."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.close()
            resp.raw = io.BytesIO()
        return target
