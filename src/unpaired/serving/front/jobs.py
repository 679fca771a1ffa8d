"""Jobs: one image or many to translate in one direction, and how far each of them is."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from unpaired.directions import Direction
from unpaired.serving.front.problems import HttpProblem

__all__ = ["ClientJob", "JobImage", "State"]

State: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(eq=False)
class JobImage:
    """One image of a job. `source` and `target` (without suffix) are files of the store.

    `bytes` are those of `source`, which is removed when it has been translated.
    """

    job: "ClientJob"
    index: int
    name: str
    source: Path
    target: Path
    bytes: int = 0
    state: State = "waiting"
    problem: HttpProblem | None = None
    warning: str = ""
    suffix: str = ""
    tries: int = 0
    """How often it was in a worker that died."""

    @property
    def id(self) -> str:
        """The name of its order for a worker."""
        return f"{self.job.id}-{self.index}"

    @property
    def result(self) -> Path:
        """The file of its translation, once it is done."""
        return self.target.with_name(self.target.name + self.suffix)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")


@dataclass(eq=False)
class ClientJob:
    """A job of the client `client`; `folder` holds its files. `pending` no worker has yet."""

    id: str
    model: str
    direction: Direction
    to: str
    format: str
    client: str
    folder: Path
    entries: list[JobImage] = field(default_factory=list)
    pending: deque[JobImage] = field(default_factory=deque)
    ended_at: float | None = None
    fetched: bool = False
    _watchers: set[asyncio.Event] = field(default_factory=set)

    def add(self, name: str, source: Path) -> JobImage:
        """Adds an image that waits: a file of its folder."""
        index = len(self.entries)
        target = self.folder / f"{index}-result"
        entry = JobImage(self, index, name, source, target, source.stat().st_size)
        self.entries.append(entry)
        self.pending.append(entry)
        return entry

    def add_failed(self, name: str, problem: HttpProblem) -> None:
        """Adds an image that has failed before it could wait."""
        index = len(self.entries)
        entry = JobImage(self, index, name, self.folder / "none", self.folder / "none")
        entry.state, entry.problem = "failed", problem
        self.entries.append(entry)

    @property
    def state(self) -> State:
        """That of the whole: failed or cancelled only if no image of it is done."""
        states = {entry.state for entry in self.entries}
        if self.ended_at is None:
            return "waiting" if states <= {"waiting", "failed"} else "running"
        ends: tuple[State, ...] = ("done", "cancelled")
        for state in ends:
            if state in states:
                return state
        return "failed"

    def changed(self) -> None:
        """Tells all who watch."""
        for event in self._watchers:
            event.set()

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set at every change; whoever waits for it clears it."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)

    def told(self, position: int | None, seconds: float | None, keep: float) -> dict[str, Any]:
        """The job as clients get it; results are kept for `keep` seconds after its end."""
        ended = self.ended_at is not None
        state = self.state
        left = None if self.ended_at is None else keep - (time.monotonic() - self.ended_at)
        return {
            "id": self.id,
            "state": state,
            "model": self.model,
            "to": self.to,
            "position": None if ended else position,
            "seconds_left": None if ended or seconds is None else round(seconds, 1),
            "done": sum(entry.state == "done" for entry in self.entries),
            "total": len(self.entries),
            "images": [
                {
                    "name": entry.name,
                    "state": entry.state,
                    "error": entry.problem.detail if entry.problem else None,
                    "warning": entry.warning or None,
                }
                for entry in self.entries
            ],
            "error": self._error() if state == "failed" else None,
            "result": f"/v1/jobs/{self.id}/result" if state == "done" else None,
            "expires": None if left is None else max(round(left), 0),
        }

    def _error(self) -> str:
        problems = [entry.problem.detail for entry in self.entries if entry.problem]
        return problems[0] if len(problems) == 1 else f"all of {len(problems):,} images failed"
