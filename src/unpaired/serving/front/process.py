"""The front's end of a worker: started, watched, given orders, and started again when it dies."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from unpaired.console import log
from unpaired.errors import RunError
from unpaired.serving.front.jobs import JobImage
from unpaired.serving.front.problems import HttpProblem
from unpaired.serving.limits import ServeLimits
from unpaired.serving.messages import Order, Settings, StageReport, decode, encode

__all__ = ["COMMAND", "WorkerProcess"]

COMMAND = (sys.executable, "-m", "unpaired.serving.worker.main")
"""What starts a worker; it reads standard input and writes standard output."""
_AHEAD = 16  # images that a worker has at once: in the network, decoded for it, being encoded
_SILENCE = 30.0  # seconds without a sign of life after which a worker counts as dead
_TRIES = 3  # deaths of a worker with an image, the last alone with it, until that is the culprit
_MOST_LINE = 2**22  # bytes of a message
_PAUSES = (
    0.0,
    0.0,
    1.0,
    5.0,
    30.0,
)  # seconds before a start, by how many before it failed


@dataclass
class _Held:
    """An image that the worker has, its stage, and since when."""

    entry: JobImage
    report: StageReport
    since: float = field(default_factory=time.monotonic)


class WorkerProcess:
    """A worker of one device.

    `on_report` is called with an image and each stage it reaches, `on_room` when it can take more.
    When it dies, the images it had are tried again one by one, and the one with which it dies again
    and again fails.
    """

    def __init__(
        self,
        settings: Settings,
        limits: ServeLimits,
        on_report: Callable[[JobImage, StageReport], None],
        on_room: Callable[[], None],
    ) -> None:
        self.settings, self.limits = settings, limits
        self.on_report, self.on_room = on_report, on_room
        self.models: dict[str, Any] = {}
        self.ready = asyncio.Event()
        self.restarts = 0
        self.error = ""
        self._held: dict[str, _Held] = {}
        self._again: deque[JobImage] = deque()  # to be tried one by one
        self._process: asyncio.subprocess.Process | None = None
        self._heard = time.monotonic()
        self._closing = self._was_ready = False

    @property
    def pid(self) -> int | None:
        """That of the process, if it runs."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether it has loaded its models and gave a sign of life lately."""
        return self.ready.is_set() and time.monotonic() - self._heard < _SILENCE / 2

    @property
    def load(self) -> int:
        """The images that it has or has to try again."""
        return len(self._held) + len(self._again)

    @property
    def room(self) -> bool:
        """Whether it can take another image."""
        return self.ready.is_set() and not self._again and len(self._held) < self._most

    def put(self, entry: JobImage) -> None:
        """Gives it an image."""
        job = entry.job
        order = Order(
            entry.id, job.model, job.direction, str(entry.source), str(entry.target), job.format
        )
        self._held[entry.id] = _Held(entry, StageReport(entry.id, "ready"))
        self._write(encode(order))

    def cancel(self, entry: JobImage) -> None:
        """Has it forget an image, unless that is in the network already."""
        if entry.id in self._held:
            self._write(encode({"id": "", "cancel": entry.id}))
        with contextlib.suppress(ValueError):
            self._again.remove(entry)

    async def run(self) -> None:
        """Starts it, again and again, until `close`.

        Raises:
            RunError: its first start fails; the reason is that of the worker.
        """
        deaths = 0
        while not self._closing:
            await asyncio.sleep(_PAUSES[min(deaths, len(_PAUSES) - 1)])
            self._was_ready = False
            await self._live()
            if self._closing:
                return
            if not self.models:
                raise RunError(self.error or "the worker ended before its models were loaded")
            deaths = 0 if self._was_ready else deaths + 1
            self.restarts += 1

    async def close(self) -> None:
        """Ends it."""
        self._closing = True
        self._kill()
        if self._process:
            await self._process.wait()

    def check(self) -> None:
        """Kills it if an image has been in one stage for too long, or it gives no sign of life."""
        now = time.monotonic()
        late = [
            held
            for held in self._held.values()
            if held.report.stage in ("decode", "network", "encode")
            and now - held.since > self.limits.batch_seconds
        ]
        for held in late:
            if held.report.batch < 2:  # of a batch, the others may be what takes so long
                self._fail(held.entry, _too_slow(self.limits, held.report.stage))
        silent = self.ready.is_set() and now - self._heard > _SILENCE
        if late or silent:
            log.warning("worker %s takes too long and is started again", self.pid)
            self._kill()

    @property
    def _most(self) -> int:
        """The images that it may have at once: one, while a culprit is looked for."""
        trying = any(held.entry.tries for held in self._held.values())
        return 1 if self._again or trying else _AHEAD

    async def _live(self) -> None:
        """One life of the process."""
        self.error = ""
        self._process = process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MOST_LINE,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout
        self._write(encode(self.settings))
        try:
            while line := await process.stdout.readline():
                self._take(decode(line))
        except ValueError:  # no message of ours: it cannot be trusted any more
            self._kill()
        code = await process.wait()
        self.ready.clear()
        if not self._closing:
            self._died(code)

    def _take(self, message: dict[str, Any]) -> None:
        self._heard = time.monotonic()
        if "error" in message and "stage" not in message:
            self.error = str(message["error"])
        elif "ready" in message:
            self.models = message["ready"]
            self.ready.set()
            self._was_ready = True
            self._try_again()
            self.on_room()
        elif "stage" in message:
            report = StageReport(**message)
            held = self._held.get(report.id)
            if held is None:
                return
            if report.stage in ("done", "failed", "cancelled"):
                del self._held[report.id]
            else:
                self._held[report.id] = _Held(held.entry, report)
            self.on_report(held.entry, report)
            if report.id not in self._held:
                self._try_again()
                self.on_room()

    def _try_again(self) -> None:
        if self._again and not self._held and self.ready.is_set():
            self.put(self._again.popleft())

    def _died(self, code: int) -> None:
        """Sorts the images that it had: to be tried again, or the culprit."""
        held, self._held = list(self._held.values()), {}
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if not self.error:
            log.warning("the worker died (%s) with %d images", reason, len(held))
        alone = len(held) == 1
        for each in held:
            entry = each.entry
            entry.tries += 1
            if entry.state == "cancelled":
                self.on_report(entry, StageReport(entry.id, "cancelled"))
            elif alone and entry.tries >= _TRIES:
                self._fail(entry, HttpProblem(500, f"the worker died on this image {_TRIES} times"))
            else:
                self.on_report(entry, StageReport(entry.id, "ready"))
                self._again.append(entry)

    def _fail(self, entry: JobImage, problem: HttpProblem) -> None:
        self._held.pop(entry.id, None)
        entry.problem = problem
        self.on_report(entry, StageReport(entry.id, "failed", status=problem.status))

    def _write(self, line: bytes) -> None:
        if self._process and self._process.stdin:
            with contextlib.suppress(OSError, RuntimeError):  # it has died: `_live` will see it
                self._process.stdin.write(line)

    def _kill(self) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


def _too_slow(limits: ServeLimits, stage: str) -> HttpProblem:
    what = {"decode": "decoding", "network": "the network", "encode": "encoding"}[stage]
    return HttpProblem(
        422,
        f"{what} took longer than {limits.batch_seconds} s: make the image smaller",
        limit=("batch_seconds", limits.batch_seconds),
    )
