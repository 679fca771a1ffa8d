"""A web server of one file on the loopback, which misbehaves as it is told."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class FileServer:
    """What the server gives, what it gets wrong, and what it was asked."""

    content: bytes = b""
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    """Whether it answers a request for a range with that range."""
    checks_if_range: bool = True
    shift: int = 0
    """How much later than asked a range begins."""
    status: list[int] = field(default_factory=list)
    """Status codes of the next answers, given without a body."""
    breaks_after: list[int] = field(default_factory=list)
    """Body bytes after which it drops the next connections."""
    resets: bool = False
    """Whether a dropped connection is reset, not closed."""
    announces: int | None = None
    """A false Content-Length."""
    announces_total: int | None = None
    """A false total in Content-Range."""
    chunked: bool = False
    hold: threading.Event | None = None
    """Awaited after half of the body."""
    requests: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    """Body bytes given away."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/set.zip"


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append(dict(self.headers))
            if server.status:
                self.send_response(server.status.pop(0))
                self.end_headers()
                return
            start = self._start()
            if start >= len(server.content) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.end_headers()
                return
            body = server.content[start:]
            self._head(start, body)
            self._give(body)

        def _start(self) -> int:
            asked = self.headers["Range"]
            same = self.headers["If-Range"] in (server.etag, server.modified)
            if not asked or not server.ranges or (server.checks_if_range and not same):
                return 0
            return int(asked.removeprefix("bytes=").removesuffix("-")) + server.shift

        def _head(self, start: int, body: bytes) -> None:
            if server.chunked:
                self.protocol_version = "HTTP/1.1"
            self.send_response(206 if start else 200)
            if server.etag:
                self.send_header("ETag", server.etag)
            if server.modified:
                self.send_header("Last-Modified", server.modified)
            if start:
                total = server.announces_total or len(server.content)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if server.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                self.send_header("Connection", "close")
            else:
                length = len(body) if server.announces is None else server.announces
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def _give(self, body: bytes) -> None:
            broken = bool(server.breaks_after)
            body = body[: server.breaks_after.pop(0)] if broken else body
            half = len(body) // 2
            for piece in (body[:half], body[half:]):
                server.sent += len(piece)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if server.chunked else piece)
                if server.hold is not None:
                    self.wfile.flush()
                    server.hold.wait(20)
            if server.chunked and not broken:
                self.wfile.write(b"0\r\n\r\n")
            if broken and server.resets:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "*")
    told = FileServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(told))
    http.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    told.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield told
    http.shutdown()
    thread.join()
    http.server_close()


Answer = Callable[[Callable[[bytes], object], int], object]
"""Answers a request, by a function that sends bytes until the connection is closed; its number."""


@pytest.fixture
def raw_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], str]]:
    """Starts a server on the loopback that sends what it is told; returns its address."""
    monkeypatch.setenv("no_proxy", "*")
    closed = threading.Event()
    threads: list[threading.Thread] = []

    def serve(listening: socket.socket, answer: Answer) -> None:
        with listening:
            for number in range(50):
                while not closed.is_set():
                    with suppress(TimeoutError):
                        connection, _ = listening.accept()
                        break
                else:
                    return
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    if connection.recv(1 << 16):
                        answer(connection.sendall, number)

    def start(answer: Answer) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(0.05)
        threads.append(threading.Thread(target=serve, args=(listening, answer)))
        threads[-1].start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}/set.zip"

    yield start
    closed.set()
    for thread in threads:
        thread.join()
