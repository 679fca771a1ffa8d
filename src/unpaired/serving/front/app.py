"""The routes of a server: translate, jobs, models, health, metrics, the page."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from unpaired.serving.front.dispatcher import Dispatcher
from unpaired.serving.front.guard import Access, Guard, on_error, on_gone, on_http_error, on_problem
from unpaired.serving.front.jobs import ClientJob
from unpaired.serving.front.metrics import CONTENT_TYPE, Metrics
from unpaired.serving.front.problems import HttpProblem
from unpaired.serving.front.requests import client_of, parameter, preferred_wait
from unpaired.serving.front.results import image_response, zip_response
from unpaired.serving.front.store import Store
from unpaired.serving.front.uploads.accept import Acceptance
from unpaired.serving.front.uploads.body import Gone
from unpaired.serving.limits import ServeLimits
from unpaired.serving.openapi import describe

__all__ = ["Front", "make_app"]

_PAGE = Path(__file__).parents[1] / "page"
_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_ACCEPTING = ("/v1/translate", "/v1/jobs")
_EVENT_SECONDS = 15.0  # between two lines of a stream of events, at most
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Front:
    """What the routes need. `samples` are the sample files of the models' run folders."""

    limits: ServeLimits
    store: Store
    dispatcher: Dispatcher
    metrics: Metrics
    access: Access
    samples: dict[str, list[Path]]
    formats: dict[str, list[str]]
    metadata: str

    @property
    def models(self) -> dict[str, Any]:
        """The models as a worker described them; empty until one is ready."""
        return self.dispatcher.models

    async def _accept(self, request: Request, *, several: bool) -> ClientJob:
        formats = self.formats["output"]
        return await Acceptance(self.limits, self.store, self.dispatcher, formats).accept(
            request, several=several
        )

    # ---- images ---------------------------------------------------------------------------

    async def translate(self, request: Request) -> Response:
        """POST /v1/translate: one image in, one image out."""
        job = await self._accept(request, several=False)
        wait = preferred_wait(request, self.limits.wait_seconds)
        try:
            if wait and not await self._ended(request, job, wait):
                wait = 0
        except BaseException:  # the client has hung up, or the server ends
            self._remove(job)
            raise
        if not wait:
            return self._accepted(job)
        (entry,) = job.entries
        if entry.problem:
            self._remove(job)
            raise entry.problem
        return image_response(entry, BackgroundTask(self._forget, job))

    async def create_job(self, request: Request) -> Response:
        """POST /v1/jobs: a zip file or a list of images, or one image."""
        return self._accepted(await self._accept(request, several=True))

    async def job(self, request: Request) -> Response:
        """GET /v1/jobs/{id}."""
        return JSONResponse(self.dispatcher.told(self._job(request)))

    async def delete_job(self, request: Request) -> Response:
        """DELETE /v1/jobs/{id}."""
        self._remove(self._job(request))
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        """GET /v1/jobs/{id}/events: the job at each change, as server-sent events."""
        stream = self._events(self._job(request))
        return StreamingResponse(stream, media_type="text/event-stream")

    async def result(self, request: Request) -> Response:
        """GET /v1/jobs/{id}/result: the image, or a zip file of several."""
        job = self._job(request)
        chosen = parameter(request, "image")
        if chosen is not None:
            if not (chosen.isdecimal() and len(chosen) < 6 and int(chosen) < len(job.entries)):
                raise HttpProblem(422, f"image is 0 to {len(job.entries) - 1}")
            return image_response(job.entries[int(chosen)])
        if job.ended_at is None:
            raise HttpProblem(409, "the job has not ended: wait for its events", retry_after=1)
        job.fetched = True
        if len(job.entries) == 1:
            return image_response(job.entries[0])
        if job.state != "done":
            raise HttpProblem(409, "no image of this job was translated: see its errors")
        return zip_response(job)

    # ---- the server -----------------------------------------------------------------------

    async def list_models(self, request: Request) -> Response:
        """GET /v1/models."""
        models = [
            {
                "name": name,
                **facts,
                "samples": [
                    f"/v1/models/{name}/samples/{number}"
                    for number in range(len(self.samples.get(name, ())))
                ],
            }
            for name, facts in self.models.items()
        ]
        return JSONResponse(
            {
                "models": models,
                "formats": self.formats,
                "limits": self.limits.told(),
                "metadata": self.metadata,
                "token": bool(self.access.token),
                "version": version("unpaired"),
            }
        )

    async def sample(self, request: Request) -> Response:
        """GET /v1/models/{name}/samples/{number}: an image of the training's progress."""
        files = self.samples.get(request.path_params["name"], [])
        number = request.path_params["number"]
        if not (number.isdecimal() and len(number) < 6 and int(number) < len(files)):
            raise HttpProblem(404, "no such sample")
        path = files[int(number)]
        if not path.is_file():
            raise HttpProblem(404, "this sample has been removed")
        body = await run_in_threadpool(path.read_bytes)
        return Response(body, media_type="image/png", headers={"Cache-Control": "max-age=600"})

    async def health(self, request: Request) -> Response:
        """GET /healthz: the front answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """GET /readyz: a worker answers, its models are loaded, and jobs are accepted."""
        dispatcher = self.dispatcher
        if dispatcher.draining:
            raise HttpProblem(503, "the server is ending", retry_after=5)
        if not any(worker.alive for worker in dispatcher.workers):
            raise HttpProblem(503, "no worker is ready", retry_after=2)
        if len(dispatcher.turns) >= self.limits.queue:
            raise HttpProblem(503, "the queue is full", retry_after=2)
        return JSONResponse({"status": "ready"})

    async def metrics_text(self, request: Request) -> Response:
        """GET /metrics."""
        return Response(self.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def openapi_json(self, request: Request) -> Response:
        """GET /openapi.json."""
        return JSONResponse(
            describe(self.limits, self.models, self.formats, bool(self.access.token))
        )

    async def page(self, request: Request) -> Response:
        """GET / and the files of the page."""
        path = _PAGE / (request.url.path.strip("/") or "index.html")
        if not path.is_file():
            raise HttpProblem(404, "no such page")
        kind = _KINDS[path.suffix]
        return Response(path.read_bytes(), headers={"Content-Type": f"{kind}; charset=utf-8"})

    def admit(self, request: Request) -> None:
        """Requires, of a request for a job, that there is room for it: the guard asks.

        Raises:
            HttpProblem: there is none.
        """
        if request.method == "POST" and request.scope["path"] in _ACCEPTING:
            self.dispatcher.require_room(client_of(request))

    # ---- parts ----------------------------------------------------------------------------

    def _job(self, request: Request) -> ClientJob:
        id = request.path_params["id"]
        job = self.store.jobs.get(id) if _ID.fullmatch(id) else None
        if job is None:
            raise HttpProblem(404, "no such job: it never was, was deleted, or has expired")
        return job

    def _accepted(self, job: ClientJob) -> Response:
        told = self.dispatcher.told(job)
        return JSONResponse(told, status_code=202, headers={"Location": f"/v1/jobs/{job.id}"})

    def _remove(self, job: ClientJob) -> None:
        self.dispatcher.cancel(job)
        self.store.remove(job)

    async def _forget(self, job: ClientJob) -> None:
        """Removes a job in the event loop: Starlette calls what is not async in a thread."""
        self._remove(job)

    async def _ended(self, request: Request, job: ClientJob, seconds: float) -> bool:
        """Waits for the end of a job, so many seconds; whether it came.

        Raises:
            Gone: the client has hung up.
        """
        gone = asyncio.ensure_future(_hung_up(request))
        try:
            with job.watch() as changed:
                until = time.monotonic() + seconds
                while job.ended_at is None and (left := until - time.monotonic()) > 0:
                    changed.clear()
                    waiting = asyncio.ensure_future(changed.wait())
                    await asyncio.wait(
                        (waiting, gone), timeout=left, return_when=asyncio.FIRST_COMPLETED
                    )
                    waiting.cancel()
                    if gone.done():
                        raise Gone
        finally:
            gone.cancel()
        return job.ended_at is not None

    async def _events(self, job: ClientJob) -> AsyncIterator[str]:
        with job.watch() as changed:
            said = ""
            while True:
                changed.clear()
                text = json.dumps(self.dispatcher.told(job))
                yield f"data: {text}\n\n" if text != said else ": \n\n"
                said = text
                if job.ended_at is not None or job.id not in self.store.jobs:
                    return
                seconds = 1.0 if job.state == "waiting" else _EVENT_SECONDS
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await changed.wait()


def make_app(front: Front) -> ASGIApp:
    """The application of a server, with its guard."""
    routes = [
        Route("/v1/translate", front.translate, methods=["POST"]),
        Route("/v1/jobs", front.create_job, methods=["POST"]),
        Route("/v1/jobs/{id}", front.job, methods=["GET"]),
        Route("/v1/jobs/{id}", front.delete_job, methods=["DELETE"]),
        Route("/v1/jobs/{id}/events", front.events),
        Route("/v1/jobs/{id}/result", front.result),
        Route("/v1/models", front.list_models),
        Route("/v1/models/{name}/samples/{number}", front.sample),
        Route("/healthz", front.health),
        Route("/readyz", front.ready),
        Route("/metrics", front.metrics_text),
        Route("/openapi.json", front.openapi_json),
        *(Route(path, front.page) for path in ("/", "/page.js", "/page.css")),
    ]
    handlers = {HTTPException: on_http_error, HttpProblem: on_problem, Gone: on_gone,
                Exception: on_error}  # fmt: skip
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, front.access, front.metrics, _route, front.admit)


def _route(scope: Scope) -> str:
    """The name of the route that a request had, for the metrics."""
    endpoint = scope.get("endpoint")
    return getattr(endpoint, "__name__", "none")


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
