"""Bringing a file here over HTTP, going on where a broken download stopped.

The beginning of a file stands in `NAME.part`; what server and version it came from in
`NAME.part.json`, so that a file that has changed since is begun anew (RFC 9110, `If-Range`).
"""

import hashlib
import json
import re
import shutil
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse, responses
from pathlib import Path
from urllib.error import HTTPError, URLError

from unpaired.errors import DataError, RunError
from unpaired.storage import explain_os_error, write_text

__all__ = [
    "LIMITS",
    "Limits",
    "Progress",
    "Unavailable",
    "download",
    "forget",
    "make_sure_of_room",
    "sha256_of",
]

Progress = Callable[[int, int | None], None]
"""Called with the bytes here so far, never falling, and the bytes in all where they are known."""


@dataclass(frozen=True)
class Limits:
    """What a download may cost before it is refused, and how long to insist on it."""

    download_bytes: int = 8 << 30
    unpacked_bytes: int = 32 << 30
    entries: int = 200_000
    """Files and folders in the archive."""
    ratio: float = 100.0
    """Unpacked bytes for each byte of the archive."""
    timeout: float = 30.0
    """Seconds without an answer or a byte."""
    failures: int = 5
    """Broken connections in a row, none of which brought anything new."""
    pause: float = 1.0
    """Seconds before the second try; twice as long before each further one."""


LIMITS = Limits()


class Unavailable(DataError):
    """An address does not give the file at all; another address may."""


def download(
    url: str,
    part: Path,
    *,
    expected: int | None = None,
    limits: Limits = LIMITS,
    progress: Progress | None = None,
) -> None:
    """Brings the file at `url` to `part`, going on with what `part` holds of it already.

    Whatever breaks off, Ctrl-C included, leaves the beginning for the next call.

    Args:
        url: an http or https address.
        part: where to write; its folder exists.
        expected: size of the file in bytes, where it is known beforehand.
        limits: size, time-outs and patience.
        progress: told of every block.

    Raises:
        Unavailable: no network, no such server, no such file, or one of another size.
        DataError: the connection kept breaking off, or the file is over the limit.
        RunError: the disk is full or refuses to be written.
    """
    if not re.match(r"https?://[^/]", url):
        raise Unavailable(f"cannot fetch {url}: give an address that begins with https://")
    meter = _Meter(progress)
    failures = 0
    while True:
        furthest = meter.furthest
        try:
            return _receive(url, part, expected, limits, meter)
        except _Broken as broken:
            failures = failures + 1 if meter.furthest <= furthest else 1
            if failures >= limits.failures:
                if meter.furthest <= 0:
                    raise Unavailable(
                        f"cannot fetch {url}: {broken} (is there a network?)"
                    ) from None
                raise DataError(
                    f"cannot fetch all of {url}: {broken}, {failures} times in a row; "
                    f"what came is kept: start again to go on"
                ) from None
        time.sleep(limits.pause * 2 ** (failures - 1))


def forget(part: Path) -> None:
    """Removes a download, whole or begun."""
    _origin_file(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_sure_of_room(folder: Path, needed: int) -> None:
    """Raises RunError unless the disk of `folder` has `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"the disk of {folder} is full: {needed >> 20} MiB are needed, {free >> 20} MiB are "
            f"free: make room, or set UNPAIRED_DATA to a folder elsewhere"
        )


class _Broken(Exception):
    """A connection failed in a way that may pass."""


@dataclass
class _Meter:
    """Tells of progress that never goes back, even where a download starts from 0 again."""

    progress: Progress | None
    furthest: int = -1

    def reach(self, size: int, total: int | None) -> None:
        if size > self.furthest:
            self.furthest = size
            if self.progress is not None:
                self.progress(size, total)


@dataclass(frozen=True)
class _Origin:
    """The file whose beginning a `.part` holds."""

    url: str
    validator: str | None
    """A strong ETag, else a Last-Modified; without either nothing can be resumed."""
    total: int | None


def _receive(url: str, part: Path, expected: int | None, limits: Limits, meter: _Meter) -> None:
    """One request: for all of the file, or the rest of it where `part` holds its beginning."""
    origin = _read_origin(part)
    have = part.stat().st_size if origin and origin.url == url and part.is_file() else 0
    if origin and have and have == origin.total:
        return meter.reach(have, have)
    headers = {"User-Agent": "unpaired"}
    if origin and origin.validator and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": origin.validator}
    with _ask(url, headers, limits.timeout) as response:
        answer = _Origin(url, _validator(response.headers), _total(url, response) or expected)
        if response.status == 416 and have and answer.total == have:
            return meter.reach(have, have)
        if response.status == 206 and "Range" in headers:
            if not origin or _start(response) != have or not _same_file(answer, origin):
                forget(part)
                raise _Broken("the file changed on the server")
        elif response.status == 200:
            have = 0
        else:
            forget(part)
            raise _Broken(f"the server answered {response.status}")
        _admit(answer, part, have, expected, limits)
        try:
            if have == 0:
                forget(part)
                write_text(_origin_file(part), json.dumps(asdict(answer)))
            _store(response, answer, part, have, limits, meter)
        except OSError as error:
            raise explain_os_error(error, part) from error


def _ask(url: str, headers: Mapping[str, str], timeout: float) -> HTTPResponse:
    """The answer of the server, its body yet unread; 416 is an answer, too."""
    try:
        request = urllib.request.Request(url, headers=dict(headers))
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
        return answer
    except HTTPError as error:
        if error.code == 416:
            return error  # type: ignore[return-value]  # it has status, headers and a context, too
        error.close()
        said = f"the server answered {error.code} {responses.get(error.code, '')}".rstrip()
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Broken(said) from error
        raise Unavailable(f"cannot fetch {url}: {said}") from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, socket.gaierror):
            raise Unavailable(
                f"cannot fetch {url}: its server is not found (is there a network?)"
            ) from error
        if isinstance(reason, ssl.SSLError):
            raise Unavailable(f"cannot fetch {url}: no secure connection: {reason}") from error
        raise _Broken(_in_words(reason)) from error
    except ValueError as error:
        raise Unavailable(f"cannot fetch {url}: {error}") from error


def _in_words(reason: object) -> str:
    """One line that a stranger has no say in."""
    if isinstance(reason, TimeoutError):
        return "the server is silent"
    if isinstance(reason, ConnectionRefusedError):
        return "the server refuses connections"
    words = reason.strerror if isinstance(reason, OSError) else None
    return f"the connection broke ({words or type(reason).__name__})"


def _total(url: str, response: HTTPResponse) -> int | None:
    """Size of the whole file, as far as the server tells; contradictions are refused."""
    said = re.search(r"/([0-9]+)$", response.headers.get("Content-Range", ""))
    total = int(said[1]) if said and response.status in (206, 416) else None
    length = response.headers.get("Content-Length", "")
    if response.status == 416 or not re.fullmatch(r"[0-9]+", length):
        return total
    end = _start(response) + int(length)
    if total is not None and end != total:
        raise Unavailable(
            f"cannot fetch {url}: the server contradicts itself about the length of the file, "
            f"{total} or {end} bytes"
        )
    return end


def _start(response: HTTPResponse) -> int:
    """Place in the file of the first byte of the body."""
    said = re.match(r"bytes ([0-9]+)-", response.headers.get("Content-Range", ""))
    return int(said[1]) if said and response.status == 206 else 0


def _validator(headers: Message) -> str | None:
    etag: str = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


def _same_file(answer: _Origin, origin: _Origin) -> bool:
    """Whether nothing speaks against it; an answer of 206 may leave things out."""
    return answer.validator in (None, origin.validator) and answer.total in (None, origin.total)


def _admit(answer: _Origin, part: Path, have: int, expected: int | None, limits: Limits) -> None:
    """Refuses a file of a wrong size, one over the limit, and one the disk has no room for."""
    if answer.total is None:
        return
    if expected is not None and answer.total != expected:
        raise Unavailable(
            f"cannot fetch {answer.url}: the file there has {answer.total} bytes where {expected} "
            f"are known: it is another one"
        )
    if answer.total > limits.download_bytes:
        raise DataError(
            f"cannot fetch {answer.url}: its {answer.total} bytes are over the limit of "
            f"{limits.download_bytes}"
        )
    make_sure_of_room(part.parent, answer.total - have)


def _store(
    response: HTTPResponse, answer: _Origin, part: Path, have: int, limits: Limits, meter: _Meter
) -> None:
    """Appends the body to `part`; a disk's refusal is an OSError, a broken line is `_Broken`."""
    ceiling = min(limits.download_bytes, answer.total or limits.download_bytes)
    with part.open("ab") as file:
        meter.reach(have, answer.total)
        for block in _body(response):
            have += len(block)
            if have > ceiling:
                break
            file.write(block)
            meter.reach(have, answer.total)
    if have > ceiling:
        forget(part)
        raise DataError(f"cannot fetch {answer.url}: it gives more than {ceiling} bytes")
    if answer.total is not None and have < answer.total:
        raise _Broken(f"the connection broke after {have} of {answer.total} bytes")


def _body(response: HTTPResponse) -> Iterator[bytes]:
    try:
        while block := response.read(1 << 16):
            yield block
    except (OSError, HTTPException) as error:
        raise _Broken(_in_words(error)) from error


def _origin_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_origin(part: Path) -> _Origin | None:
    """Where the beginning in `part` came from; none where nobody knows (any more)."""
    try:
        noted = json.loads(_origin_file(part).read_text(encoding="utf-8"))
        return _Origin(noted["url"], noted["validator"], noted["total"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
