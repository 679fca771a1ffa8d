"""What requests hold: parameters, and bodies, into a file, counted, and in time."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

from starlette.requests import Request

from unpaired.serving.front.jobs import ClientJob
from unpaired.serving.front.problems import HttpProblem
from unpaired.serving.front.store import Store

__all__ = ["Gone", "client_of", "parameter", "preferred_wait", "receive_body"]

_GRACE = 5.0  # seconds before the rate counts
_BUFFER = 2**16


class Gone(Exception):
    """The client has hung up."""


def parameter(request: Request, name: str) -> str | None:
    """A parameter of the query, or None.

    Raises:
        HttpProblem: it is given more than once.
    """
    given = request.query_params.getlist(name)
    if len(given) > 1:
        raise HttpProblem(422, f"{name} is given {len(given)} times: give it once")
    return given[0] if given else None


def client_of(request: Request) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else ""


def preferred_wait(request: Request, most: int) -> float:
    """The seconds that a client wants to wait, by its Prefer header (RFC 7240)."""
    prefer = request.headers.get("prefer", "").lower()
    if "respond-async" in prefer:
        return 0
    asked = re.search(r"wait=(\d{1,6})", prefer)
    return min(int(asked[1]), most) if asked else most


async def receive_body(
    request: Request,
    path: Path,
    job: ClientJob,
    store: Store,
    *,
    most: int,
    name: str,
    seconds: float,
    rate: float,
) -> int:
    """Writes the body of a request to `path`, and counts it as the job's; its number of bytes.

    `most` are the bytes of the limit `name`, `rate` is in bytes a second.

    Raises:
        HttpProblem: 400 for none, 408 for one that is too slow, 413 for one that is too large, 503
            where the store has no room.
        Gone: the client has hung up.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most, name)
    began, count = time.monotonic(), 0
    buffer = bytearray()
    with open(path, "wb", buffering=0) as file:
        while True:
            until = min(seconds, _GRACE + count / rate if rate else seconds)
            message = await _next(request, began + until - time.monotonic())
            chunk: bytes = message.get("body", b"")
            count += len(chunk)
            if count > most:
                raise _too_large(most, name)
            store.take(job, len(chunk))
            buffer += chunk
            more = message.get("more_body", False)
            if len(buffer) >= _BUFFER or not more:
                file.write(buffer)
                buffer.clear()
            if not more:
                break
    if not count:
        raise HttpProblem(400, "the body is empty: send the bytes of an image")
    return count


async def _next(request: Request, seconds: float) -> dict[str, Any]:
    try:
        async with asyncio.timeout(seconds):
            message = dict(await request.receive())
    except TimeoutError:
        raise HttpProblem(
            408, "the body came too slowly: send it faster, or a smaller image"
        ) from None
    if message["type"] == "http.disconnect":
        raise Gone
    return message


def _too_large(most: int, name: str) -> HttpProblem:
    return HttpProblem(
        413, f"the body has more than {most:,} bytes: send a smaller one", limit=(name, most)
    )
