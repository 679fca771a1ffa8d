"""The private folder of a server: images that wait, and results for some minutes."""

import contextlib
import secrets
import shutil
import tempfile
import time
from pathlib import Path

from unpaired.directions import Direction
from unpaired.serving.front.jobs import ClientJob
from unpaired.serving.front.problems import HttpProblem
from unpaired.serving.limits import MEGABYTE, ServeLimits

__all__ = ["Store"]


class Store:
    """Jobs by their ids, which nobody can guess, and the bytes that their files take together.

    Where the cap is reached, the results that have been kept for the longest go first.
    """

    def __init__(self, limits: ServeLimits) -> None:
        self.limits = limits
        self.folder = Path(tempfile.mkdtemp(prefix="unpaired-serve-"))  # for this user alone
        self.jobs: dict[str, ClientJob] = {}
        self._bytes: dict[str, int] = {}
        self.used = 0

    def create(
        self, model: str, direction: Direction, to: str, format: str, client: str
    ) -> ClientJob:
        """A job without images, in a folder of its own."""
        id = secrets.token_hex(16)
        folder = self.folder / id
        folder.mkdir(mode=0o700)
        job = ClientJob(id, model, direction, to, format, client, folder)
        self.jobs[id] = job
        self._bytes[id] = 0
        return job

    def take(self, job: ClientJob, count: int) -> None:
        """Counts `count` more bytes of a job, or fewer where it is negative.

        Raises:
            HttpProblem: there is no room for them, although everything that may go has gone.
        """
        if job.id not in self._bytes:
            return
        cap = self.limits.store_size * MEGABYTE
        if count > 0 and self.used + count > cap:
            self._make_room(count, cap)
        if count > 0 and self.used + count > cap:
            raise HttpProblem(
                503,
                f"the server holds {cap:,} bytes of images already: try again later",
                limit=("store_bytes", cap),
                retry_after=10,
            )
        self._bytes[job.id] += count
        self.used += count

    def remove(self, job: ClientJob) -> None:
        """Removes a job and its files."""
        if self.jobs.pop(job.id, None) is not None:
            self.used -= self._bytes.pop(job.id)
            shutil.rmtree(job.folder, ignore_errors=True)

    def sweep(self, job: ClientJob) -> None:
        """Removes what a worker wrote for a job that has been removed."""
        if job.id not in self.jobs:
            shutil.rmtree(job.folder, ignore_errors=True)

    def expire(self) -> None:
        """Removes the jobs that ended long enough ago."""
        now = time.monotonic()
        for job in list(self.jobs.values()):
            if job.ended_at is not None and now - job.ended_at > self.limits.result_seconds:
                self.remove(job)

    def close(self) -> None:
        """Removes everything."""
        self.jobs.clear()
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)

    def _make_room(self, count: int, cap: int) -> None:
        ended = [job for job in self.jobs.values() if job.ended_at is not None]
        for job in sorted(ended, key=lambda job: job.ended_at or 0.0):
            if self.used + count <= cap:
                return
            self.remove(job)
