"""Downloads from a server on the loopback that breaks off, lies and changes its mind."""

import errno
import hashlib
import io
import json
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from unpaired.data.fetch import download as module
from unpaired.data.fetch.download import Limits, Unavailable, download, forget, sha256_of
from unpaired.errors import DataError, RunError

QUICK = Limits(timeout=5, failures=3, pause=0)
ODD_NOTE = '{"url": 1, "validator": ["x"], "total": "10"}'
CONTENT = random.Random(1).randbytes(300_000)


class Disk(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "set.zip.part"


def refused(kind: type[Exception], url: str, part: Path, **options: Any) -> str:
    """The one line with which a download is refused."""
    with pytest.raises(kind) as caught:
        download(url, part, limits=options.pop("limits", QUICK), **options)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_arrives_as_it_is(server, part, on_progress):
    server.content = CONTENT
    calls: list[tuple[int, int | None]] = []
    on_progress(lambda *call: calls.append(call))
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert sha256_of(part) == hashlib.sha256(CONTENT).hexdigest()
    assert calls[0] == (0, len(CONTENT))
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


@pytest.mark.parametrize("validator", ["etag", "modified"])
def test_a_broken_download_goes_on_where_it_stopped(server, part, validator):
    server.content, server.breaks_after = CONTENT, [100_000]
    if validator == "modified":
        server.etag, server.modified = None, "Wed, 21 Oct 2015 07:28:00 GMT"
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    first, second = server.requests
    assert "Range" not in first
    assert second["Range"] == "bytes=100000-"
    assert second["If-Range"] == (server.etag or server.modified)
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize("resets", [False, True])
def test_wherever_it_breaks_the_file_is_whole_and_nothing_is_sent_twice(server, part, resets):
    draw = random.Random(2)
    for _ in range(8):
        server.content, server.resets, server.sent = draw.randbytes(200_000), resets, 0
        server.breaks_after = [draw.randrange(1, 60_000) for _ in range(6)]
        download(server.url, part, limits=QUICK)
        assert part.read_bytes() == server.content
        if not resets:  # a reset may swallow what was under way
            assert server.sent == len(server.content)
        forget(part)
    assert list(part.parent.iterdir()) == []


def test_a_later_call_goes_on_and_a_whole_file_is_not_asked_for_again(server, part, on_progress):
    server.content, server.breaks_after = CONTENT, [50_000, 0, 0, 0]
    text = refused(DataError, server.url, part)
    assert "50000 of 300000 bytes" in text
    assert "start again" in text
    assert part.read_bytes() == CONTENT[:50_000]
    progress: list[int] = []
    on_progress(lambda done, _: progress.append(done))
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert progress[0] == 50_000
    asked = len(server.requests)
    download(server.url, part, limits=QUICK)
    assert len(server.requests) == asked


def test_ctrl_c_leaves_the_beginning(server, part, on_progress):
    server.content = CONTENT

    def press(done: int, total: int | None) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    on_progress(press)
    with pytest.raises(KeyboardInterrupt):
        download(server.url, part, limits=QUICK)
    have = part.stat().st_size
    assert 100_000 < have < len(CONTENT)
    on_progress(lambda *_: None)
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == f"bytes={have}-"


@pytest.mark.parametrize("checks", [True, False])
@pytest.mark.parametrize("size", [300_000, 20_000])
def test_a_file_that_changed_is_begun_anew(server, part, checks, size):
    server.content, server.breaks_after = CONTENT, [50_000, 0, 0, 0]
    refused(DataError, server.url, part)
    server.content, server.etag = random.Random(3).randbytes(size), '"two"'
    server.checks_if_range = checks
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == server.content


def test_a_beginning_from_elsewhere_is_not_gone_on_with(server, part):
    server.content, server.breaks_after = CONTENT, [50_000, 0, 0, 0]
    refused(DataError, server.url, part)
    server.content = random.Random(3).randbytes(len(CONTENT))
    download(f"{server.url}?elsewhere", part, limits=QUICK)
    assert part.read_bytes() == server.content
    assert "Range" not in server.requests[-1]


def test_another_range_than_was_asked_for_is_not_used(server, part):
    server.content, server.breaks_after, server.shift = CONTENT, [100_000], 10
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert [request.get("Range") for request in server.requests] == [None, "bytes=100000-", None]


def test_a_server_without_ranges_starts_from_0_and_progress_does_not_fall(
    server, part, on_progress
):
    server.content, server.ranges, server.breaks_after = CONTENT, False, [200_000]
    progress: list[int] = []
    on_progress(lambda done, _: progress.append(done))
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert server.sent == 200_000 + len(CONTENT)
    assert progress == sorted(progress)


def test_a_server_without_ranges_that_always_breaks_is_given_up(server, part):
    server.content, server.ranges, server.breaks_after = CONTENT, False, [99_000] * 50
    refused(DataError, server.url, part)
    assert len(server.requests) == QUICK.failures


def test_without_a_validator_nothing_is_resumed(server, part):
    server.content, server.etag, server.breaks_after = CONTENT, 'W/"weak"', [100_000]
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert "Range" not in server.requests[1]


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": 1}', "null", "[" * 5000, ODD_NOTE])
def test_a_beginning_of_unknown_origin_is_not_used(server, part, note):
    server.content = CONTENT
    part.write_bytes(b"something else")
    part.with_name("set.zip.part.json").write_text(note)
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert "Range" not in server.requests[0]


def test_a_whole_file_of_unknown_length_is_known_by_416(server, part):
    server.content = CONTENT
    part.write_bytes(CONTENT)
    note = {"url": server.url, "validator": server.etag, "total": None}
    part.with_name("set.zip.part.json").write_text(json.dumps(note))
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert (len(server.requests), server.sent) == (1, 0)


def test_more_than_there_is_starts_anew_after_416(server, part):
    server.content = CONTENT
    part.write_bytes(CONTENT + b"more")
    note = {"url": server.url, "validator": server.etag, "total": None}
    part.with_name("set.zip.part.json").write_text(json.dumps(note))
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT


def test_a_file_of_unannounced_length(server, part, on_progress):
    server.content, server.chunked, server.breaks_after = CONTENT, True, [100_000]
    calls: list[tuple[int, int | None]] = []
    on_progress(lambda *call: calls.append(call))
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert calls[0] == (0, None)


def test_a_server_that_announces_too_much_is_given_up(server, part):
    server.content, server.announces, server.ranges = CONTENT, len(CONTENT) + 10, False
    assert "300000 of 300010 bytes" in refused(DataError, server.url, part)
    assert len(server.requests) == QUICK.failures


def test_a_server_that_takes_back_what_it_announced_is_believed(server, part):
    server.content, server.announces = CONTENT, len(CONTENT) + 10
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT


def test_a_server_that_announces_too_little_is_cut_there(server, part):
    """HTTP ends a body at its Content-Length; that the file is not whole shows in unpacking."""
    server.content, server.announces = CONTENT, 1_000
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT[:1_000]


def test_a_server_that_contradicts_itself_is_refused(server, part):
    server.content, server.breaks_after = CONTENT, [50_000]
    server.announces_total = 200_000
    assert "contradicts itself" in refused(Unavailable, server.url, part)


def test_more_than_is_known_is_refused_on_the_way(server, part):
    server.content, server.chunked = CONTENT, True
    assert "more than 100000" in refused(DataError, server.url, part, expected=100_000)
    assert not part.exists()


def test_another_size_than_is_known_is_refused_before_a_byte_is_taken(server, part):
    server.content = CONTENT
    assert "another one" in refused(Unavailable, server.url, part, expected=299_999)
    assert not part.exists()


@pytest.mark.parametrize("chunked", [False, True])
def test_the_limit_holds(server, part, chunked, on_progress):
    server.content, server.chunked = CONTENT, chunked
    limits = Limits(pause=0, download_bytes=200_000)
    progress: list[int] = []
    on_progress(lambda done, _: progress.append(done))
    text = refused(DataError, server.url, part, limits=limits)
    assert "200000" in text
    assert not part.exists()
    if chunked:
        assert 100_000 < max(progress) <= 200_000
    else:
        assert progress == []


def test_a_passing_failure_is_tried_again_with_growing_pauses(server, part, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    server.content, server.status = CONTENT, [503, 500, 429]
    download(server.url, part, limits=Limits(failures=4, pause=0.5))
    assert part.read_bytes() == CONTENT
    assert pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("status", [404, 403, 410])
def test_no_such_file_is_said_at_once(server, part, status):
    server.status = [status]
    text = refused(Unavailable, server.url, part)
    assert str(status) in text
    assert server.url in text
    assert len(server.requests) == 1


def test_no_such_server_is_said_at_once(part, monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module.time, "sleep", lambda _: pytest.fail("waited"))
    assert "network" in refused(Unavailable, "http://set.invalid/set.zip", part)


def test_a_refused_connection_is_said_after_some_tries(part, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "refuses" in refused(Unavailable, f"http://127.0.0.1:{port}/set.zip", part)


def test_a_proxy_of_an_unknown_kind_is_named_at_once(part, monkeypatch):
    monkeypatch.setenv("http_proxy", "socks9://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(module.time, "sleep", lambda _: pytest.fail("waited"))
    assert "unknown url type: socks9" in refused(Unavailable, "http://set.invalid/a", part)


def test_a_silent_server_is_given_up_and_the_beginning_kept(server, part):
    server.content, server.hold = CONTENT, threading.Event()
    limits = Limits(timeout=0.1, failures=2, pause=0)
    assert "does not respond" in refused(DataError, server.url, part, limits=limits)
    server.hold.set()
    assert part.stat().st_size > 0


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {  # the beginning of an answer, what follows it again and again, seconds between
    "head": (b"HTTP/1.1 200 OK\r\nX: ", b"y", 0.05),
    "100": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0),
    "slow 100": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"y", 0.05),
    "chunks": (CHUNKED, b"1\r\ny\r\n", 0.05),
    "extensions": (CHUNKED, b"1;" + b"e" * 60_000 + b"\r\ny\r\n", 0.01),
    "trailer": (CHUNKED + b"1\r\ny\r\n0\r\n", b"t: t\r\n", 0),
    "redirect": (b"HTTP/1.1 302 Found\r\nX: ", b"y", 0.05),
}


@pytest.mark.parametrize("where", ENDLESS)
def test_a_server_that_drips_or_never_ends_is_given_up(raw_server, part, where):
    beginning, again, pause = ENDLESS[where]

    def answer(send, number):
        send(beginning)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            send(again)
            time.sleep(pause)

    url = raw_server(answer)
    limits = Limits(timeout=0.3, failures=3, pause=0, patience=0.5, block=1 << 14)
    began = time.monotonic()
    assert "too slowly" in refused(Unavailable, url, part, limits=limits)
    assert time.monotonic() - began < 4  # each answer would last 5 s


def test_a_server_that_gives_a_byte_a_connection_is_given_up(server, part):
    server.content, server.breaks_after = CONTENT, [1] * 1000
    assert "times in a row" in refused(DataError, server.url, part)
    assert len(server.requests) == QUICK.failures


def test_patience_ends_before_the_attempts(server, part, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    server.status = [503] * 100
    limits = Limits(failures=100, patience=0)
    assert "503" in refused(Unavailable, server.url, part, limits=limits)
    assert len(server.requests) == 1


def redirecting(place):
    """Answers every request by a redirect."""
    return lambda send, _: send(b"HTTP/1.1 302 Found\r\nLocation: " + place + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (b"file:///etc/passwd", "not a web address"),
        (b"ftp://127.0.0.1/set.zip", "not a web address"),
        (b"data:,x", "not a web address"),
        (b"FILE:/etc/passwd", "not a web address"),
        (b"javascript:x", "not a web address"),
        (b"http://[", "not a web address"),
        (b"", "not a web address"),
        (b"http://127.0.0.1:99999/", "no valid address"),
        (b"http://127.0.0.1:x/", "no valid address"),
        (b"/set.zip", "redirects more than 5 times"),
        (b"?again", "redirects more than 5 times"),
    ],
)
def test_redirects_lead_to_web_addresses_and_to_an_end(raw_server, part, place, reason):
    assert reason in refused(Unavailable, raw_server(redirecting(place)), part)


def test_a_redirect_without_an_address_and_one_to_an_insecure_one_are_refused(raw_server, part):
    url = raw_server(lambda send, _: send(b"HTTP/1.1 307 Moved\r\n\r\n"))
    assert "not a web address" in refused(Unavailable, url, part)
    with pytest.raises(Unavailable, match="from https to http, which is not secure"):
        module._redirected("https://a/x", "https://a/x", "http://a/x")
    assert module._redirected("http://a/x", "http://a/x", "https://b/y z") == "https://b/y%20z"


def test_a_redirect_is_followed_and_what_it_leads_to_is_resumed(server, raw_server, part):
    server.content, server.breaks_after = CONTENT, [100_000]
    download(raw_server(redirecting(server.url.encode())), part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert server.requests[1]["Range"] == "bytes=100000-"


@pytest.mark.parametrize(
    ("lines", "body", "reason"),
    [
        (b"Content-Length: " + b"9" * 5000, b"", "5000 digits"),
        (b"Content-Length: " + b"9" * 18, b"", "over the limit"),
        (b"Transfer-Encoding: chunked", b"-5\r\nhello\r\n", "the connection broke"),
        (b"Transfer-Encoding: chunked", b"-1\r\n" + bytes(1 << 20), "the connection broke"),
        (b"Transfer-Encoding: chunked", b"9" * 5000, "the connection broke"),
        (b"X: y\r\n" * 200, b"", "the connection broke"),
    ],
)
def test_odd_lengths_are_one_line(raw_server, part, lines, body, reason):
    url = raw_server(lambda send, _: send(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n" + body))
    with pytest.raises(DataError) as caught:
        download(url, part, limits=QUICK)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("lines", ["bytes */" + "9" * 5000, f"bytes {'9' * 5000}-9/10"])
def test_odd_ranges_are_one_line(raw_server, part, lines):
    answers = [f"HTTP/1.1 {code} X\r\nContent-Range: {lines}\r\n\r\n" for code in (416, 206)]
    for answer in answers:
        url = raw_server(lambda send, _, answer=answer: send(answer.encode()))
        with pytest.raises(DataError) as caught:
            download(url, part, limits=QUICK)
        assert len(str(caught.value)) < 300


def test_what_a_server_says_is_sent_back_only_if_it_is_plain(server, part):
    server.content, server.etag, server.breaks_after = CONTENT, '"' + "x" * 5000 + '"', [100_000]
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT
    assert "If-Range" not in server.requests[1]


def test_a_connection_that_is_not_secure_is_refused_at_once(server, part):
    url = server.url.replace("http", "https")
    assert "secure" in refused(Unavailable, url, part)


ODD_ADDRESSES = [
    "file:///etc/passwd",
    "ftp://a/b",
    "set.zip",
    "http://",
    "http:///a",
    "http://[1",
    "http://a/ü",
    "http://127.0.0.1:99999/a",
    "http://127.0.0.1:x/a",
    f"http://{'a' * 70}.invalid/",
]


@pytest.mark.parametrize("url", [*ODD_ADDRESSES, "", "http://a b"])
def test_only_web_addresses(part, url):
    refused(Unavailable, url, part, limits=Limits(failures=1))


def test_a_full_disk_is_foreseen(server, part, monkeypatch):
    server.content = CONTENT
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Disk(10**6, 10**6, 1000))
    assert "full" in refused(RunError, server.url, part)
    assert not part.exists()


def test_a_disk_that_fills_up_is_one_line_and_the_beginning_is_kept(server, part, monkeypatch):
    server.content = CONTENT
    usual: Callable[..., IO[bytes]] = Path.open

    def filling(path: Path, *arguments: Any, **more: Any) -> IO[bytes]:
        file = usual(path, *arguments, **more)
        if path != part:
            return file
        file.close()
        return Filling(path, "ab")

    class Filling(io.FileIO):
        def write(self, block: Any) -> int:
            if self.tell() > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(block)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", filling)
        assert "the disk is full" in refused(RunError, server.url, part)
    assert 100_000 < part.stat().st_size < len(CONTENT)
    download(server.url, part, limits=QUICK)
    assert part.read_bytes() == CONTENT


def test_the_disk_is_really_asked(tmp_path):
    module.require_space(tmp_path, shutil.disk_usage(tmp_path).free // 2)
    with pytest.raises(RunError):
        module.require_space(tmp_path, shutil.disk_usage(tmp_path).free * 2)
