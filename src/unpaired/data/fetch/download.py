"""Downloading a file over HTTP, resuming where an interrupted download stopped.

`NAME.part` holds the beginning of a file, `NAME.part.json` the address and version it came from,
so that the download of a file that has changed since starts over (RFC 9110, `If-Range`).

A server is not trusted: the head of its answer and each block of the body have a time limit, it
redirects to web addresses only, and nothing it says about lengths is taken for a number unseen.
"""

import hashlib
import json
import re
import shutil
import socket
import ssl
import string
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse, InvalidURL, responses
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit

from unpaired.console import Progress, progress
from unpaired.data.fetch.connection import Answer, opener
from unpaired.errors import DataError, RunError
from unpaired.storage import explain_os_error, write_text

__all__ = ["LIMITS", "Limits", "Unavailable", "download", "forget", "require_space", "sha256_of"]


@dataclass(frozen=True)
class Limits:
    """Sizes above which a download is rejected, and how persistent it is."""

    download_bytes: int = 8 << 30
    unpacked_bytes: int = 32 << 30
    entries: int = 200_000
    """Files and folders in the archive."""
    ratio: float = 100.0
    """Unpacked bytes per byte of the archive."""
    timeout: float = 30.0
    """Seconds within which the head of an answer, and then each block of it, must be complete."""
    block: int = 1 << 14
    """Bytes of a block: what counts as progress."""
    failures: int = 5
    """Consecutive broken connections that together brought less than a block."""
    patience: float = 60.0
    """Seconds of broken connections without a new block."""
    redirects: int = 5
    pause: float = 1.0
    """Seconds before the second attempt; doubled before each further one."""


LIMITS = Limits()


class Unavailable(DataError):
    """An address does not provide the file at all; another address may."""


def download(url: str, part: Path, *, expected: int | None = None, limits: Limits = LIMITS) -> None:
    """Downloads the file at `url` to `part`, resuming from what `part` already holds of it.

    Any interruption, Ctrl-C included, keeps the beginning for the next call.

    Args:
        url: an http or https address.
        part: where to write; its folder exists.
        expected: size of the file in bytes, if known beforehand.
        limits: size, time-out and number of attempts.

    Raises:
        Unavailable: no network, no such server, no such file, or a file of another size.
        DataError: the connection broke too often, or the file is over the limit.
        RunError: the disk is full or cannot be written.
    """
    if not re.match(r"https?://[^/]", url):
        raise Unavailable(f"cannot fetch {url}: give an address that begins with https://")
    failures, furthest, since = 0, 0, time.monotonic()
    with progress(f"fetching {part.stem}", unit="bytes") as shown:
        while True:
            try:
                return _receive(url, part, expected, limits, shown)
            except _Broken as broken:
                if shown.done - furthest >= limits.block:
                    failures, furthest, since = 0, shown.done, time.monotonic()
                failures += 1
                if failures >= limits.failures or time.monotonic() - since > limits.patience:
                    said = f"{url}: {broken}"
                    if not shown.done:
                        raise Unavailable(f"cannot fetch {said} (is there a network?)") from None
                    raise DataError(
                        f"cannot fetch all of {said}, {failures} times in a row; the received "
                        f"part is kept: start again to resume"
                    ) from None
            time.sleep(limits.pause * 2 ** (failures - 1))


def forget(part: Path) -> None:
    """Removes a download, complete or not."""
    _origin_file(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(folder: Path, needed: int) -> None:
    """Raises RunError unless the disk of `folder` has `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"the disk of {folder} is full: {needed >> 20} MiB are needed, {free >> 20} MiB are "
            f"free: free some space, or set UNPAIRED_DATA to a folder elsewhere"
        )


class _Broken(Exception):
    """A connection failed in a way that may pass."""


@dataclass(frozen=True)
class _Origin:
    """The file whose beginning is in a `.part` file."""

    url: str
    validator: str | None
    """A strong ETag, else a Last-Modified; without either, nothing can be resumed."""
    total: int | None


def _receive(url: str, part: Path, expected: int | None, limits: Limits, shown: Progress) -> None:
    """Makes one request: for the whole file, or for the rest if `part` holds its beginning."""
    origin = _read_origin(part)
    have = part.stat().st_size if origin and origin.url == url and part.is_file() else 0
    if origin and have and have == origin.total:
        return shown.update(have, have)
    headers = {"User-Agent": "unpaired"}
    if origin and origin.validator and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": origin.validator}
    with _ask(url, headers, limits) as response:
        answer = _Origin(url, _validator(response.headers), _total(url, response) or expected)
        if response.status == 416 and have and answer.total == have:
            return shown.update(have, have)
        if response.status == 206 and "Range" in headers:
            if not origin or _start(response) != have or not _same_file(answer, origin):
                forget(part)
                raise _Broken("the file changed on the server")
        elif response.status == 200:
            have = 0
        else:
            forget(part)
            raise _Broken(f"the server answered {response.status}")
        _require_acceptable(answer, part, have, expected, limits)
        try:
            if have == 0:
                forget(part)
                write_text(_origin_file(part), json.dumps(asdict(answer)))
            _store(response, answer, part, have, limits, shown)
        except OSError as error:
            raise explain_os_error(error, part) from error


def _ask(url: str, headers: Mapping[str, str], limits: Limits) -> Answer:
    """Returns the server's answer with its body unread; 416 counts as an answer, too."""
    web, address = opener(), url
    for _ in range(limits.redirects + 1):
        try:
            _ = urlsplit(address).port  # a ValueError unless it is a number that a port can have
            request = urllib.request.Request(address, headers=dict(headers))
            answer: Answer = web.open(request, timeout=limits.timeout)
            return answer
        except HTTPError as error:
            if error.code == 416:
                return error  # type: ignore[return-value]  # it has status, headers, a context, too
            error.close()
            if error.code in (301, 302, 303, 307, 308):
                address = _redirected(url, address, error.headers.get("Location"))
                continue
            said = f"the server answered {error.code} {responses.get(error.code, '')}".rstrip()
            if error.code in (408, 425, 429) or error.code >= 500:
                raise _Broken(said) from error
            raise Unavailable(f"cannot fetch {url}: {said}") from error
        except (ValueError, OverflowError, InvalidURL) as error:
            said = str(error) if address == url else "its server redirects to no valid address"
            raise Unavailable(f"cannot fetch {url}: {said}") from error
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, socket.gaierror):
                raise Unavailable(
                    f"cannot fetch {url}: its server is not found (is there a network?)"
                ) from error
            if isinstance(reason, str):  # a proxy of an unknown kind
                raise Unavailable(f"cannot fetch {url}: {reason}") from error
            if isinstance(reason, ssl.SSLError):
                raise Unavailable(f"cannot fetch {url}: no secure connection: {reason}") from error
            raise _Broken(_in_words(reason)) from error
    raise Unavailable(
        f"cannot fetch {url}: its server redirects more than {limits.redirects} times"
    )


def _redirected(url: str, address: str, location: str | None) -> str:
    """Returns the address to which `address` is redirected, if that may be followed."""
    try:
        target = urljoin(address, quote(location or "", safe=string.punctuation))
        valid = location and re.match(r"https?://[^/]", target)
    except ValueError:
        valid = None
    if not valid:
        raise Unavailable(
            f"cannot fetch {url}: its server redirects to something that is not a web address"
        )
    if urlsplit(address).scheme == "https" and not target.startswith("https:"):
        raise Unavailable(
            f"cannot fetch {url}: its server redirects from https to http, which is not secure"
        )
    return target


def _in_words(reason: object) -> str:
    """Describes a failure in one line that contains no text from the server."""
    if isinstance(reason, TimeoutError):
        return "the server does not respond, or too slowly"
    if isinstance(reason, ConnectionRefusedError):
        return "the server refuses connections"
    words = reason.strerror if isinstance(reason, OSError) else None
    return f"the connection broke ({words or type(reason).__name__})"


def _total(url: str, response: HTTPResponse) -> int | None:
    """Returns the size of the whole file if the server tells it; rejects contradictions."""
    said = re.search(r"/([0-9]+)$", response.headers.get("Content-Range", ""))
    total = _size(url, said[1]) if said and response.status in (206, 416) else None
    length = response.headers.get("Content-Length", "")
    if response.status == 416 or not re.fullmatch(r"[0-9]+", length):
        return total
    end = _start(response) + _size(url, length)
    if total is not None and end != total:
        raise Unavailable(
            f"cannot fetch {url}: the server contradicts itself about the length of the file, "
            f"{total} or {end} bytes"
        )
    return end


def _size(url: str, digits: str) -> int:
    """Returns a number of bytes; some servers send thousands of digits."""
    if len(digits) > 18:
        raise Unavailable(f"cannot fetch {url}: the server says a length of {len(digits)} digits")
    return int(digits)


def _start(response: HTTPResponse) -> int:
    """Returns the position in the file of the first byte of the body."""
    said = re.match(r"bytes ([0-9]{1,18})-", response.headers.get("Content-Range", ""))
    return int(said[1]) if said and response.status == 206 else 0


def _validator(headers: Message) -> str | None:
    etag: str = headers.get("ETag", "")
    said = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    return said if re.fullmatch(r"[ -~]{1,200}", said) else None  # it is sent back as it is


def _same_file(answer: _Origin, origin: _Origin) -> bool:
    """Tells whether nothing contradicts it; a 206 answer may omit both facts."""
    return answer.validator in (None, origin.validator) and answer.total in (None, origin.total)


def _require_acceptable(
    answer: _Origin, part: Path, have: int, expected: int | None, limits: Limits
) -> None:
    """Rejects a file of an unexpected size, over the limit, or larger than the free space."""
    if answer.total is None:
        return
    if expected is not None and answer.total != expected:
        raise Unavailable(
            f"cannot fetch {answer.url}: the file there has {answer.total} bytes, not the known "
            f"{expected}: it is another one"
        )
    if answer.total > limits.download_bytes:
        raise DataError(
            f"cannot fetch {answer.url}: its {answer.total} bytes are over the limit of "
            f"{limits.download_bytes}"
        )
    require_space(part.parent, answer.total - have)


def _store(
    response: Answer, answer: _Origin, part: Path, have: int, limits: Limits, shown: Progress
) -> None:
    """Appends the body to `part`; a disk failure is an OSError, a lost connection `_Broken`."""
    ceiling = min(limits.download_bytes, answer.total or limits.download_bytes)
    if not shown.done:
        shown.first = have  # what a previous call received does not count towards the rate
    with part.open("ab") as file:
        shown.update(max(have, shown.done), answer.total)
        for block in _body(response, limits.block):
            have += len(block)
            if have > ceiling:
                break
            file.write(block)
            shown.update(max(have, shown.done), answer.total)  # never falls, even after a restart
    if have > ceiling:
        forget(part)
        raise DataError(f"cannot fetch {answer.url}: it sends more than {ceiling} bytes")
    if answer.total is not None and have < answer.total:
        raise _Broken(f"the connection broke after {have} of {answer.total} bytes")


def _body(response: Answer, size: int) -> Iterator[bytes]:
    try:
        while True:
            response.pace.renew()
            block = response.read(size)
            if not block:
                return
            yield block
    except (OSError, HTTPException) as error:
        raise _Broken(_in_words(error)) from error


def _origin_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_origin(part: Path) -> _Origin | None:
    """Returns where the beginning in `part` came from; None if that is not known (any more)."""
    try:
        noted = json.loads(_origin_file(part).read_text(encoding="utf-8"))
        origin = _Origin(noted["url"], noted["validator"], noted["total"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    known = isinstance(origin.url, str) and isinstance(origin.validator, str | None)
    return origin if known and isinstance(origin.total, int | None) else None
