"""HTTP answers with a deadline, however slowly or endlessly a server sends.

The time-out of a socket is that of a single read: a server that sends a byte now and then, one
`100 Continue` after another or a trailer without an end would be listened to for ever.
"""

import contextlib
import io
import socket
import time
import urllib.request
from http import client
from http.client import HTTPException, HTTPResponse
from typing import Any

__all__ = ["Answer", "opener"]


class _Paced(io.RawIOBase):
    """What a socket receives, until a deadline: however slowly it drips, it has an end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.seconds = sock, sock.gettimeout() or 0.0
        self.raw = sock.makefile("rb", buffering=0)
        self.renew()

    def renew(self) -> None:
        self.deadline = time.monotonic() + self.seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)
        return self.raw.readinto(buffer)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.settimeout(self.seconds)  # a proxy's answer precedes another one
        self.raw.close()
        super().close()


class _Bounded(io.BufferedReader):
    """A buffer that is never read to its end at once: a chunk of -1 bytes would ask for that."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise HTTPException("a negative length")
        return super().read(size)


class Answer(HTTPResponse):
    """An answer that must arrive in time: its head, and what is read after `pace.renew()`."""

    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp.close()
        self.pace = _Paced(sock)
        self.fp = _Bounded(self.pace)


class _Plain(client.HTTPConnection):
    response_class = Answer


class _Secure(client.HTTPSConnection):
    response_class = Answer


class _Web(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Plain, req)

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Secure, req)


def opener() -> urllib.request.OpenerDirector:
    """Opens web addresses, through the proxies of the environment; follows no redirects."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        _Web(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
