"""Connections: how many, how long without a whole request, and the server that has them."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from unpaired.serving.limits import ServeLimits

__all__ = ["HttpServer", "make_server"]

_HEAD_SECONDS = 10.0  # in which the head of a request has to arrive
_MOST_HEAD = 16_384  # bytes
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    b"Retry-After: 5\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
)
_FULL_BODY = (
    b'{"type": "about:blank", "title": "Service Unavailable", "status": 503, '
    b'"detail": "too many connections are open: try again later"}'
)
_BAD = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
)
_BAD_BODY = (
    b'{"type": "about:blank", "title": "Bad Request", "status": 400, '
    b'"detail": "this is no HTTP, or its head is too long"}'
)


class HttpServer(uvicorn.Server):
    """A server that leaves the signals of the process to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield

    @property
    def connections(self) -> int:
        """The connections that are open."""
        return len(self.server_state.connections)


def make_server(app: ASGIApp, limits: ServeLimits) -> HttpServer:
    """A server of `app` that closes connections on which no whole head of a request arrives."""

    class Guarded(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.write(_FULL % (len(_FULL_BODY), _FULL_BODY))
                transport.close()
                return
            self._timer = self.loop.call_later(_HEAD_SECONDS, self._expire)

        def on_response_complete(self) -> None:
            if self._timer:
                self._timer.cancel()
            self._timer = self.loop.call_later(_HEAD_SECONDS, self._expire)
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer:
                self._timer.cancel()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            body = _BAD_BODY
            self.transport.write(_BAD % (len(body), body))
            self.transport.close()

        def _expire(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

    for name in ("uvicorn", "uvicorn.error"):  # its warnings are of clients, and without end
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        http=Guarded,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=_MOST_HEAD,
        backlog=min(limits.connections, socket.SOMAXCONN),
    )
    return HttpServer(config)
