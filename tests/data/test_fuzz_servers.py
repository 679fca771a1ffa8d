"""Servers of nonsense on the loopback: fetched, or rejected in one line and in time."""

import io
import shutil
import socket
import threading
import time
import zipfile
from contextlib import contextmanager, suppress

import pytest

from fuzzing import case, memory_limit, mutated, require_one_line, seeds
from unpaired.data.fetch.download import Limits
from unpaired.data.fetch.fetch import fetch
from unpaired.errors import UnpairedError

LIMITS = Limits(
    timeout=0.15, block=1 << 10, failures=2, patience=0.5, pause=0, download_bytes=1 << 20,
    redirects=3,
)  # fmt: skip
DIGITS = [
    "0",
    "-5",
    "+5",
    "5, 5",
    "1e3",
    "9" * 18,
    "9" * 19,
    "9" * 5000,
    "٣",
    "",
    " 7",
    "0x10",
    "inf",
]
CHUNKS = ["-5", "-1", "0", "zz", "f" * 40, "+4", "1_0", " ", "9" * 5000, "4;" + "x" * 3000]
PLACES = [
    "{url}", "{url}?other", "/", "?", "", "//", "http://", "http://[", "http://127.0.0.1:0/",
    "http://127.0.0.1:99999/", "http://127.0.0.1:x/", "https://{host}/x", "file:///etc/passwd",
    "ftp://{host}/x", "data:,x", "javascript:x", "http:x", "http://{host}/" + "x" * 70_000,
    "http://{host}/a b\x7f", "/" + "../" * 50,
]  # fmt: skip
ODD = [
    "X: " + "y" * 70_000, "no colon", ": no name", "X:\x00\x01\xff", " folded", 'ETag: "\xff"',
    "Last-Modified: \x85\x0b", "Content-Encoding: gzip", "Content-Type: multipart/x", "Trailer: X",
]  # fmt: skip


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/x.png", bytes(range(250)) * 12)
    return buffer.getvalue()


WHOLE = zipped()


def answered(draw, port):
    """The pieces of an answer, a pause after each: any part of it may be nonsense."""

    def usual(sane, others, share=0.85):
        return sane if draw.random() < share else draw.choice(others)

    where = {"url": f"http://127.0.0.1:{port}/x.zip", "host": f"127.0.0.1:{port}"}
    code = usual("200", ["206", "416", "100", "204", "304", "404", "503", "000", "999", "x"])
    body = usual(WHOLE, [WHOLE[:500], b"", WHOLE + b"more", WHOLE * 500])
    lines = []
    if draw.random() < 0.25:
        code = draw.choice(["301", "302", "303", "307", "308"])
        lines.append("Location: " + usual("{url}", [*PLACES, ""], 0.2).format(**where))
    if draw.random() < 0.5:
        lines.append(f"Content-Length: {usual(len(body), DIGITS, 0.6)}")
    if draw.random() < 0.1 or code == "206":
        start, total = usual(0, DIGITS, 0.6), usual(len(body), DIGITS, 0.6)
        lines.append(f"Content-Range: bytes {start}-{len(body) - 1}/{total}")
    if draw.random() < 0.3:
        lines.append("Transfer-Encoding: chunked")
        end = usual("0\r\n\r\n", ["", "0\r\n" + "t: t\r\n" * 50_000])
        size = usual(f"{len(body):x}", CHUNKS, 0.5)
        body = size.encode() + b"\r\n" + body + b"\r\n" + end.encode()
    if draw.random() < 0.3:
        lines += [draw.choice(ODD) for _ in range(draw.choice([1, 3, 120]))]
    draw.shuffle(lines)
    version = usual("HTTP/1.1", ["HTTP/1.0", "HTTP/9", "ICY", "\x00", ""])
    head = "\r\n".join([f"{version} {code} {usual('OK', ['', 'x' * 70_000])}", *lines])
    whole = (head + usual("\r\n\r\n", ["\n\n", "\r\n", ""])).encode("latin-1", "replace") + body
    if draw.random() < 0.1:
        whole = mutated(draw, whole) if "Location" not in head else whole
    whole = usual(b"", [b"HTTP/1.1 100 Continue\r\n\r\n" * 3000], 0.9) + whole
    if draw.random() < 0.15:  # it drips, from somewhere on
        at = draw.randrange(len(whole) + 1)
        return [whole[:at], *(whole[k : k + 1] for k in range(at, min(at + 40, len(whole))))]
    return [whole]


@contextmanager
def serving(draw):
    """A server that answers every request of a case; it waits for nothing for long."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        closed = threading.Event()

        def serve():
            for _ in range(20):
                with suppress(OSError):
                    connection, _ = listening.accept()
                    with connection:
                        connection.settimeout(1)
                        connection.recv(1 << 16)
                        for piece in answered(draw, port):
                            if closed.is_set():
                                return
                            connection.sendall(piece)
                            time.sleep(0.05 if len(piece) == 1 else 0)
                if closed.is_set():
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/x.zip"
        finally:
            closed.set()
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                pass
            thread.join(5)


@pytest.fixture
def loopback_alone(monkeypatch):
    """Nothing is asked but the server of the test, wherever it redirects to."""
    usual = socket.create_connection

    def connect(address, *arguments, **more):
        if address[0] != "127.0.0.1":
            raise ConnectionRefusedError
        return usual(address, *arguments, **more)

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("cases", seeds(50, 500))
def test_servers_of_nonsense(tmp_path, loopback_alone, cases):
    home = tmp_path / "home"
    outcomes = {"fetched": 0, "rejected": 0}
    with memory_limit(300):
        for seed in range(cases):
            with case(seed) as draw, serving(draw) as url:
                try:
                    fetched = fetch("ae_photos", home=home, url=url, limits=LIMITS)
                except UnpairedError as error:
                    outcomes["rejected"] += 1
                    require_one_line(error)
                else:
                    outcomes["fetched"] += 1
                    shutil.rmtree(fetched.folder)
                # The beginning of a download may stay, to be resumed.
                kept = {path.name.removeprefix("ae_photos.zip") for path in home.iterdir()}
                assert kept <= {".ae_photos.lock", ".part", ".part.json"}
                assert [path.name for path in tmp_path.iterdir()] == ["home"]
            for path in home.glob("ae_photos.zip.part*"):
                path.unlink()
    assert outcomes["fetched"] > cases // 20, outcomes
