"""The one queue of a server: which job's turn it is, who gets what, and when it is too much."""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from unpaired.serving.front.jobs import ClientJob, JobImage
from unpaired.serving.front.metrics import Metrics
from unpaired.serving.front.problems import HttpProblem
from unpaired.serving.front.process import WorkerProcess
from unpaired.serving.front.store import Store
from unpaired.serving.limits import ServeLimits
from unpaired.serving.messages import Settings, StageReport

__all__ = ["Dispatcher"]

_FIRST_GUESS = 1.0  # seconds an image takes, before any was measured
_MEMORY = 0.1  # weight of the newest image in the mean


class Dispatcher:
    """Jobs take turns, one image each, so that a zip of 200 does not hold up a single image."""

    def __init__(
        self, settings: Sequence[Settings], limits: ServeLimits, store: Store, metrics: Metrics
    ) -> None:
        self.limits, self.store, self.metrics = limits, store, metrics
        self.workers = [WorkerProcess(each, limits, self._report, self.pump) for each in settings]
        self.turns: deque[ClientJob] = deque()
        """Jobs with images that no worker has yet."""
        self.unfinished: dict[str, ClientJob] = {}
        self.draining = False
        self.seconds = _FIRST_GUESS
        """Measured: seconds between two images that are done, while there is work."""
        self._of_client: Counter[str] = Counter()
        self._uploads: Counter[str] = Counter()
        self._busy_since = self._last_end = 0.0

    @property
    def models(self) -> dict[str, Any]:
        """The models as a worker described them; empty until one is ready."""
        return next((worker.models for worker in self.workers if worker.models), {})

    @property
    def restarts(self) -> int:
        """How often workers died and were started again."""
        return sum(worker.restarts for worker in self.workers)

    def require_room(self, client: str) -> None:
        """Requires that another job of a client can be accepted.

        Raises:
            HttpProblem: 503 while the server ends or has no worker, 429 where too many jobs wait.
        """
        if self.draining:
            raise self._rejected(503, "ending", "the server is ending: try again", retry_after=5)
        if not any(worker.models for worker in self.workers):
            raise self._rejected(503, "loading", "the models are being loaded", retry_after=5)
        unfinished = self._of_client[client] + self._uploads[client]
        if unfinished >= (most := self.limits.in_flight):
            raise self._rejected(
                429,
                "in_flight",
                f"{most} jobs of this address are unfinished: wait for one of them",
                limit=("in_flight_per_client", most),
                retry_after=self.seconds,
            )
        if len(self.turns) >= (most := self.limits.queue):
            raise self._rejected(
                429,
                "queue",
                f"{most} jobs are waiting: try again later",
                limit=("waiting_jobs", most),
                retry_after=self.seconds * len(self.turns) / 2,
            )

    @contextmanager
    def upload(self, client: str) -> Iterator[None]:
        """Counts what a client sends among its unfinished jobs, while it is being sent."""
        self._uploads[client] += 1
        try:
            yield
        finally:
            self._uploads[client] -= 1
            if not self._uploads[client]:
                del self._uploads[client]

    def submit(self, job: ClientJob) -> None:
        """Puts a job into the queue; one whose images have all failed already has ended."""
        self.unfinished[job.id] = job
        self._of_client[job.client] += 1
        if job.pending:
            self.turns.append(job)
        self._end_if_done(job)
        self.pump()

    def cancel(self, job: ClientJob) -> None:
        """Cancels what is left of a job; a batch that is in the network runs out."""
        if job in self.turns:
            self.turns.remove(job)
        job.pending.clear()
        for entry in job.entries:
            if not entry.ended:
                entry.state = "cancelled"
                self.metrics.images.labels(outcome="cancelled").inc()
                for worker in self.workers:
                    worker.cancel(entry)
        self._end_if_done(job)
        self.pump()

    def pump(self) -> None:
        """Gives workers what they have room for; the one with the least first."""
        while self.turns:
            free = [worker for worker in self.workers if worker.room]
            if not free:
                return
            job = self.turns.popleft()
            entry = job.pending.popleft()
            if job.pending:
                self.turns.append(job)
            if not any(worker.load for worker in self.workers):
                self._busy_since = time.monotonic()
            min(free, key=lambda worker: worker.load).put(entry)

    def position(self, job: ClientJob) -> int:
        """The images whose turn comes before that of the job's next one."""
        try:
            return self.turns.index(job)
        except ValueError:
            return 0

    def seconds_left(self, job: ClientJob) -> float:
        """An estimate from the measured seconds of an image and the turns."""
        own = len(job.pending)
        before = sum(min(len(each.pending), max(own, 1)) for each in self.turns if each is not job)
        in_workers = sum(worker.load for worker in self.workers)
        return (own + (before if own else 0) + in_workers) * self.seconds

    def told(self, job: ClientJob) -> dict[str, object]:
        """The job as clients get it."""
        keep = self.limits.result_seconds
        if job.ended_at is not None:
            return job.told(None, None, keep)
        return job.told(self.position(job), self.seconds_left(job), keep)

    def _report(self, entry: JobImage, report: StageReport) -> None:
        """A stage that an image has reached in a worker."""
        job = entry.job
        if report.stage in ("decode", "network") and entry.state == "waiting":
            entry.state = "running"
        elif report.stage == "ready" and not report.pixels and entry.state == "running":
            entry.state = "waiting"  # its worker died
        elif report.stage == "encode" and report.seconds:
            self.metrics.network.observe(report.seconds)
        if report.stage == "network":
            self.metrics.batch.observe(report.batch)
        if report.stage in ("done", "failed", "cancelled"):
            self._ended(entry, report)
        if report.stage != "ready":
            job.changed()

    def _ended(self, entry: JobImage, report: StageReport) -> None:
        job, now = entry.job, time.monotonic()
        took = now - max(self._last_end, self._busy_since)
        self.seconds += _MEMORY * (min(took, self.limits.batch_seconds) - self.seconds)
        self._last_end = now
        if entry.state == "cancelled":
            self.store.sweep(job)
            return
        self.store.take(job, -entry.bytes)
        if report.stage == "done":
            entry.state, entry.suffix, entry.warning = "done", report.suffix, report.warning
            try:
                self.store.take(job, entry.result.stat().st_size)
            except (OSError, HttpProblem):
                entry.state = "failed"
                entry.problem = HttpProblem(
                    503, "there was no room for the result: try again later"
                )
        else:
            told = self.limits.told()
            limit = (report.limit, told[report.limit]) if report.limit in told else None
            entry.state = "failed"
            entry.problem = entry.problem or HttpProblem(report.status, report.error, limit=limit)
        self.metrics.images.labels(outcome=entry.state).inc()
        self._end_if_done(job)

    def _end_if_done(self, job: ClientJob) -> None:
        if job.ended_at is None and all(entry.ended for entry in job.entries):
            job.ended_at = time.monotonic()
            if self.unfinished.pop(job.id, None):
                self._of_client[job.client] -= 1
                if not self._of_client[job.client]:
                    del self._of_client[job.client]
            job.changed()

    def _rejected(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        limit: tuple[str, int] | None = None,
        retry_after: float,
    ) -> HttpProblem:
        self.metrics.rejected.labels(reason=reason).inc()
        return HttpProblem(status, detail, limit=limit, retry_after=retry_after)
