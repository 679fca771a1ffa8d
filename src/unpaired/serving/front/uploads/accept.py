"""From a request to a job in the queue: its model, its direction, its images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from unpaired.console import log
from unpaired.directions import Direction
from unpaired.errors import reason_of
from unpaired.serving.front.dispatcher import Dispatcher
from unpaired.serving.front.jobs import ClientJob
from unpaired.serving.front.problems import HttpProblem
from unpaired.serving.front.requests import client_of, parameter
from unpaired.serving.front.store import Store
from unpaired.serving.front.uploads.archive import is_zip, label, unpack, unpacked_bytes
from unpaired.serving.front.uploads.body import Allowance, receive_file
from unpaired.serving.front.uploads.form import FORM, receive_list
from unpaired.serving.limits import MEGABYTE, ServeLimits

__all__ = ["Acceptance"]

_ZIPS = ("application/zip", "application/x-zip-compressed")


@dataclass(frozen=True)
class Acceptance:
    """What it takes to accept a request for a job. `formats` are suffixes of results."""

    limits: ServeLimits
    store: Store
    dispatcher: Dispatcher
    formats: Sequence[str]

    async def accept(self, request: Request, *, several: bool) -> ClientJob:
        """Reads a request for a job and puts it into the queue.

        With `several` its body may be a zip file or a list of images, too.

        Raises:
            HttpProblem: it is rejected; nothing of it stays.
            Gone: the client has hung up.
        """
        client = client_of(request)
        name, direction, to = self._direction(request)
        format = parameter(request, "format")
        if format is not None and format not in self.formats:
            raise HttpProblem(422, f"format is one of {', '.join(self.formats)}")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json" or (kind.startswith("multipart/") and not several):
            raise HttpProblem(415, "send the bytes of the image as the body, not a form or JSON")
        if kind.startswith("multipart/") and kind != FORM:
            raise HttpProblem(415, f"a list of images is {FORM}, with each image as a part")
        job = self.store.create(name, direction, to, format or "", client)
        try:
            with self.dispatcher.upload(client):
                await self._receive(request, job, kind, several)
            self.dispatcher.require_room(client)  # others came while the body was read
        except OSError as error:
            self.store.remove(job)
            log.error("an upload could not be stored: %s", reason_of(error))
            raise HttpProblem(
                503, "the server could not store this: try again later", retry_after=10
            ) from error
        except BaseException:
            self.store.remove(job)
            raise
        self.dispatcher.submit(job)
        return job

    async def _receive(self, request: Request, job: ClientJob, kind: str, several: bool) -> None:
        """Reads the body into the files of a job, and adds its images to the job."""
        if kind == FORM:
            allowed = self._allowance(True)
            await receive_list(request, job, self.store, self.limits, allowed)
        else:
            allowed = self._allowance(several and kind in _ZIPS)
            path = job.folder / "0-source"
            await receive_file(request, path, job, self.store, allowed)
            await self._open(request, path, job, several)

    def _allowance(self, several: bool) -> Allowance:
        """The bytes and the time of one image, or of several."""
        limits = self.limits
        rate, seconds = limits.read_rate * 1000, float(limits.read_seconds)
        if not several:
            return Allowance(limits.max_body * MEGABYTE, "body_bytes", seconds, rate)
        seconds *= max(limits.zip_size / limits.max_body, 1)
        return Allowance(limits.zip_size * MEGABYTE, "zip_bytes", seconds, rate)

    async def _open(self, request: Request, path: Path, job: ClientJob, several: bool) -> None:
        """Adds what a body in a file holds to its job: one image, or those of a zip file."""
        with open(path, "rb") as file:
            zipped = is_zip(file.read(4))
        if not zipped:
            job.add(label(request.query_params.get("name", "image")), path)
            return
        if not several:
            raise HttpProblem(415, "a zip file: send it to /v1/jobs")
        path = path.rename(job.folder / "sources.zip")
        packed = path.stat().st_size
        self.store.take(job, await run_in_threadpool(unpacked_bytes, path, self.limits))
        await run_in_threadpool(unpack, path, job)
        self.store.take(job, -packed)
        path.unlink()

    def _direction(self, request: Request) -> tuple[str, Direction, str]:
        """The model, the direction and the name of the domain that a request asks for."""
        models = self.dispatcher.models
        name = parameter(request, "model")
        if name is None and len(models) == 1:
            name = next(iter(models))
        if name is None or name not in models:
            raise HttpProblem(422, f"model is one of {', '.join(models)}")
        to = parameter(request, "to")
        facts: dict[str, Any] = models[name]
        for direction in facts["directions"]:
            if to in (direction["to"], direction["id"][1]):
                return name, direction["id"], direction["to"]
        known = " or ".join(direction["to"] for direction in facts["directions"])
        raise HttpProblem(422, f"to is {known}: add ?to={facts['directions'][0]['to']}")
