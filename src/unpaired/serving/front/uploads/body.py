"""The body of a request, counted and in time, into a file."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request

from unpaired.serving.front.jobs import ClientJob
from unpaired.serving.front.problems import HttpProblem
from unpaired.serving.front.store import Store

__all__ = ["Allowance", "Gone", "receive", "receive_file"]

_GRACE = 5.0  # seconds before the rate counts
_BUFFER = 2**16


class Gone(Exception):
    """The client has hung up."""


@dataclass(frozen=True)
class Allowance:
    """What a body may take: `most` bytes, by the limit `name`, and so many seconds.

    `rate` are the bytes a second that have to arrive; 0: any.
    """

    most: int
    name: str
    seconds: float
    rate: float


async def receive(request: Request, allowed: Allowance) -> AsyncIterator[bytes]:
    """The parts of a body as they come.

    Raises:
        HttpProblem: 400 for none, 408 for one that is too slow, 413 for one that is too large.
        Gone: the client has hung up.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > allowed.most:
        raise _too_large(allowed)
    began, count, more = time.monotonic(), 0, True
    while more:
        slowest = _GRACE + count / allowed.rate if allowed.rate else allowed.seconds
        until = began + min(allowed.seconds, slowest)
        message = await _next(request, until - time.monotonic())
        chunk: bytes = message.get("body", b"")
        count += len(chunk)
        if count > allowed.most:
            raise _too_large(allowed)
        more = message.get("more_body", False)
        yield chunk
    if not count:
        raise HttpProblem(400, "the body is empty: send the bytes of an image")


async def receive_file(
    request: Request, path: Path, job: ClientJob, store: Store, allowed: Allowance
) -> None:
    """Writes the body of a request to `path`, and counts it as the job's.

    Raises:
        HttpProblem: as `receive`; 503 where the store has no room.
        Gone: the client has hung up.
    """
    buffer = bytearray()
    with open(path, "wb", buffering=0) as file:
        async for chunk in receive(request, allowed):
            store.take(job, len(chunk))
            buffer += chunk
            if len(buffer) >= _BUFFER:
                file.write(buffer)
                buffer.clear()
        file.write(buffer)


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


def _too_large(allowed: Allowance) -> HttpProblem:
    return HttpProblem(
        413,
        f"the body has more than {allowed.most:,} bytes: send a smaller one",
        limit=(allowed.name, allowed.most),
    )
